"""The small problems: convex programs over K tasks, spectra of K×K matrices, proximal operators.

Pure functions on float64 NumPy arrays, without state and without torch. Nothing here compares with an absolute
threshold: a Gramian is scaled to a unit diagonal first, so multiplying a task's gradient by any number is harmless.
"""

from polytask.solvers.nnqp import nnqp, nnqp_many, nnqp_residual
from polytask.solvers.power import newton_power, power_residual
from polytask.solvers.scaling import correlation, definite
from polytask.solvers.simplex import min_norm, min_norm_gap, project_simplex

__all__ = [
    "correlation",
    "definite",
    "min_norm",
    "min_norm_gap",
    "newton_power",
    "nnqp",
    "nnqp_many",
    "nnqp_residual",
    "power_residual",
    "project_simplex",
]
