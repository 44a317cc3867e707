"""Methods that descend a scalar function φ of the losses: their weights are the gradient of φ."""

import numpy as np
import pytest
import torch
import torchjd.scalarization as peer

from polytask.balance import Balancer, Evidence, get_method
from polytask.errors import MethodError

TASKS = ("a", "b", "c")
LIKING = np.array([0.5, 0.2, 0.3])
BASE = np.array([1.5, 0.2, 30.0])


def learned(name, states, **options):
    """A method that has seen one epoch of constant losses, and a given learned quantity."""
    method = get_method(name, **options)
    for key, values in states.items():
        method.state.write(key, TASKS, np.asarray(values, float))
    return method


def share(p):
    """K times the preference."""
    return len(p) * p


def cosmos(L, p):
    ray = torch.tensor(get_method("cosmos").ray(TASKS, step=9, seed=3, preference=p.tolist()))
    return ray @ L - 2.0 * (ray @ L) / ray.norm() / L.norm()


def pbi(theta, z=0.0):
    def phi(L, p):
        v = p / p.norm()
        along = v @ (L - z)
        return along + theta * (L - z - along * v).norm()

    return phi


def stch_log(mu):
    def phi(L, p):
        return 3 * mu * torch.logsumexp(share(p) * torch.log(L / torch.tensor(BASE)) / mu, 0)

    return phi


measured = {"nadir_total": 2 * BASE, "nadir_count": [2, 2, 2]}
c = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)
# (name, method, φ(losses, preference), whether φ already holds the preference)
SCALARS = [
    ("equal", get_method("equal"), lambda L, p: L.sum(), False),
    ("static", get_method("static", weight={"a": 0.3, "c": 4.0}), lambda L, p: 0.3 * L[0] + L[1] + 4 * L[2], False),
    ("gls", get_method("gls"), lambda L, p: torch.prod(L**p), True),
    ("si_log", get_method("si_log"), lambda L, p: torch.log(L).sum(), False),
    ("tchebycheff", get_method("tchebycheff"), lambda L, p: (share(p) * L).amax(), True),
    (
        "tchebycheff at a point",
        get_method("tchebycheff", reference={"a": -9.0}),
        lambda L, p: (share(p) * (L - torch.tensor([-9.0, 0, 0]))).amax(),
        True,
    ),
    ("stch", get_method("stch", on="loss", mu=0.3), lambda L, p: 0.3 * torch.logsumexp(p * L / 0.3, 0), True),
    (
        "stch at a point",
        get_method("stch", on="loss", reference=0.2),
        lambda L, p: torch.logsumexp(p * (L - 0.2), 0),
        True,
    ),
    ("stch in its warm-up", get_method("stch", warmup=9), lambda L, p: (share(p) * torch.log(L)).sum(), True),
    ("stch after it", learned("stch", measured, warmup=1), stch_log(1.0), True),
    ("stch after it, sharp", learned("stch", measured, warmup=1, mu=0.1), stch_log(0.1), True),
    ("cosmos", get_method("cosmos"), cosmos, True),
    ("pbi", get_method("pbi"), pbi(5.0), True),
    ("pbi at a point", get_method("pbi", theta=0.7, reference=-1.0), pbi(0.7, -1.0), True),
    (
        "revised_uw",
        learned("revised_uw", {"deviation": c}),
        lambda L, p: (L / (2 * c**2) + torch.log(1 + c**2)).sum(),
        False,
    ),
    (
        "uw",
        learned("uw", {"log_variance": c}),
        lambda L, p: (0.5 * torch.exp(-c) * L + 0.5 * c).sum(),
        False,
    ),
    (
        "imtl_l",
        learned("imtl_l", {"log_scale": c}),
        lambda L, p: (torch.exp(c) * L - c).sum(),
        False,
    ),
    (
        "igb_v1",
        learned("igb_v1", {"base_total": BASE, "base_count": [1, 1, 1]}, base_epoch=1),
        lambda L, p: (3 * torch.softmax(L.detach() / torch.tensor(BASE), 0) * torch.log(L)).sum(),
        False,
    ),
    ("uw_so", get_method("uw_so"), lambda L, p: (torch.softmax(1 / L.detach(), 0) * L).sum(), False),
    ("uw_o", get_method("uw_so", form="o"), lambda L, p: (L / L.detach()).sum(), False),
]


@pytest.mark.parametrize("liking", [np.full(3, 1 / 3), LIKING], ids=["equal", "preferred"])
@pytest.mark.parametrize(("method", "phi", "knows"), [case[1:] for case in SCALARS], ids=[case[0] for case in SCALARS])
def test_weights_are_the_gradient_of_the_scalar_objective(method, phi, knows, liking):
    assert method.uses_preference == knows
    rng = np.random.default_rng(0)
    for spread in (0.0, 0.5, 1.5):
        values = np.exp(rng.normal(0, spread, 3)) * (BASE if spread else 1.0)
        given = Evidence(TASKS, values, liking, None, step=9, epoch=3, seed=3)
        L = torch.tensor(values, requires_grad=True)
        expected = torch.autograd.grad(phi(L, torch.tensor(liking)), L)[0].numpy()
        if not spread and "pbi" in repr(method).lower() and np.ptp(liking) == 0:
            # On the ray: d₂ has a kink there, and the weights are the subgradient of least length.
            expected = liking / np.linalg.norm(liking)
        np.testing.assert_allclose(method.solve(given).weights, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("method", "phi"), [case[1:3] for case in SCALARS if case[3]], ids=[case[0] for case in SCALARS if case[3]]
)
def test_the_engine_leaves_the_objectives_gradient_in_the_parameters(method, phi):
    """One backward pass through the weighted sum equals backward through φ(L(θ)), preference included."""
    theta = torch.tensor([0.3, -0.7, 1.1], dtype=torch.float64, requires_grad=True)

    def losses():
        return {"a": (theta**2).sum(), "b": (theta - 1).square().mean(), "c": torch.exp(theta).sum()}

    balancer = Balancer(
        method, shared=[theta], task_weights=dict(zip(TASKS, LIKING, strict=True)), announce=None, seed=3
    )
    balancer.step, balancer.epoch = 9, 3
    balancer.backward(losses())
    expected = torch.autograd.grad(phi(torch.stack(list(losses().values())), torch.tensor(LIKING)), theta)[0]
    torch.testing.assert_close(theta.grad, expected)


@pytest.mark.parametrize("name", ["gls", "stch", "cosmos", "pbi"])
def test_another_librarys_objective_has_the_same_gradient(name):
    v = torch.tensor(LIKING)
    ray = torch.tensor(get_method("cosmos").ray(TASKS, step=9, seed=3, preference=LIKING.tolist()))
    method, phi, liking = {
        "gls": (get_method("gls"), peer.GeometricMean(), np.full(3, 1 / 3)),
        "stch": (
            get_method("stch", on="loss", mu=0.3, reference=0.1),
            peer.STCH(0.3, v, torch.full((3,), 0.1, dtype=torch.float64)),
            LIKING,
        ),
        "cosmos": (get_method("cosmos"), peer.COSMOS(2.0, ray), LIKING),
        "pbi": (get_method("pbi", reference=0.1), peer.PBI(5.0, v, torch.full((3,), 0.1, dtype=torch.float64)), LIKING),
    }[name]
    for values in np.exp(np.random.default_rng(0).normal(size=(5, 3))):
        L = torch.tensor(values, requires_grad=True)
        expected = torch.autograd.grad(phi(L), L)[0]
        w = method.solve(Evidence(TASKS, values, liking, None, step=9, seed=3)).weights
        np.testing.assert_allclose(w, expected, rtol=1e-7)


def test_published_weights_of_the_geometric_mean():
    w = get_method("gls").weights(torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64))
    np.testing.assert_allclose(w, [2 / 3, 1 / 3, 1 / 6], rtol=1e-14)


def test_the_geometric_mean_of_many_small_losses_does_not_underflow():
    w = get_method("gls").weights(torch.full((400,), 1e-2, dtype=torch.float64))
    np.testing.assert_allclose(w, 1 / 400, rtol=1e-12)


def test_smooth_tchebycheff_lies_between_the_worst_task_and_equal_shares():
    L = torch.tensor([1.0, 1.3, 0.4], dtype=torch.float64)
    worst = get_method("tchebycheff").weights(L).numpy()
    np.testing.assert_allclose(3 * get_method("stch", on="loss", mu=1e-3).weights(L), worst, atol=1e-12)
    np.testing.assert_allclose(get_method("stch", on="loss", mu=1e6).weights(L), np.full(3, 1 / 9), rtol=1e-6)
    assert torch.isfinite(get_method("stch", on="loss", mu=1e-3).weights(1e6 * L)).all()


def test_stch_goes_through_its_recipe():
    """Warm-up on the sum of logarithms, one epoch of measuring, then the smooth maximum of relative logarithms."""
    method, seen = get_method("stch", warmup=2, mu=0.5), []
    rng = np.random.default_rng(1)
    for step in range(16):
        epoch, values = step // 4, np.exp(rng.normal(size=3))
        given = Evidence(TASKS, values, np.full(3, 1 / 3), None, step, epoch)
        solution = method.solve(given)
        if epoch <= 2:
            np.testing.assert_allclose(solution.weights, 1 / values, rtol=1e-12)
        else:
            L, nadir = torch.tensor(values, requires_grad=True), torch.tensor(np.mean(seen, axis=0))
            phi = 3 * 0.5 * torch.logsumexp(torch.log(L / nadir) / 0.5, 0)
            np.testing.assert_allclose(solution.weights, torch.autograd.grad(phi, L)[0], rtol=1e-9)
        if epoch == 2:
            seen.append(values)
        method.remember(given, solution)


@pytest.mark.parametrize("name", ["stch", "igb_v1"])
def test_a_task_that_missed_the_measuring_epoch_starts_from_its_first_loss(name):
    method = get_method(name, **({"warmup": 0} if name == "stch" else {"base_epoch": 0}))
    for epoch, tasks, values in [(0, ("a", "b"), [2.0, 4.0]), (1, TASKS, [2.0, 4.0, 7.0]), (2, TASKS, [2.0, 4.0, 7.0])]:
        given = Evidence(tasks, np.array(values), np.full(len(tasks), 1 / len(tasks)), None, epoch, epoch)
        solution = method.solve(given)
        method.remember(given, solution)
        # Every loss stands where it was measured, so nobody is behind: the sum of logarithms.
        np.testing.assert_allclose(solution.weights, 1 / given.losses, rtol=1e-12)
    method.remember(Evidence(TASKS, np.array([9.0, 9.0, 9.0]), np.full(3, 1 / 3), None, 3, 3), solution)
    prefix = "nadir" if name == "stch" else "base"
    np.testing.assert_allclose(method.state.read(f"{prefix}_total", TASKS), [2, 4, 7])


def test_cosmos_draws_dirichlet_rays_whose_mean_is_the_preference():
    method = get_method("cosmos", alpha=1.2, penalty=0.0)
    rays = np.array([method.ray(TASKS, step=step, seed=0, preference=LIKING.tolist()) for step in range(4000)])
    np.testing.assert_allclose(rays.sum(1), 1)
    np.testing.assert_allclose(rays.mean(0), LIKING, atol=0.015)
    # Var = m(1−m)/(Σα + 1) with Σα = 3·1.2.
    np.testing.assert_allclose(rays.var(0), LIKING * (1 - LIKING) / 4.6, rtol=0.08)


def test_cosmos_on_its_ray_is_the_weighted_sum():
    method = get_method("cosmos", penalty=8.0)
    ray = method.ray(TASKS, step=0, seed=0)
    for losses in (2.5 * ray, np.zeros(3)):
        w = method.weights(torch.tensor(losses), tasks=TASKS)
        np.testing.assert_allclose(w, ray, atol=1e-12)


def test_pbi_is_calm_on_its_ray_at_any_scale():
    for scale in (1e-12, 1.0, 1e12):
        on = scale * torch.tensor(LIKING)
        w = get_method("pbi").weights(on, preference=torch.tensor(LIKING))
        np.testing.assert_allclose(w, LIKING / np.linalg.norm(LIKING), rtol=1e-12)


def test_equally_bad_tasks_share_the_maximum():
    w = get_method("tchebycheff").weights(torch.tensor([2.0, 1.0, 2.0]))
    np.testing.assert_allclose(w, [0.5, 0.0, 0.5])


@pytest.mark.parametrize("name", ["gls", "si_log", "uw_so", "igb_v1", "stch", "go4align", "adaloss", "ema_scaling"])
@pytest.mark.parametrize("bad", [0.0, -0.5])
def test_losses_of_zero_or_less_are_refused_by_name(name, bad):
    theta = torch.ones(2, requires_grad=True)
    balancer = Balancer(name, shared=[theta], announce=None)
    with pytest.raises(MethodError, match=rf"above zero, found depth = {bad:g} at step 0"):
        balancer.backward({"age": theta.sum(), "depth": bad * theta.mean()})
    assert theta.grad is None
    assert balancer.step == 0
    assert not any(balancer.method.state_dict().values())


@pytest.mark.parametrize(
    "name", ["equal", "static", "tchebycheff", "pbi", "cosmos", "slaw", "uw", "revised_uw", "dwa", "dtp", "ntk"]
)
def test_other_methods_take_losses_of_any_sign(name):
    method = get_method(name)
    for step in range(3):
        given = Evidence(TASKS, np.array([-1.0, 0.0, 2.0]), np.full(3, 1 / 3), None, step)
        solution = method.solve(given)
        assert np.isfinite(solution.weights).all()
        method.remember(given, solution)


def test_stch_refuses_negative_losses_only_where_it_takes_logarithms():
    assert torch.isfinite(get_method("stch", on="loss").weights(torch.tensor([-1.0, 2.0]))).all()
