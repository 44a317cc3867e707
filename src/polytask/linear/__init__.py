"""The classical answer on tables: multi-task estimators for scikit-learn.

Inputs in four layouts (see :mod:`polytask.linear.layout`), one solver with certified accuracy
(:mod:`polytask.linear.core.engine`), one module per family of estimators (:mod:`polytask.linear.registry`).
Never imports PyTorch. Estimators load on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from polytask.lazy import lazy
from polytask.linear.registry import ESTIMATORS, FAMILIES, get_estimator

if TYPE_CHECKING:
    from polytask.linear.core.engine import Solution
    from polytask.linear.core.hsic import maximise_dependence
    from polytask.linear.core.losses import Huber, Logistic, Loss, Poisson, Squared, SquaredHinge
    from polytask.linear.core.newton import solve
    from polytask.linear.core.penalties import (
        L1,
        L21,
        Columns,
        Dirty,
        InfimalSum,
        L1Inf,
        Penalty,
        RowPenalty,
        SparseGroup,
    )
    from polytask.linear.core.problem import Problem, shared_problem, stacked_problem
    from polytask.linear.core.spectral import Quadratic, SquaredL21, SquaredTraceNorm, TraceNorm
    from polytask.linear.figures import plot
    from polytask.linear.layout import to_long, to_wide
    from polytask.linear.model_selection import LeaveOneTaskOut, TaskStratifiedKFold
    from polytask.linear.penalised import PathResult
    from polytask.linear.plots import plot_coefficients, plot_path, plot_selection
    from polytask.linear.scoring import TaskScorer, make_task_scorer, task_scores


__all__ = [
    "ESTIMATORS",
    "FAMILIES",
    "L1",
    "L21",
    "Columns",
    "Dirty",
    "Huber",
    "InfimalSum",
    "L1Inf",
    "LeaveOneTaskOut",
    "Logistic",
    "Loss",
    "PathResult",
    "Penalty",
    "Poisson",
    "Problem",
    "Quadratic",
    "RowPenalty",
    "Solution",
    "SparseGroup",
    "Squared",
    "SquaredHinge",
    "SquaredL21",
    "SquaredTraceNorm",
    "TaskScorer",
    "TaskStratifiedKFold",
    "TraceNorm",
    "get_estimator",
    "make_task_scorer",
    "maximise_dependence",
    "plot",
    "plot_coefficients",
    "plot_path",
    "plot_selection",
    "shared_problem",
    "solve",
    "stacked_problem",
    "task_scores",
    "to_long",
    "to_wide",
]
__all__ += list(ESTIMATORS.own)

__getattr__, __dir__ = lazy(
    __name__,
    {
        "core.engine": ("Solution",),
        "core.hsic": ("maximise_dependence",),
        "core.losses": (
            "Huber",
            "Logistic",
            "Loss",
            "Poisson",
            "Squared",
            "SquaredHinge",
        ),
        "core.newton": ("solve",),
        "core.penalties": (
            "L1",
            "L21",
            "Columns",
            "Dirty",
            "InfimalSum",
            "L1Inf",
            "Penalty",
            "RowPenalty",
            "SparseGroup",
        ),
        "core.problem": (
            "Problem",
            "shared_problem",
            "stacked_problem",
        ),
        "core.spectral": (
            "Quadratic",
            "SquaredL21",
            "SquaredTraceNorm",
            "TraceNorm",
        ),
        "figures": ("plot",),
        "layout": (
            "to_long",
            "to_wide",
        ),
        "model_selection": (
            "LeaveOneTaskOut",
            "TaskStratifiedKFold",
        ),
        "penalised": ("PathResult",),
        "plots": (
            "plot_coefficients",
            "plot_path",
            "plot_selection",
        ),
        "scoring": (
            "TaskScorer",
            "make_task_scorer",
            "task_scores",
        ),
        **{f"families.{module}": names for module, names in FAMILIES.items()},
    },
)
