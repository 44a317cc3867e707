"""Sequential corrections of cosines, against what each of them promises."""

import numpy as np
import pytest

from polytask.solvers import sequential_alignment, sequential_projection

from .draws import jacobian


def cosines(kind, size, seed):
    J = jacobian(kind, size, 0.0, seed)
    J /= np.linalg.norm(J, axis=1, keepdims=True)
    return J @ J.T


def test_towards_zero_it_is_sequential_projection():
    for kind in ("plain", "cone", "agreeing"):
        for size in (2, 5, 17):
            C = cosines(kind, size, 0)
            others = np.array([np.delete(np.arange(size), i) for i in range(size)])
            A, _ = sequential_alignment(C, others, np.zeros((size, size)))
            np.testing.assert_allclose(A, sequential_projection(C, others), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("goal", [-0.5, 0.0, 0.3, 0.9])
def test_after_its_last_partner_a_row_has_at_least_the_wanted_cosine(goal):
    for seed in range(5):
        C = cosines("plain", 6, seed)
        others = np.array([np.delete(np.arange(6), i) for i in range(6)])
        A, found = sequential_alignment(C, others, np.full((6, 6), goal))
        inner, lengths = A @ C, np.sqrt(np.einsum("ij,jk,ik->i", A, C, A))
        rows, last = np.arange(6), others[:, -1]
        reached = inner[rows, last] / lengths
        np.testing.assert_allclose(reached, np.maximum(goal, found[rows, last]), rtol=1e-9, atol=1e-12)


def test_the_vectorised_loop_returns_the_goal_for_rows_that_vanished():
    C = np.array([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    A, found = sequential_alignment(C, np.array([[1, 2], [2, 0], [0, 1]]), np.full((3, 3), 0.0))
    np.testing.assert_allclose(A[0], [1.0, 1.0, 0.0])
    assert found[0, 1] == -1.0
    assert found[0, 2] == 0.0
