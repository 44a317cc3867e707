"""How is it run? The training loop, its options, checkpoints and history.

>>> from polytask.train import TrainOptions
>>> TrainOptions(epochs=5, precision="bf16").epochs
5
"""

from __future__ import annotations

from polytask.data import halves
from polytask.train.demands import check_metrics
from polytask.train.evaluation import Evaluation
from polytask.train.history import History, Row
from polytask.train.meter import EpochMeter, EpochSummary
from polytask.train.optim import OPTIMIZERS, SCHEDULERS, build_optimizer, build_scheduler, parameter_groups
from polytask.train.options import TrainOptions
from polytask.train.stopping import EarlyStopping, Verdict
from polytask.train.surroundings import Interrupted
from polytask.train.trainer import Trainer

__all__ = [
    "OPTIMIZERS",
    "SCHEDULERS",
    "EarlyStopping",
    "EpochMeter",
    "EpochSummary",
    "Evaluation",
    "History",
    "Interrupted",
    "Row",
    "TrainOptions",
    "Trainer",
    "Verdict",
    "build_optimizer",
    "build_scheduler",
    "check_metrics",
    "halves",
    "parameter_groups",
]
