"""In which direction to step? The :class:`Balancer` engine, and one method per file.

Every method class is here by its own name too (``polytask.balance.FairGrad``), imported when first asked for.
"""

from typing import Any

from polytask.balance.aliases import Aliases
from polytask.balance.asks import Ask
from polytask.balance.compliance import UpdateCompliance, update_compliance
from polytask.balance.engine import Balancer
from polytask.balance.graph import reached
from polytask.balance.merging import merged_states
from polytask.balance.method import (
    Block,
    Card,
    Combined,
    Evidence,
    Given,
    GramianMethod,
    JacobianMethod,
    LossMethod,
    Method,
    Solution,
)
from polytask.balance.partition import Partition
from polytask.balance.penalty import PenaltyMethod
from polytask.balance.record import StepRecord
from polytask.balance.registry import METHODS, get_method
from polytask.balance.state import MethodState

__all__ = [
    "METHODS",
    "Aliases",
    "Ask",
    "Balancer",
    "Block",
    "Card",
    "Combined",
    "Evidence",
    "Given",
    "GramianMethod",
    "JacobianMethod",
    "LossMethod",
    "Method",
    "MethodState",
    "Partition",
    "PenaltyMethod",
    "Solution",
    "StepRecord",
    "UpdateCompliance",
    "get_method",
    "merged_states",
    "reached",
    "update_compliance",
]


_CLASSES = {place.partition(":")[2]: name for name, place in METHODS.own.items()}


def __getattr__(name: str) -> Any:
    if name in _CLASSES:
        return METHODS[_CLASSES[name]]
    raise AttributeError(f"module 'polytask.balance' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_CLASSES})
