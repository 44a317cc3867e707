"""Methods with a primary task: gradient cosine similarity and OL-AUX."""

import numpy as np
import pytest
import torch

from polytask.balance import Evidence, get_method
from polytask.balance.compose import Chain
from tests.solvers.draws import jacobian

TASKS = ("main", "one", "two")


def weights(method, J, **options):
    rows = torch.tensor(J)
    return method.weights(rows @ rows.T, tasks=TASKS, **options).numpy()


def test_gcs_is_its_definition():
    for seed in range(20):
        J = jacobian("few_columns", 3, 1.0, seed) if seed % 2 else jacobian("plain", 3, 1.0, seed)
        cosine = J @ J[0] / np.linalg.norm(J, axis=1) / np.linalg.norm(J[0])
        soft = weights(get_method("gcs", primary="main", mode="weighted"), J)
        hard = weights(get_method("gcs", primary="main"), J)
        np.testing.assert_allclose(soft, [1, max(cosine[1], 0), max(cosine[2], 0)], atol=1e-12)
        np.testing.assert_array_equal(hard, [1, cosine[1] >= 0, cosine[2] >= 0])
        for w in (soft, hard):
            assert w @ J @ J[0] >= J[0] @ J[0] * (1 - 1e-12)


@pytest.mark.parametrize("mode", ["unweighted", "weighted"])
def test_gcs_with_opposite_auxiliaries_follows_the_primary_task_alone(mode):
    J = np.array([[1.0, 2.0], [-1.0, -2.0], [-3.0, -1.0]])
    np.testing.assert_allclose(weights(get_method("gcs", primary="main", mode=mode), J), [1, 0, 0])


@pytest.mark.parametrize(("name", "options"), [("gcs", {}), ("ol_aux", {}), ("pcd", {})])
def test_without_the_primary_task_the_others_count_fully(name, options):
    method = get_method(name, primary="elsewhere", **options)
    np.testing.assert_allclose(weights(method, jacobian("plain", 3, 0.0, 0)), 1.0)


def observed(method, J, step, losses=(1.0, 1.0, 1.0)):
    given = Evidence(TASKS, np.asarray(losses, float), np.full(3, 1 / 3), J @ J.T, step)
    solution = method.solve_present(given)
    method.remember(given, solution)
    return solution.weights


@pytest.mark.parametrize("similarity", ["inner", "cosine"])
def test_ol_aux_moves_by_the_sum_over_its_horizon(similarity):
    method = get_method("ol_aux", primary="main", lr=0.1, horizon=3, similarity=similarity)
    expected, total = np.ones(3), np.zeros(3)
    for step in range(14):
        J = jacobian("plain", 3, 0.5, step)
        np.testing.assert_allclose(observed(method, J, step), expected, rtol=1e-12)
        gain = J @ J[0]
        if similarity == "cosine":
            gain = gain / np.linalg.norm(J, axis=1) / np.linalg.norm(J[0])
        total = total + gain
        if step % 3 == 2:
            expected = np.maximum(expected + 0.1 * np.array([0, total[1], total[2]]), 0)
            total = np.zeros(3)


def test_orthogonal_auxiliaries_keep_their_weight():
    method = get_method("ol_aux", primary="main", horizon=1)
    for step in range(4):
        np.testing.assert_array_equal(observed(method, np.eye(3), step), 1.0)


def test_steps_without_a_gradient_do_not_count():
    method = get_method("ol_aux", primary="main", lr=1.0, horizon=2)
    observed(method, np.ones((3, 2)), 0)
    observed(method, np.array([[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]]), 1)
    observed(method, np.array([[1.0, 1.0], [1.0, 1.0], [0.0, 0.0]]), 2)
    assert method.state_dict()["weight"] == {"one": 5.0, "two": 1.0}
    assert method.state_dict()["count"] == {"one": 0.0, "two": 1.0}


def test_ol_aux_solves_the_authors_quadratic_problem():
    """Main loss x² + y², one auxiliary with another optimum, one that is its negative; fixed weights end elsewhere."""

    def run(method):
        x = np.array([-0.8, -1.6])
        for step in range(1000):
            J = np.array([2 * x, 2 * x - 1, -2 * x])
            x = x - 0.01 * observed(method, J, step) @ J
        return x @ x

    assert run(get_method("ol_aux", primary="main", lr=0.01, horizon=1)) < 1e-2
    assert run(get_method("ol_aux", primary="main", lr=1e-9, horizon=1)) == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize("nonnegative", [True, False])
def test_ol_aux_holds_weights_at_zero_unless_told_otherwise(nonnegative):
    """The authors' code clips after every update, so that a weight leaves zero as soon as the gradients agree again."""
    method = get_method("ol_aux", primary="main", lr=0.5, horizon=2, nonnegative=nonnegative)
    against, along = np.array([[1.0, 0.0], [-2.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 0.0], [0.5, 0.0], [0.0, 1.0]])
    for step, J in enumerate([against] * 4 + [along] * 2):
        last = observed(method, J, step)
        assert not nonnegative or (last >= 0).all()
    free = 1 + 0.5 * (-2 * 4 + 0.5 * 2)
    held = 0 + 0.5 * (0.5 * 2)
    expected = {"one": held if nonnegative else free, "two": 1.0}
    assert method.state_dict()["weight"] == pytest.approx(expected)


def test_log_losses_come_through_a_chain():
    inner = get_method("ol_aux", primary="main", lr=0.1, horizon=1)
    method = Chain("log", inner)
    J, losses = jacobian("plain", 3, 0.0, 1), np.array([0.5, 2.0, 4.0])
    np.testing.assert_allclose(observed(method, J, 0, losses), 1 / losses)
    rows = J / losses[:, None]
    expected = 1 + 0.1 * np.array([0, rows[1] @ rows[0], rows[2] @ rows[0]])
    np.testing.assert_allclose(observed(method, J, 1, losses), expected / losses)
