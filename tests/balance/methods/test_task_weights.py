"""What task weights mean: applied once, everywhere alike, and every method's promise holds with them."""

import numpy as np
import pytest
import torch

from polytask.balance import METHODS, Balancer, Evidence, GramianMethod, JacobianMethod, get_method
from polytask.balance.contract.evidence import MULTIPLIES
from polytask.solvers.power import power_residual
from tests.solvers.draws import jacobian

from .drive import NAMES, evidence, make, solve
from .entries import ENTRIES
from .test_conformance import ALL

LIKING = np.array([0.4, 1.0, 3.0, 0.7, 1.5])
Q = LIKING / LIKING.mean()
WEIGHTS = dict(zip(NAMES, LIKING.tolist(), strict=True))


def gramian_weights(method, J, q, **given):
    tasks = [str(i) for i in range(len(J))]
    return method.weights(torch.tensor(J @ J.T), preference=torch.tensor(q), tasks=tasks, **given).numpy()


def drawn_weights(size, seed=0):
    q = np.exp(np.random.default_rng([size, seed]).uniform(-1.5, 1.5, size))
    return q / q.mean()


# --------------------------------------------------------------------------------------------- one meaning everywhere


@pytest.mark.parametrize("entry", ALL, ids=str)
def test_the_card_says_what_a_task_weight_does(entry):
    method = METHODS[entry.name]
    assert method.card.preference
    assert method.uses_preference == (method.card.preference != MULTIPLIES)


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.options.get("primary") != "0"], ids=str)
def test_weights_alone_are_those_of_the_engine(entry):
    """``method.weights(…, preference=p)`` and a balancer with ``task_weights``: one number, p counted once."""
    method = make(entry)
    given = evidence(method, NAMES, 0)
    p = torch.tensor(LIKING)
    if isinstance(method, GramianMethod):
        alone = method.weights(
            torch.tensor(given.gramian), losses=torch.tensor(given.losses), tasks=NAMES, preference=p
        )
    else:
        alone = method.weights(torch.tensor(given.losses), tasks=NAMES, preference=p)
    J = np.linalg.cholesky(given.gramian) if given.gramian is not None else np.eye(len(NAMES))
    x = torch.zeros(len(NAMES), dtype=torch.float64, requires_grad=True)
    rows = [(name, value, torch.tensor(row)) for name, value, row in zip(NAMES, given.losses, J, strict=True)]

    def batch():
        return {name: value + row @ x for name, value, row in rows}

    balancer = Balancer(make(entry), tasks=NAMES, shared=[x], task_weights=WEIGHTS, announce=None)
    more = {"twin": batch()} if balancer.needs_twin else {}
    losses = batch()
    record = balancer.backward(losses, **more)
    found = np.array([record.weights[name] for name in NAMES])
    np.testing.assert_allclose(found, alone, rtol=1e-6, atol=1e-9 * abs(found).max())
    np.testing.assert_allclose(x.grad, found @ J, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("entry", ENTRIES, ids=str)
def test_only_the_proportion_of_task_weights_counts(entry):
    method = make(entry)
    given = evidence(method, NAMES, 0)
    given_losses = torch.tensor(given.losses)
    found = []
    for factor in (1.0, 1e6, 1e-6):
        p = torch.tensor(factor * LIKING)
        if isinstance(method, GramianMethod):
            found.append(method.weights(torch.tensor(given.gramian), losses=given_losses, tasks=NAMES, preference=p))
        else:
            found.append(method.weights(given_losses, tasks=NAMES, preference=p))
    torch.testing.assert_close(found[0], found[1], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found[0], found[2], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("entry", [e for e in ENTRIES if METHODS[e.name].card.preference == MULTIPLIES], ids=str)
def test_where_it_is_a_factor_it_is_one(entry):
    method = make(entry)
    given = evidence(method, NAMES, 0)
    plain = solve(method, given)
    liked = Evidence(given.tasks, given.losses, Q / len(Q), given.gramian, seed=7)
    np.testing.assert_allclose(method.preferred(liked, solve(method, liked)).weights, Q * plain.weights, rtol=1e-12)


# --------------------------------------------------------------------------------------------- promises, with weights


def gains_in_proportion(J, w, q):
    """g_iᵀd ≥ q_i·‖d‖², equal where a task takes part."""
    d = w @ J
    slack = (J @ d) / q - d @ d
    scale = np.linalg.norm(J, axis=1) / q * np.linalg.norm(d)
    assert (slack >= -1e-7 * scale).all()
    part = w * np.linalg.norm(J, axis=1) > 1e-6 * np.linalg.norm(d)
    assert abs(slack[part] / scale[part]).max() < 1e-6
    assert (w >= -1e-12).all()


def nobody_is_opposed(J, w, q):
    norms = np.linalg.norm(J, axis=1)
    assert (J @ (w @ J) / norms).min() >= -1e-7 * (abs(w) @ norms)


def cosines_in_proportion(J, w, q):
    shown = J @ (w @ J) / np.linalg.norm(J, axis=1) / q
    np.testing.assert_allclose(shown, shown.mean(), rtol=1e-6)
    assert shown.mean() > 0


def cosines_at_least_in_proportion(J, w, q):
    norms = np.linalg.norm(J, axis=1)
    shown = J @ (w @ J) / norms / q
    part = w * norms > 1e-6 * (w * norms).max()
    assert shown.min() > 0
    assert shown.min() >= shown[part].max() * (1 - 1e-6)


def nash(J, w, q):
    assert power_residual(J @ J.T, w, q) < 1e-6


PROMISES = {
    "mgda": ({}, gains_in_proportion),
    "edm": ({}, cosines_at_least_in_proportion),
    "imtl_g": ({}, cosines_in_proportion),
    "imtl": ({}, cosines_in_proportion),
    "config": ({}, cosines_in_proportion),
    "upgrad": ({}, nobody_is_opposed),
    "dual_proj": ({}, nobody_is_opposed),
    "nash_mtl": ({}, nash),
    "fairgrad": ({"alpha": 1.0}, nash),
    "chain": ({"stages": "l2", "inner": "edm"}, cosines_at_least_in_proportion),
    "cr_mogm": ({"inner": "mgda"}, gains_in_proportion),
    "subset": ({"inner": "mgda", "count": 99}, gains_in_proportion),
}


@pytest.mark.parametrize("name", PROMISES)
@pytest.mark.parametrize("scale", [1e-10, 1.0, 1e10])
@pytest.mark.parametrize("kind", ["plain", "agreeing", "nearly_parallel"])
def test_a_promise_holds_with_task_weights(name, scale, kind):
    options, holds = PROMISES[name]
    for size in (2, 3, 7, 20):
        for seed in range(3):
            J, q = scale * jacobian(kind, size, 2.0, seed), drawn_weights(size, seed)
            if kind == "nearly_parallel" and holds in (cosines_in_proportion, nash):
                continue  # different cosines with two rows 1e-6 apart take weights of 1e6
            holds(J, gramian_weights(get_method(name, **options), J, q), q)


@pytest.mark.parametrize("kind", ["few_columns", "antiparallel", "duplicate", "cone"])
@pytest.mark.parametrize("name", ["mgda", "edm", "upgrad", "dual_proj", "cr_mogm"])
def test_no_task_is_opposed_where_rows_are_dependent(name, kind):
    for size in (2, 3, 7):
        for seed in range(4):
            J, q = jacobian(kind, size, 1.0, seed), drawn_weights(size, seed)
            nobody_is_opposed(J, gramian_weights(get_method(name), J, q), q)


def test_multiplying_afterwards_would_break_what_mgda_promises():
    """Why MGDA reads task weights: with a factor on its solution a task's loss rises."""
    J, q = np.array([[1.0, 0.2], [-0.9, 0.3], [0.1, -1.0]]), np.array([0.2, 0.4, 2.4])
    plain = gramian_weights(get_method("mgda"), J, np.ones(3))
    assert (J @ ((plain * q) @ J)).min() < -0.1
    nobody_is_opposed(J, gramian_weights(get_method("mgda"), J, q), q)


def test_a_larger_weight_never_gains_less_under_mgda():
    for seed in range(5):
        J = jacobian("agreeing", 4, 0.0, seed)
        shares = []
        for weight in (0.25, 1.0, 4.0):
            q = np.array([weight, 1.0, 1.0, 1.0])
            d = gramian_weights(get_method("mgda"), J, q) @ J
            shares.append((J[0] @ d) / (J @ d).sum())
        assert shares == sorted(shares)


def test_config_takes_the_direction_weights_of_the_paper():
    for size in (2, 3, 6):
        J, q = jacobian("plain", size, 1.0, 0), drawn_weights(size)
        units = J / np.linalg.norm(J, axis=1, keepdims=True)
        along = np.linalg.pinv(units) @ q
        along /= np.linalg.norm(along)
        found = gramian_weights(get_method("config"), J, q) @ J
        np.testing.assert_allclose(found, (J @ along).sum() * along, rtol=1e-8, atol=1e-12)


def test_config_never_opposes_the_sum_of_the_losses_where_rows_are_dependent():
    for size in (3, 5, 9):
        for seed in range(5):
            J, q = jacobian("few_columns", size, 1.0, seed), drawn_weights(size, seed)
            d = gramian_weights(get_method("config"), J, q) @ J
            assert J.sum(0) @ d >= -1e-9 * np.linalg.norm(d) * np.linalg.norm(J.sum(0))


def test_pcd_guarantees_progress_in_proportion_to_task_weights():
    for seed in range(5):
        J, q = jacobian("plain", 4, 0.5, seed), drawn_weights(4, seed)
        w = gramian_weights(get_method("pcd", primary="0", tau=0.1, beta=0.0), J, q)
        norms = np.linalg.norm(J, axis=1)
        d = w @ J
        # Back on the scale of the unit problem, in which the primary gradient has coefficient one.
        d_unit = d / (w[0] * norms[0])
        shown = (J @ d_unit / norms)[1:]
        assert (shown >= 0.1 * q[1:] / q[0] - 1e-9).all()
        assert np.linalg.norm(d) == pytest.approx(norms[0])


def test_modo_and_moco_end_at_mgda_with_the_same_task_weights():
    J, p = jacobian("plain", 3, 0.0, 1) / 4, torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    q = (p / p.mean()).numpy()
    tasks = ("a", "b", "c")
    goal = get_method("mgda").weights(torch.tensor(J @ J.T), preference=p).numpy() @ J
    modo = get_method("modo", rho=0.0)
    for step in range(3000):
        given = Evidence(tasks, np.ones(3), q / 3, J @ J.T, step)
        solution = modo.solve(given)
        modo.remember(given, solution)
    np.testing.assert_allclose(solution.weights @ J, goal, atol=1e-3 * np.linalg.norm(goal))
    x = torch.zeros(12, dtype=torch.float64, requires_grad=True)
    liking = dict(zip(tasks, p.tolist(), strict=True))
    balancer = Balancer(
        get_method("moco", beta=1.0, rho=0.0), tasks=tasks, shared=[x], task_weights=liking, announce=None
    )
    for _ in range(3000):
        x.grad = None
        balancer.backward({name: torch.tensor(row) @ x for name, row in zip(tasks, J, strict=True)})
    np.testing.assert_allclose(x.grad, goal, atol=1e-3 * np.linalg.norm(goal))


def test_stages_of_a_chain_do_not_count_task_weights_a_second_time():
    losses, p = torch.tensor([0.5, 2.0, 1.0]).double(), torch.tensor([1.0, 2.0, 0.5]).double()
    J = torch.tensor(jacobian("plain", 3, 0.5, 0))
    G = J @ J.T
    slopes = get_method("gls").weights(losses)
    expected = slopes * get_method("pcgrad").weights(G * slopes * slopes[:, None], preference=p)
    found = get_method("chain", stages="gls", inner="pcgrad").weights(G, losses=losses, preference=p)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("inner", ["mgda", "edm", "imtl_g", "upgrad"])
def test_groups_keep_the_promise_in_each_group(inner):
    method = get_method("per_group", inner=inner)
    J, p = torch.tensor(jacobian("plain", 3, 0.5, 3)), torch.tensor([1.0, 2.0, 0.5]).double()
    slices = [slice(0, 6), slice(6, 12)]
    d = method.direction(J, slices=slices, preference=p)
    for part in slices:
        torch.testing.assert_close(d[part], get_method(inner).direction(J[:, part], preference=p), rtol=1e-7, atol=1e-9)


def test_every_method_that_promises_something_of_its_step_reads_task_weights():
    """Nothing multiplies the weights of a method whose docstring promises descent or angles for all tasks."""
    factors = {name for name in METHODS if METHODS[name].card.preference == MULTIPLIES}
    assert factors.isdisjoint(PROMISES)
    assert factors.isdisjoint({"pcd", "modo", "moco", "sdmgrad", "cagrad"})
    assert not any(issubclass(METHODS[name], JacobianMethod) for name in factors)
