"""What the tasks share: architectures over any encoder, built-in encoders, heads made from the tasks' kinds."""

from __future__ import annotations

from polytask.share.architectures import ARCHITECTURES
from polytask.share.blueprint import Blueprint
from polytask.share.build import build_model
from polytask.share.encoders import CNN, ENCODERS, MLP, Tabular, build_encoder
from polytask.share.fused import each_on_its_own, linear_heads, side_by_side
from polytask.share.hard import HardSharing
from polytask.share.heads import build_head
from polytask.share.model import Inputs, MultiTaskModel
from polytask.share.naming import TaskModules
from polytask.share.options import Option
from polytask.share.popart import PopArt
from polytask.share.representation import Encoded, Representation
from polytask.share.rotograd import Rotations
from polytask.share.seats import Seat, Seats
from polytask.share.seeding import local_seed
from polytask.share.summary import ModelSummary

__all__ = [
    "ARCHITECTURES",
    "CNN",
    "ENCODERS",
    "MLP",
    "Blueprint",
    "Encoded",
    "HardSharing",
    "Inputs",
    "ModelSummary",
    "MultiTaskModel",
    "Option",
    "PopArt",
    "Representation",
    "Rotations",
    "Seat",
    "Seats",
    "Tabular",
    "TaskModules",
    "build_encoder",
    "build_head",
    "build_model",
    "each_on_its_own",
    "linear_heads",
    "local_seed",
    "side_by_side",
]
