"""The small problems: convex programs over K tasks, spectra of K×K matrices, proximal operators.

Pure functions on float64 NumPy arrays, without state and without torch. Nothing here compares with an absolute
threshold: a Gramian is scaled to a unit diagonal first, so multiplying a task's gradient by any number is harmless.
"""

from polytask.solvers.ball import max_min_in_ball, max_min_in_ball_gap
from polytask.solvers.kmeans import kmeans_line
from polytask.solvers.nnqp import nnqp, nnqp_many, nnqp_residual
from polytask.solvers.power import newton_power, power_residual
from polytask.solvers.projection import sequential_projection
from polytask.solvers.scaling import correlation, definite
from polytask.solvers.simplex import min_norm, min_norm_gap, project_simplex, simplex_qp
from polytask.solvers.spectral import align, equiangular
from polytask.solvers.vaccine import sequential_alignment

__all__ = [
    "align",
    "correlation",
    "definite",
    "equiangular",
    "kmeans_line",
    "max_min_in_ball",
    "max_min_in_ball_gap",
    "min_norm",
    "min_norm_gap",
    "newton_power",
    "nnqp",
    "nnqp_many",
    "nnqp_residual",
    "power_residual",
    "project_simplex",
    "sequential_alignment",
    "sequential_projection",
    "simplex_qp",
]
