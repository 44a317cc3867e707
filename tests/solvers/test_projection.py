"""Sequential projection against the loop it replaces."""

import numpy as np
import pytest

from polytask.solvers import correlation, sequential_projection

from .draws import KINDS, jacobian


def by_loop(U, partners):
    """Row by row, on the vectors themselves."""
    rows = []
    for i, order in enumerate(partners):
        row = U[i].copy()
        for j in order:
            inner = row @ U[j]
            if inner < 0:
                row -= inner * U[j]
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [2, 3, 8, 30])
def test_all_rows_at_once_equal_row_after_row(kind, size):
    J = jacobian(kind, size, 3.0, 0)
    U = J / np.linalg.norm(J, axis=1)[:, None]
    rng = np.random.default_rng(size)
    partners = np.array([rng.permutation([j for j in range(size) if j != i]) for i in range(size)])
    A = sequential_projection(correlation(J @ J.T)[0], partners)
    np.testing.assert_allclose(A @ U, by_loop(U, partners), atol=1e-9)


def test_without_conflicts_nothing_is_removed():
    C, _ = correlation((J := abs(jacobian("plain", 5, 0.0, 0))) @ J.T)
    partners = np.array([[j for j in range(5) if j != i] for i in range(5)])
    assert (sequential_projection(C, partners) == np.eye(5)).all()
