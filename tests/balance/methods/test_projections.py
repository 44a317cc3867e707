"""Methods that project or rotate gradients away from conflicts: DualProj, GradVac, PCD."""

import numpy as np
import pytest
import torch
import torchjd.aggregation as jd

from polytask.balance import Evidence, get_method
from polytask.balance.toolbox.draws import partners
from polytask.errors import ConfigError
from polytask.solvers import nnqp_residual
from tests.solvers.draws import jacobian


def drawn(size, spread=0.0, seed=0, kind="plain"):
    J = torch.tensor(jacobian(kind, size, spread, seed))
    return J, J @ J.T


def conflict(w, G):
    """Lowest inner product of a unit gradient with the step, relative to what the rows put in."""
    return float(((G @ w) / G.diag().sqrt() / (w.abs() @ G.diag().sqrt())).min())


# -------------------------------------------------------------------------------------------------- DualProj


@pytest.mark.parametrize("kind", ["plain", "agreeing", "duplicate", "few_columns", "cone", "nearly_parallel"])
@pytest.mark.parametrize("size", [2, 3, 8, 40])
@pytest.mark.parametrize("spread", [0.0, 4.0])
def test_dual_proj_is_the_nearest_direction_without_conflict(kind, size, spread):
    _, G = drawn(size, spread, kind=kind)
    w = get_method("dual_proj").weights(G)
    assert conflict(w, G) > -1e-8
    pull = w - 1 / size
    assert float(pull.min()) >= -1e-15
    D = G.diag().sqrt()
    cosines = (G / D / D[:, None]).numpy()
    assert nnqp_residual(cosines, (G.mean(dim=1) / D).numpy(), (pull * D).numpy()) < 1e-7


def test_dual_proj_agrees_with_torchjd_for_balanced_norms():
    for size in (2, 3, 8, 25):
        for seed in range(3):
            _, G = drawn(size, seed=seed)
            theirs = jd.DualProjWeighting()(G)
            np.testing.assert_allclose(
                get_method("dual_proj").weights(G), theirs, rtol=1e-2, atol=1e-3 * float(theirs.max())
            )


def test_dual_proj_protects_tasks_with_small_gradients():
    J = torch.tensor([[1.0, 0.0], [-0.8 * 0.01, 0.6 * 0.01]], dtype=torch.float64)
    G = J @ J.T
    assert conflict(jd.DualProjWeighting()(G), G) < -0.2
    assert conflict(get_method("dual_proj").weights(G), G) > -1e-12


def test_dual_proj_follows_the_preference():
    _, G = drawn(4, kind="agreeing")
    liking = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    np.testing.assert_allclose(get_method("dual_proj").weights(G, preference=liking), liking)


# --------------------------------------------------------------------------------------------------- GradVac


def row_by_row(J, goal, order):
    """The published loop on plain vectors."""
    found, rows = goal.copy(), []
    for i, others in enumerate(order):
        g = J[i].copy()
        for j in others:
            cosine = g @ J[j] / np.linalg.norm(g) / np.linalg.norm(J[j])
            want = goal[i, j]
            if cosine < want:
                up, across = np.sqrt(1 - want**2), np.sqrt(1 - cosine**2)
                g = g + np.linalg.norm(g) * (want * across - cosine * up) / (np.linalg.norm(J[j]) * up) * J[j]
                reached = g @ J[j] / np.linalg.norm(g) / np.linalg.norm(J[j])
                assert reached == pytest.approx(want, abs=1e-9)
            found[i, j] = cosine
        rows.append(g)
    return np.array(rows), found


@pytest.mark.parametrize("size", [2, 3, 6, 12])
def test_gradvac_is_the_published_loop_and_learns_its_averages(size):
    method = get_method("gradvac", beta=0.3)
    goal = np.zeros((size, size))
    tasks = tuple(f"task {i}" for i in range(size))
    for step in range(6):
        J = jacobian("few_columns" if step % 2 and size > 3 else "plain", size, 1.0, step) + 0.3
        given = Evidence(tasks, np.ones(size), np.full(size, 1 / size), J @ J.T, step, seed=3)
        rows, found = row_by_row(J, goal, partners(given).tolist())
        solution = method.solve(given)
        np.testing.assert_allclose(solution.weights @ J, rows.sum(axis=0), rtol=1e-7, atol=1e-9)
        method.remember(given, solution)
        goal = 0.7 * goal + 0.3 * found
        np.fill_diagonal(goal, 0.0)
        np.testing.assert_allclose(method.state.read("cosine", tasks), goal, atol=1e-9)


def test_the_first_step_of_gradvac_is_that_of_pcgrad():
    for size in (2, 3, 9):
        _, G = drawn(size, 1.0, kind="few_columns" if size > 3 else "plain")
        for step in range(3):
            w, other = (get_method(name).weights(G, step=step, seed=5) for name in ("gradvac", "pcgrad"))
            np.testing.assert_allclose(w, other, rtol=1e-7, atol=1e-9)


def test_gradvac_agrees_with_torchjd_for_two_tasks():
    ours, theirs = get_method("gradvac", beta=0.5), jd.GradVacWeighting(beta=0.5)
    for step in range(8):
        _, G = drawn(2, 0.5, step)
        np.testing.assert_allclose(ours.weights(G, step=step), theirs(G), rtol=1e-6)
        given = Evidence(("0", "1"), np.ones(2), np.full(2, 0.5), G.numpy(), step)
        ours.remember(given, ours.solve(given))


def test_gradvac_treats_tiny_gradients_like_large_ones():
    """TorchJD adds an absolute 1e-8 to products of norms."""
    _, G = drawn(2, seed=3)
    G = G * torch.tensor([[1.0, -1.0], [-1.0, 1.0]]) if G[0, 1] > 0 else G
    ours, theirs = get_method("gradvac"), jd.GradVacWeighting()
    np.testing.assert_allclose(ours.weights(1e-16 * G), ours.weights(G), rtol=1e-7)
    assert float((theirs(1e-16 * G) - theirs(G)).abs().max()) > 0.01


def test_gradvac_stays_finite_where_cosines_are_one():
    method = get_method("gradvac", beta=1.0)
    same, opposite = np.ones((2, 2)), np.array([[1.0, -1.0], [-1.0, 1.0]])
    for step, G in enumerate((same, same, opposite, same, opposite)):
        given = Evidence(("a", "b"), np.ones(2), np.full(2, 0.5), G, step)
        solution = method.solve(given)
        assert np.isfinite(solution.weights).all()
        method.remember(given, solution)


# ------------------------------------------------------------------------------------------------------- PCD


def norm(w, G):
    return float((w @ G @ w).sqrt())


@pytest.mark.parametrize("size", [2, 3, 6, 20])
@pytest.mark.parametrize("tau", [0.0, 0.02, 0.5])
def test_pcd_agrees_with_torchjd_over_several_steps(size, tau):
    ours, theirs = get_method("pcd", primary="0", tau=tau, beta=0.9), jd.PCDWeighting(tau=tau, beta=0.9, eps=0.0)
    tasks = tuple(str(i) for i in range(size))
    for step in range(5):
        J, G = drawn(size, 0.7, step)
        given = Evidence(tasks, np.ones(size), np.full(size, 1 / size), G.numpy(), step)
        solution = ours.solve(given)
        np.testing.assert_allclose(torch.tensor(solution.weights) @ J, theirs(G) @ J, rtol=1e-6, atol=1e-8)
        ours.remember(given, solution)


@pytest.mark.parametrize("size", [2, 4, 12])
@pytest.mark.parametrize("spread", [0.0, 4.0])
def test_pcd_satisfies_its_conditions(size, spread):
    """The step is û + Σ μ_j·u_j up to length; each constraint holds, with equality where μ_j > 0."""
    _, G = drawn(size, spread, 2)
    w = get_method("pcd", primary="0", tau=0.1).weights(G)
    assert norm(w, G) == pytest.approx(float(G[0, 0].sqrt()))
    D = G.diag().sqrt()
    units, C = w * D, G / D / D[:, None]
    units = units / units[0]
    assert float(units.min()) >= 0
    slack = (C @ units)[1:] - 0.1
    assert float(slack.min()) > -1e-9
    assert float((slack * units[1:]).abs().max()) < 1e-9


def test_pcd_without_a_guarantee_projects_the_primary_gradient_for_two_tasks():
    J = torch.tensor([[2.0, 0.0], [-1.0, 1.0]], dtype=torch.float64)
    d = get_method("pcd", primary="0", tau=0.0).direction(J)
    np.testing.assert_allclose(d, 2 * np.array([1.0, 1.0]) / np.sqrt(2), rtol=1e-12)


def test_pcd_drops_constraints_that_exclude_each_other():
    J = torch.tensor([[1.0, 1.0], [1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    w = get_method("pcd", primary="0", tau=0.1).weights(J @ J.T)
    np.testing.assert_allclose(w, [1.0, 0.0, 0.0])


def test_pcd_is_indifferent_to_a_constant_factor_on_a_secondary_loss():
    plain, scaled = (get_method("pcd", primary="0", tau=0.3, beta=0.5) for _ in range(2))
    for step in range(4):
        J = jacobian("plain", 3, 0.5, step)
        steps = []
        for method, factor in ((plain, 1.0), (scaled, 1e-7)):
            rows = J * np.array([1.0, factor, 1.0])[:, None]
            given = Evidence(("0", "1", "2"), np.ones(3), np.full(3, 1 / 3), rows @ rows.T, step)
            solution = method.solve(given)
            steps.append(solution.weights @ rows)
            method.remember(given, solution)
        np.testing.assert_allclose(steps[0], steps[1], rtol=1e-8)


def test_pcd_refuses_a_guarantee_for_the_primary_task():
    with pytest.raises(ConfigError, match="primary task 'a'"):
        get_method("pcd", primary="a", tau={"a": 0.1})
    with pytest.raises(ConfigError, match="tau"):
        get_method("pcd", primary="a", tau=1.5)
