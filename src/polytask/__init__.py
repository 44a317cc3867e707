"""polytask: multi-task learning, from the question "should these tasks be learned together?" to the trained model.

Every name below is loaded on first use, so that ``import polytask`` is cheap and the classical estimators in
:mod:`polytask.linear` never import PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from polytask.version import __version__ as __version__

if TYPE_CHECKING:
    from polytask import (
        balance,
        data,
        decide,
        deploy,
        errors,
        linear,
        masked,
        schedule,
        share,
        solvers,
        study,
        tables,
        tasks,
        train,
    )
    from polytask.balance import Balancer
    from polytask.data import MultiTaskLoader
    from polytask.deploy import load
    from polytask.share import HardSharing
    from polytask.study import compare
    from polytask.tasks import Task, TaskSet
    from polytask.train import Trainer

__all__ = [
    "Balancer",
    "HardSharing",
    "MultiTaskLoader",
    "Task",
    "TaskSet",
    "Trainer",
    "balance",
    "compare",
    "data",
    "decide",
    "deploy",
    "errors",
    "linear",
    "load",
    "masked",
    "schedule",
    "share",
    "solvers",
    "study",
    "tables",
    "tasks",
    "train",
]

_HOMES = {
    "Balancer": "balance",
    "HardSharing": "share",
    "MultiTaskLoader": "data",
    "Task": "tasks",
    "TaskSet": "tasks",
    "Trainer": "train",
    "compare": "study",
    "load": "deploy",
}
"""Where the names live that are no rooms."""


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"polytask.{_HOMES[name]}"), name)
    if name in __all__:
        return importlib.import_module(f"polytask.{name}")
    raise AttributeError(f"module 'polytask' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
