"""In which direction to step? The :class:`Balancer` engine, and one method per file."""

from polytask.balance.engine import Balancer
from polytask.balance.method import (
    Block,
    Card,
    Combined,
    Evidence,
    GramianMethod,
    JacobianMethod,
    LossMethod,
    Method,
    Solution,
)
from polytask.balance.partition import Partition, reached
from polytask.balance.record import StepRecord
from polytask.balance.registry import METHODS, get_method
from polytask.balance.state import MethodState

__all__ = [
    "METHODS",
    "Balancer",
    "Block",
    "Card",
    "Combined",
    "Evidence",
    "GramianMethod",
    "JacobianMethod",
    "LossMethod",
    "Method",
    "MethodState",
    "Partition",
    "Solution",
    "StepRecord",
    "get_method",
    "reached",
]
