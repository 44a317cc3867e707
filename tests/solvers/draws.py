"""Jacobians drawn with the degenerate cases by construction, shared by the tests of solvers and methods."""

import numpy as np

KINDS = ("plain", "agreeing", "duplicate", "antiparallel", "few_columns", "cone", "nearly_parallel")
"""plain: independent rows; agreeing: all cosines positive; duplicate: two proportional rows; antiparallel: two opposite
rows (no direction helps both); few_columns: fewer columns than rows; cone: dependent rows with a common descent
direction; nearly_parallel: two rows 1e-6 apart."""

SOLVABLE = ("plain", "agreeing", "duplicate", "cone", "nearly_parallel")
"""Kinds in which some direction helps all rows (nearly always for plain rows, as there are four times more columns)."""


def jacobian(kind: str, size: int, spread: float, seed: int) -> np.ndarray:
    """K rows of the given kind, with norms multiplied by e^U(−spread, spread)."""
    rng = np.random.default_rng([KINDS.index(kind), size, int(10 * spread), seed])
    columns = max(1, size // 2) if kind in ("few_columns", "cone") else 4 * size
    J = rng.standard_normal((size, columns))
    if kind == "agreeing":
        J += 1.5
    if kind == "cone":
        J[:, 0] = abs(J[:, 0]) + 1.0
    if kind == "duplicate":
        J[-1] = J[0]
    if kind == "antiparallel":
        J[-1] = -J[0]
    if kind == "nearly_parallel":
        J[-1] = J[0] + 1e-6 * J[-1]
    return J * np.exp(rng.uniform(-spread, spread, size))[:, None]
