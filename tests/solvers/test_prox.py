"""Proximal maps against their definition: optimality conditions, Moreau's identity, and a general convex solver."""

import cvxpy as cp
import numpy as np
import pytest

from polytask.solvers import prox

SOLVER = {"solver": "CLARABEL", "tol_gap_abs": 1e-9, "tol_gap_rel": 1e-9, "tol_feas": 1e-9}


def _matrices():
    rng = np.random.default_rng(0)
    yield rng.normal(size=(5, 4))
    yield 1e6 * rng.normal(size=(3, 6))
    yield 1e-6 * rng.normal(size=(6, 3))
    V = rng.normal(size=(4, 4))
    V[1] = 0  # a zero row
    V[2] = V[2, 0]  # ties
    yield V
    yield np.outer(rng.normal(size=5), rng.normal(size=3))  # rank one
    yield rng.normal(size=(1, 1))


MATRICES = list(_matrices())

#: value of Ω and its prox
PAIRS = {
    "l1": (lambda W: np.abs(W).sum(), prox.shrink_entries),
    "l21": (lambda W: np.linalg.norm(W, axis=1).sum(), prox.shrink_rows),
    "l1inf": (lambda W: np.abs(W).max(axis=1).sum(), prox.shrink_linf_rows),
    "sparse group": (
        lambda W: 0.5 * np.abs(W).sum() + np.linalg.norm(W, axis=1).sum(),
        lambda V, t: prox.shrink_group_entries(V, 0.5 * t, t),
    ),
    "trace": (lambda W: np.linalg.norm(W, "nuc"), lambda V, t: prox.shrink_singular_values(V, t)[0]),
    "total variation": (lambda W: np.abs(np.diff(W, axis=1)).sum(), prox.total_variation_rows),
}


@pytest.mark.parametrize("V", MATRICES)
@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.7, 100.0])
def test_prox_of_a_norm_meets_its_optimality_conditions(name, V, share):
    value, operator = PAIRS[name]
    step = share * np.abs(V).max()
    before = V.copy()
    W = operator(V, step)
    assert np.array_equal(V, before)
    U = V - W  # in τ∂Ω(W): ⟨U, W⟩ = τΩ(W), and ⟨U, Z⟩ ≤ τΩ(Z) for every Z
    scale = 1 + np.abs(V).max() ** 2
    assert np.vdot(U, W) == pytest.approx(step * value(W), abs=1e-9 * scale)
    rng = np.random.default_rng(1)
    for Z in [V, W, *rng.normal(size=(20, *V.shape)) * np.abs(V).max()]:
        assert np.vdot(U, Z) <= step * value(Z) + 1e-9 * scale


@pytest.mark.parametrize("scale", [1e10, 1e17, 1e150])
def test_the_projection_of_large_rows_stays_in_the_l1_ball(scale):
    """The radius may be far below the rounding of the entries."""
    rng = np.random.default_rng(2)
    V = scale * rng.normal(size=(20, 6))
    V[3] = [scale, -scale, scale, 0.0, 1.0, -2.0]
    P = prox.project_l1_rows(V, 2.0)
    np.testing.assert_allclose(np.abs(P).sum(axis=1), 2.0, rtol=1e-12)
    np.testing.assert_allclose(P[3], [2 / 3, -2 / 3, 2 / 3, 0, 0, 0])
    assert ((P == 0) | (np.sign(P) == np.sign(V))).all()
    largest = np.abs(V).argmax(axis=1)
    assert (np.abs(P)[np.arange(20), largest] == np.abs(P).max(axis=1)).all()


@pytest.mark.parametrize("V", MATRICES)
@pytest.mark.parametrize("share", [0.05, 0.5, 3.0])
def test_projection_on_the_l1_ball(V, share):
    radius = share * np.abs(V).max()
    P = prox.project_l1_rows(V, radius)
    assert np.all(np.abs(P).sum(axis=1) <= radius * (1 + 1e-12) + 1e-300)
    inside = np.abs(V).sum(axis=1) <= radius
    assert np.array_equal(P[inside], V[inside])
    # variational inequality against the vertices of the ball
    slack = np.einsum("jt,jt->j", V - P, P)
    assert np.all(slack >= radius * np.abs(V - P).max(axis=1) - 1e-9 * np.abs(V).max() ** 2)


@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize("seed", range(6))
def test_projection_on_ball_and_box_against_a_convex_solver(norm, seed):
    rng = np.random.default_rng(seed)
    V = rng.normal(size=(3, 5))
    if seed == 0:
        V[0] = V[0, 0]
    radius, bound = rng.uniform(0.1, 2, size=2)
    W = cp.Variable(V.shape)
    limits = [cp.norm(W[j], norm) <= radius for j in range(len(V))]
    cp.Problem(cp.Minimize(cp.sum_squares(W - V)), [*limits, cp.abs(W) <= bound]).solve(**SOLVER)
    ours = (prox.clip_l1_rows if norm == 1 else prox.clip_l2_rows)(V, radius, bound)
    assert np.abs(ours - W.value).max() < 1e-3
    assert np.sum((ours - V) ** 2) <= np.sum((W.value - V) ** 2) * (1 + 1e-6) + 1e-7
    assert np.all(np.linalg.norm(ours, norm, axis=1) <= radius * (1 + 1e-12))
    assert np.all(np.abs(ours) <= bound * (1 + 1e-12))


def test_total_variation_against_a_convex_solver():
    rng = np.random.default_rng(3)
    V = rng.normal(size=(4, 7))
    W = cp.Variable(V.shape)
    cp.Problem(cp.Minimize(0.5 * cp.sum_squares(W - V) + 0.4 * cp.sum(cp.abs(cp.diff(W, axis=1))))).solve(**SOLVER)
    assert np.abs(prox.total_variation_rows(V, 0.4) - W.value).max() < 1e-4


@pytest.mark.parametrize("weight", [1e-3, 0.5, 10.0])
def test_squared_norm_prox_is_a_soft_threshold_at_its_own_sum(weight):
    values = np.array([0.3, 2.0, 1.0, 0.0, 2.0])
    kept = prox.shrink_sorted(values, weight)
    level = weight * kept.sum()
    assert kept == pytest.approx(np.maximum(values - level, 0), abs=1e-12)


def test_singular_values_agree_with_a_full_decomposition():
    V = np.random.default_rng(0).normal(size=(7, 4))
    for A in (V, V.T):
        _, values, _ = prox.singular_system(A)
        assert values == pytest.approx(np.sort(np.linalg.svd(A, compute_uv=False)), rel=1e-10)


def test_float32_stays_float32():
    V = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    for _, operator in PAIRS.values():
        assert operator(V, 0.3).dtype == np.float32
    assert prox.clip_l1_rows(V, 0.5, 0.3).dtype == np.float32
    assert prox.clip_l2_rows(V, 0.5, 0.3).dtype == np.float32
