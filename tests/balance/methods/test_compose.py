"""Chains, smoothed weights and random subsets."""

import numpy as np
import pytest
import torch
import torchjd.aggregation as jd

from polytask.balance import Balancer, Evidence, get_method
from polytask.balance.compose import CRMOGM, Chain, Log, Normalise, Subset
from polytask.errors import ConfigError, MethodError
from polytask.study.contenders import read_contender
from tests.solvers.draws import jacobian

TASKS = ("a", "b", "c")


def evidence(step, tasks=TASKS, losses=None):
    size = len(tasks)
    J = jacobian("plain", size, 1.0, step)
    values = np.random.default_rng(step).uniform(0.2, 3.0, size) if losses is None else np.asarray(losses)
    return Evidence(tuple(tasks), values, np.full(size, 1 / size), J @ J.T, step), J


# ----------------------------------------------------------------------------------------------------- chains


@pytest.mark.parametrize("name", ["mgda", "cagrad", "nash_mtl", "upgrad", "aligned_mtl", "pcgrad", "imtl_g"])
@pytest.mark.parametrize("stages", ["log", "l2", "loss+", "l2-log", "imtl_l"])
def test_a_chain_is_the_inner_method_on_the_rescaled_rows(name, stages):
    given, J = evidence(2)
    norms, losses = np.linalg.norm(J, axis=1), given.losses
    scale = {"log": 1 / losses, "l2": 1 / norms, "loss+": 1 / (losses * norms), "l2-log": 1 / (losses * norms)}
    rows = J * scale.get(stages, np.ones(3))[:, None]
    method, inner = Chain(stages, name), get_method(name)
    step = method.solve(given).weights @ J
    weights = inner.weights(torch.tensor(rows @ rows.T), tasks=TASKS, step=2)
    if not inner.uses_preference:
        alone = method.direction(torch.tensor(J), losses=torch.tensor(losses))
        np.testing.assert_allclose(alone, step, rtol=1e-9)
    np.testing.assert_allclose(step, weights.numpy() @ rows, rtol=1e-7, atol=1e-10)


def test_a_log_chain_is_the_method_on_the_log_losses_gradients():
    """By autograd, through the engine: gradients of log L instead of factors."""
    x = torch.tensor([0.3, -1.2, 0.7], requires_grad=True)
    targets = {"a": torch.tensor([1.0, 0, 0]), "b": torch.tensor([0, 2.0, 0]), "c": torch.tensor([0, 0, -3.0])}

    def losses():
        y = x * 1.0
        return {name: ((y - target) ** 2).sum() for name, target in targets.items()}

    def gradient(method, transform):
        x.grad = None
        balancer = Balancer(method, shared=[x], announce=None)
        balancer.backward({name: transform(loss) for name, loss in losses().items()})
        return x.grad.clone()

    chained = gradient(Chain(Log(), "upgrad"), lambda loss: loss)
    torch.testing.assert_close(chained, gradient("upgrad", torch.log))


def test_imtl_is_a_chain():
    chain, hybrid = Chain(get_method("imtl_l", lr=0.1), get_method("imtl_g")), get_method("imtl", lr=0.1)
    for step in range(10):
        given, _ = evidence(step)
        pair = [method.solve(given) for method in (chain, hybrid)]
        np.testing.assert_allclose(pair[0].weights, pair[1].weights, rtol=1e-9)
        for method, solution in zip((chain, hybrid), pair, strict=True):
            method.remember(given, solution)
    assert chain.state_dict()["0.log_scale"] == hybrid.state_dict()["log_scale"]


def test_a_normalised_mgda_is_a_chain():
    given, _ = evidence(0)
    for by in ("l2", "loss", "loss+"):
        one = Chain([Normalise(by)], get_method("mgda")).solve(given)
        np.testing.assert_allclose(one.weights, get_method("mgda", normalise=by).solve(given).weights, rtol=1e-12)


@pytest.mark.parametrize(
    ("stages", "inner", "message"),
    [
        ("logg", "mgda", "stages"),
        ("log-", "mgda", "stages"),
        ("mgda", "mgda", "stages"),
        ("famo", "mgda", "stages"),
        ([], "mgda", "stages"),
        ("log", "uw", "inner"),
        ("log", "mgd", "inner"),
        ("log", "gcs", "'gcs' needs the option primary.*pass the method itself"),
    ],
)
def test_parts_that_do_not_fit_are_refused(stages, inner, message):
    with pytest.raises(ConfigError, match=message):
        Chain(stages, inner)


def test_a_loss_of_zero_in_a_log_chain_is_named():
    given, _ = evidence(0, losses=[1.0, 0.0, 2.0])
    with pytest.raises(MethodError, match=r"\{'b': 0\.0\}"):
        Chain("log", "mgda").solve(given)


def test_composed_methods_are_read_from_a_text():
    method = read_contender("chain:stages=l2-log,inner=cagrad").method()
    assert repr(method) == "Chain(stages='l2-log', inner='cagrad')"
    assert read_contender("cr_mogm:inner=pcgrad,alpha=0.5").method().alpha == 0.5
    with pytest.raises(ConfigError, match="inner"):
        read_contender("chain:stages=log,inner=uw")


def test_the_state_of_parts_is_saved_and_loaded_with_the_whole():
    one, two = (Chain(["imtl_l", "log"], CRMOGM("gradvac")) for _ in range(2))
    for step in range(4):
        given, _ = evidence(step)
        one.remember(given, one.solve(given))
    assert set(one.state_dict()) == {
        "0.log_scale", "0.log_scale_mean", "0.log_scale_square", "0.log_scale_count", "1.weight", "1.inner.cosine"
    }  # fmt: skip
    two.load_state_dict(one.state_dict())
    given, _ = evidence(9)
    np.testing.assert_array_equal(one.solve(given).weights, two.solve(given).weights)
    two.reset()
    assert not np.allclose(one.solve(given).weights, two.solve(given).weights)


# --------------------------------------------------------------------------------------------------- CR-MOGM


def test_cr_mogm_agrees_with_torchjd():
    ours, theirs = CRMOGM("upgrad", alpha=0.8), jd.CRMOGMWeighting(jd.UPGradWeighting(), alpha=0.8)
    for step in range(8):
        J = jacobian("plain", 3, 0.0, step)
        given = Evidence(TASKS, np.ones(3), np.full(3, 1 / 3), J @ J.T, step)
        solution = ours.solve(given)
        np.testing.assert_allclose(solution.weights, theirs(torch.tensor(J @ J.T)), rtol=5e-3)
        ours.remember(given, solution)


def test_smoothing_follows_its_recursion_by_task():
    method, inner = CRMOGM(get_method("mgda"), alpha=0.75), get_method("mgda")
    past = {}
    for step in range(9):
        tasks = TASKS if step % 3 else TASKS[:2]
        given, _ = evidence(step, tasks)
        now = dict(zip(tasks, inner.solve(given).weights, strict=True))
        past |= {task: 0.75 * past[task] + 0.25 * value if task in past else value for task, value in now.items()}
        solution = method.solve(given)
        np.testing.assert_allclose(solution.weights, [past[task] for task in tasks], rtol=1e-12)
        method.remember(given, solution)


def test_without_memory_smoothing_does_nothing():
    method = CRMOGM("cagrad", alpha=0.0)
    for step in range(3):
        given, _ = evidence(step)
        solution = method.solve(given)
        np.testing.assert_allclose(solution.weights, get_method("cagrad").solve(given).weights)
        method.remember(given, solution)


def test_a_smoothed_learner_learns_as_by_itself():
    """What the method inside remembers does not depend on the smoothing around it."""
    smooth, plain = CRMOGM(get_method("gradnorm"), alpha=0.5), get_method("gradnorm")
    for step in range(6):
        given, _ = evidence(step)
        for method in (smooth, plain):
            method.remember(given, method.solve(given))
    assert smooth.state_dict()["inner.weight"] == plain.state_dict()["weight"]


# ---------------------------------------------------------------------------------------------------- subsets


def test_a_subset_is_the_inner_method_on_the_drawn_tasks():
    method, inner = Subset("cagrad", count=2), get_method("cagrad")
    counts = np.zeros(3)
    J = torch.tensor(jacobian("plain", 3, 0.5, 0))
    for step in range(300):
        w = method.weights(J @ J.T, step=step)
        drawn = torch.nonzero(w).flatten().tolist()
        rows = J[drawn]
        assert len(drawn) == 2
        np.testing.assert_allclose(w[drawn], inner.weights(rows @ rows.T), rtol=1e-12)
        counts[drawn] += 1
    np.testing.assert_allclose(counts / 300, 2 / 3, atol=0.1)


def test_a_subset_as_large_as_the_set_is_the_inner_method():
    given, _ = evidence(1)
    np.testing.assert_allclose(
        Subset("upgrad", count=5).solve(given).weights, get_method("upgrad").solve(given).weights
    )
