"""In which direction to step? The :class:`Balancer` engine, and one method per file.

Every method class is here by its own name too (``polytask.balance.FairGrad``), imported when first asked for.
"""

from typing import Any

from polytask.balance.compliance import UpdateCompliance, update_compliance
from polytask.balance.contract.asks import Ask
from polytask.balance.contract.merging import merged_states
from polytask.balance.contract.method import (
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
from polytask.balance.contract.penalty import PenaltyMethod
from polytask.balance.contract.record import StepRecord
from polytask.balance.contract.state import MethodState
from polytask.balance.engine.aliases import Aliases
from polytask.balance.engine.balancer import Balancer
from polytask.balance.engine.graph import reached
from polytask.balance.engine.partition import Partition
from polytask.balance.registry import METHODS, get_method

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
