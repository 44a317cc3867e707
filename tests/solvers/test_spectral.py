"""Equal angles and alignment: defining properties, closed forms, arithmetic with sixty digits."""

import mpmath
import numpy as np
import pytest

from polytask.solvers import align, equiangular

from .draws import jacobian


@pytest.mark.parametrize("size", [1, 2, 3, 8, 40, 128])
@pytest.mark.parametrize("spread", [0.0, 4.0, 10.0])
@pytest.mark.parametrize("kind", ["plain", "agreeing", "duplicate", "nearly_parallel"])
def test_cosines_with_all_rows_are_equal_and_positive(kind, size, spread):
    J = jacobian(kind, size, spread, 0)
    w = equiangular(J @ J.T)
    assert abs(w).sum() == pytest.approx(1)
    unit = J / np.linalg.norm(J, axis=1)[:, None]
    d = J.T @ w
    cosines = unit @ d / np.linalg.norm(d)
    assert cosines.min() > 0
    assert cosines.max() / cosines.min() - 1 < (1e-5 if kind == "nearly_parallel" else 1e-8)


def test_the_paper_and_this_agree_on_positive_weights_and_only_this_goes_downhill_on_others():
    flipped = 0
    for seed in range(300):
        J = np.random.default_rng(seed).standard_normal((3, 3))
        J *= np.exp(np.random.default_rng([seed, 1]).uniform(-2, 2, 3))[:, None]
        d = np.linalg.norm(J, axis=1)
        paper = np.linalg.solve(J @ J.T, d)
        paper /= paper.sum()
        w = equiangular(J @ J.T)
        if (paper > 0).all():
            np.testing.assert_allclose(w, paper, rtol=1e-6)
        flipped += bool((J @ J.T @ paper).max() < 0)
        assert (J @ J.T @ w).min() > 0
    assert flipped > 10  # the published normalisation ascends on all tasks


def test_opposite_rows_give_no_step():
    J = np.array([[1.0, 0.0, 0.0], [-2.0, 0.0, 0.0]])
    np.testing.assert_allclose(J.T @ equiangular(J @ J.T), 0, atol=1e-15)
    triangle = np.array([[1.0, 0.0], [-0.5, 3**0.5 / 2], [-0.5, -(3**0.5) / 2]])
    w = equiangular(triangle @ triangle.T)
    np.testing.assert_allclose(w, [1 / 3] * 3, atol=1e-7)


@pytest.mark.parametrize("kind", ["few_columns", "antiparallel", "cone"])
def test_without_equal_angles_the_weights_stay_finite(kind):
    for size in (3, 8, 30):
        w = equiangular((J := jacobian(kind, size, 2.0, 0)) @ J.T)
        assert np.isfinite(w).all()
        assert abs(w).sum() == pytest.approx(1)


def aligned_by_definition(G, p, pick):
    """σG^(−½)p on the range of G, by the eigenvectors themselves."""
    values, vectors = np.linalg.eigh(G)
    keep = values > 1e-10 * values.max()
    values, vectors = values[keep], vectors[:, keep]
    return np.sqrt(pick(values)) * vectors @ (vectors.T @ p / np.sqrt(values))


def lower_median(values):
    """Of two values in the middle the lower one, as in the authors' code."""
    return np.sort(values)[(len(values) - 1) // 2]


@pytest.mark.parametrize(("scale", "pick"), [("min", np.min), ("median", lower_median), ("rmse", np.mean)])
@pytest.mark.parametrize("kind", ["plain", "duplicate", "few_columns"])
@pytest.mark.parametrize("size", [1, 2, 3, 8, 40])
def test_alignment_is_its_definition(kind, size, scale, pick):
    G = (J := jacobian(kind, size, 1.0, 0)) @ J.T
    p = np.random.default_rng(size).dirichlet(np.ones(size))
    np.testing.assert_allclose(align(G, p, scale), aligned_by_definition(G, p, pick), rtol=1e-7, atol=1e-12)


def test_aligned_rows_are_orthogonal_and_of_the_smallest_length():
    for spread in (0.0, 3.0, 9.0):
        G = (J := jacobian("plain", 6, spread, 2)) @ J.T
        B = np.stack([align(G, row) for row in np.eye(6)])
        aligned = B @ G @ B
        smallest = aligned[0, 0]
        np.testing.assert_allclose(aligned, smallest * np.eye(6), atol=1e-6 * smallest)


@pytest.mark.parametrize("spread", [0.0, 4.0, 10.0])
@pytest.mark.parametrize("size", [2, 3, 5])
def test_sixty_digits_agree_whatever_the_norms(size, spread):
    J = jacobian("plain", size, spread, 5)
    with mpmath.workdps(60):
        exact = mpmath.matrix(J.tolist())
        G = exact * exact.T
        values, vectors = mpmath.eigsy(G)
        root = vectors * mpmath.diag([mpmath.sqrt(min(values) / value) for value in values]) * vectors.T
        aligned = [float(x) for x in root * mpmath.matrix([mpmath.mpf(1) / size] * size)]
        pull = mpmath.lu_solve(G, mpmath.matrix([mpmath.sqrt(G[i, i]) for i in range(size)]))
        equal = [float(x / sum(abs(y) for y in pull)) for x in pull]
    np.testing.assert_allclose(align(J @ J.T, np.full(size, 1 / size)), aligned, rtol=1e-8)
    np.testing.assert_allclose(equiangular(J @ J.T), equal, rtol=1e-10)


def test_duplicates_of_very_unlike_rows_are_aligned_on_their_range():
    J = np.array([[1.0, 0.0], [1e-7, 0.0], [0.0, 1e-4]])
    w = align(J @ J.T, np.full(3, 1 / 3))
    d = J.T @ w
    # The range has two directions, of squared lengths 1 + 1e-14 and 1e-8; both come out with the smaller length.
    np.testing.assert_allclose(d, [1e-4 / 3, 1e-4 / 3], rtol=1e-5)
