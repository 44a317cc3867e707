"""Which leaves have a say: parameters do, points and inputs that require a gradient do not, and nothing is kept."""

import gc
import weakref

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from polytask.balance import Balancer
from polytask.errors import MethodError, NonFiniteError

from .models import Trunk

GRADIENT_METHODS = [("upgrad", {}), ("nash_mtl", {}), ("upgrad", {"low_memory": True}), ("graddrop", {})]


class Physics(nn.Module):
    """Points in, residual and data loss out; the residual holds the derivative of the network by the points."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1)).double()

    def losses(self, x, tasks=("pde", "data")):
        u = self.net(x)
        slope = torch.autograd.grad(u.sum(), x, create_graph=True)[0]
        every = {"pde": (slope + u - x.cos()).square().mean(), "data": (u - x.sin()).square().mean()}
        return {task: every[task] for task in tasks}


def points(step=0):
    return torch.rand(32, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(step)).requires_grad_()


@pytest.mark.parametrize(("method", "options"), GRADIENT_METHODS)
def test_fresh_points_neither_count_nor_stay(method, options):
    """The record of every step is that of a balancer that was told what is shared."""
    model = Physics()
    inferred = Balancer(method, announce=None, **options)
    told = Balancer(method, shared=model.net, announce=None, **options)
    gone = []
    for step in range(5):
        x = points(step)
        records = [balancer.backward(model.losses(x)) for balancer in (inferred, told)]
        assert records[0].weights == records[1].weights
        gone.append(weakref.ref(x))
        del x, records
        assert len(inferred.partition.shared) == 4
    gc.collect()
    assert [reference() for reference in gone] == [None] * 5
    assert sum(len(found) for found in inferred.partition.reach.values()) == 8
    assert inferred.state_dict()["partition"] == told.state_dict()["partition"] | {
        "leaves": [[None, shape] for _, shape in told.state_dict()["partition"]["leaves"]]
    }


@pytest.mark.parametrize("heads", ["plain", "weighted", "none"])
@pytest.mark.parametrize("method", ["upgrad", "static", "moco"])
def test_points_get_each_tasks_gradient_as_heads_do(method, heads):
    model, x = Physics(), points()
    losses = model.losses(x)
    each = {task: torch.autograd.grad(loss, x, retain_graph=True)[0] for task, loss in losses.items()}
    record = Balancer(method, heads=heads, task_weights={"pde": 0.5}, announce=None).backward(losses)
    if heads == "none":
        assert x.grad is None
    else:
        factors = record.weights if heads == "weighted" else dict.fromkeys(each, 1.0)
        torch.testing.assert_close(x.grad, sum(factors[task] * gradient for task, gradient in each.items()))


def test_points_of_every_micro_batch_get_their_gradient_at_the_windows_end():
    model, balancer = Physics(), Balancer("upgrad", announce=None)
    balancer.prepare(model.losses(points()))
    parts = [points(step) for step in range(3)]
    expected = [torch.autograd.grad(sum(model.losses(x).values()), x)[0] for x in parts]
    for x in parts[:2]:
        balancer.accumulate(model.losses(x))
    assert all(x.grad is None for x in parts)
    balancer.backward(model.losses(parts[2]))
    for x, gradient in zip(parts, expected, strict=True):
        torch.testing.assert_close(x.grad, gradient)


def test_twins_points_are_seen_too():
    model, balancer = Physics(), Balancer("modo", announce=None)
    x, y = points(0), points(1)
    expected = [torch.autograd.grad(sum(model.losses(p).values()), p)[0] / 2 for p in (x, y)]
    balancer.backward(model.losses(x), twin=model.losses(y))
    torch.testing.assert_close(x.grad, expected[0])
    torch.testing.assert_close(y.grad, expected[1])


def test_plain_tensors_count_where_there_is_nothing_else_or_where_they_are_declared():
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    losses = {"a": w.square().sum(), "b": (w - 3).square().sum()}
    balancer = Balancer("upgrad", announce=None)
    balancer.backward(losses)
    assert [tensor is w for tensor in balancer.partition.shared] == [True]
    layer = nn.Linear(2, 1)

    def mixed():
        return {"a": layer(w).square().sum(), "b": (layer(w) - 3).square().sum()}

    balancer = Balancer("upgrad", announce=None)
    balancer.backward(mixed())
    assert {id(tensor) for tensor in balancer.partition.shared} == {id(tensor) for tensor in layer.parameters()}
    balancer = Balancer("upgrad", shared=[w, *layer.parameters()], announce=None)
    balancer.backward(mixed())
    assert len(balancer.partition.shared) == 3


def test_plain_tensors_lose_their_say_when_the_first_parameter_comes():
    w, layer = torch.ones(2, requires_grad=True), nn.Linear(2, 1)
    balancer = Balancer("upgrad", announce=None)
    balancer.backward({"a": w.sum(), "b": w.square().sum()})
    balancer.backward({"a": layer(w).sum(), "b": layer(w).square().sum()})
    assert {id(tensor) for tensor in balancer.partition.shared} == {id(tensor) for tensor in layer.parameters()}


def test_what_stands_aside_is_announced():
    said = []
    Balancer("upgrad", announce=said.append).backward(Physics().losses(points()))
    assert "shared 25 (4 tensors)" in said[0]
    assert "aside 32 (1 tensor): no nn.Parameter" in said[0]


def test_a_balancer_keeps_no_model_alive():
    balancer = Balancer("upgrad", announce=None)
    model = Trunk()
    balancer.know(model)
    balancer.backward(model.losses(torch.ones(3, 4, dtype=torch.float64))[0])
    reference = weakref.ref(model.trunk[0].weight)
    del model
    gc.collect()
    assert reference() is None
    assert balancer.partition.shared == []


# ------------------------------------------------------------------------------------------ frozen parameters

STAGES = [
    ("equal", {}),
    ("equal", {"heads": "plain"}),
    ("uw", {"heads": "none"}),
    ("upgrad", {}),
    ("upgrad", {"low_memory": True}),
    ("upgrad", {"grads": "features"}),
    ("graddrop", {}),
    ("adatask", {}),
    ("orthogonal_gradients", {}),
]


@pytest.mark.parametrize(("method", "options"), STAGES)
@pytest.mark.parametrize("part", ["trunk", "trunk.0", "heads", "heads.t1"])
def test_parameters_may_be_frozen_and_thawed_between_steps(method, options, part):
    model = Trunk()
    balancer = Balancer(method, announce=None, **options)

    def step():
        model.zero_grad()
        losses, z = model.losses(torch.ones(3, 4, dtype=torch.float64))
        return balancer.backward(losses, features=z if balancer.needs_features else None)

    step()
    before = {name: p.grad for name, p in model.named_parameters()}
    model.get_submodule(part).requires_grad_(False)
    step()
    for name, p in model.named_parameters():
        assert not (name.startswith(part) and p.grad is not None), name
    if part != "trunk" and options.get("heads") != "none":
        assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    model.requires_grad_(True)
    step()
    for name, p in model.named_parameters():
        assert (p.grad is None) == (before[name] is None), name


@pytest.mark.parametrize("method", ["upgrad", "orthogonal_gradients"])
def test_parameters_judged_by_may_be_frozen_but_not_all(method):
    model = Trunk()
    balancer = Balancer(method, grads=list(model.trunk[2].parameters()), announce=None)
    x = torch.ones(3, 4, dtype=torch.float64)
    balancer.backward(model.losses(x)[0])
    model.trunk[2].weight.requires_grad_(False)
    balancer.backward(model.losses(x)[0])
    model.trunk[2].bias.requires_grad_(False)
    with pytest.raises(MethodError, match="grads= are frozen"):
        balancer.backward(model.losses(x)[0])


# ------------------------------------------------------------------------------ graphs that hide parameters


class Checkpointed(Trunk):
    """The trunk is checkpointed."""

    def __init__(self, *, reentrant):
        super().__init__()
        self.reentrant = reentrant

    def losses(self, x, tasks=None):
        z = checkpoint(self.trunk, x.requires_grad_(), use_reentrant=self.reentrant)
        return {name: self.heads[name](z).square().mean() for name in tasks or self.names}, z


@pytest.mark.parametrize("shared", [False, True])
def test_reentrant_checkpoints_are_refused_in_words_where_gradients_of_tasks_are_needed(shared):
    model = Checkpointed(reentrant=True)
    losses, _ = model.losses(torch.ones(3, 4, dtype=torch.float64))
    balancer = Balancer("upgrad", shared=model.trunk if shared else None, announce=None)
    with pytest.raises(MethodError, match=r"'t0' goes through .*use_reentrant=False"):
        balancer.backward(losses)
    balancer = Balancer("upgrad", announce=None)
    model.reentrant = False
    balancer.backward(model.losses(torch.ones(3, 4, dtype=torch.float64))[0])
    model.reentrant = True  # later, when everything has been seen
    with pytest.raises(MethodError, match=r"'t1' goes through .*use_reentrant=False"):
        balancer.backward({"t1": model.losses(torch.ones(3, 4, dtype=torch.float64))[0]["t1"]})


def test_reentrant_checkpoints_train_with_losses_alone_and_nothing_false_is_said():
    model, said = Checkpointed(reentrant=True), []
    x = torch.ones(3, 4, dtype=torch.float64)
    sum(model.losses(x)[0].values()).backward()
    expected = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    balancer = Balancer("equal", shared=model.trunk, announce=said.append)
    balancer.backward(model.losses(x)[0])
    assert all(torch.equal(p.grad, gradient) for p, gradient in zip(model.parameters(), expected, strict=True))
    assert "will not train" not in said[0]
    assert "use_reentrant=True" in said[0]
    assert balancer.partition.unreached == {}
    assert balancer.partition.out_of_reach(model) == []


@pytest.mark.parametrize("nonfinite", ["raise", "skip"])
def test_what_a_checkpoint_hides_is_watched_where_names_are_known(nonfinite):
    model = Checkpointed(reentrant=True)
    balancer = Balancer("equal", nonfinite=nonfinite, announce=None)
    balancer.know(model)
    x = torch.zeros(3, 4, dtype=torch.float64)
    balancer.backward(model.losses(x)[0])
    model.zero_grad()
    model.trunk = nn.Sequential(model.trunk[0], Root())
    with torch.no_grad():
        model.trunk[0].bias.zero_()
    losses, _ = model.losses(x)
    with pytest.raises(NonFiniteError):
        balancer.backward(losses)
    assert all(p.grad is None for p in model.parameters())


class Root(nn.Module):
    """A square root, whose slope at zero is infinite; its value there is finite."""

    def forward(self, x):
        return (x.abs() + 0.0).sqrt()[:, :5]


@pytest.mark.parametrize("method", ["equal", "uw"])
def test_a_model_compiled_as_a_whole_trains_with_losses_alone(method):
    """And what its graph seems to say is not saved, for a graph that says more would be taken for the same."""
    trunk, heads = nn.Linear(4, 3), nn.ModuleList([nn.Linear(3, 1), nn.Linear(3, 1)])

    @torch.compile(backend="aot_eager")
    def forward(x):
        z = torch.tanh(trunk(x))
        return [head(z).square().mean() for head in heads]

    x, said = torch.ones(2, 4), []
    losses = dict(zip("ab", forward(x), strict=True))
    balancer = Balancer(method, announce=said.append)
    balancer.backward(losses)
    assert trunk.weight.grad is not None
    assert "compiled as a whole" in said[0]
    resumed = Balancer(method, heads="plain", announce=None)
    resumed.load_state_dict(balancer.state_dict())
    z = torch.tanh(trunk(x))
    resumed.backward({task: head(z).square().mean() for task, head in zip("ab", heads, strict=True)})
    assert {id(tensor) for tensor in resumed.partition.shared} == {id(tensor) for tensor in trunk.parameters()}
    with pytest.raises(MethodError, match=r"shared=model\.encoder"):
        Balancer("upgrad", announce=None).backward(dict(zip("ab", forward(x), strict=True)))


@pytest.mark.parametrize("heads", ["plain", "weighted"])
@pytest.mark.parametrize("nonfinite", ["raise", "skip"])
@pytest.mark.parametrize("method", ["equal", "uw", "upgrad", "graddrop"])
def test_a_gradient_that_is_not_finite_at_a_leaf_aside_does_not_stop_the_step(method, nonfinite, heads):
    model, x = Physics(), points().detach()
    x[0] = 0.0
    x.requires_grad_()
    losses = {"root": (model.net(x) + 0 * x.abs().sqrt()).square().mean(), "fit": (model.net(x) - 1).square().mean()}
    balancer = Balancer(method, nonfinite=nonfinite, heads=heads, announce=None)
    with pytest.warns(UserWarning, match=r"leaf tensor that is no nn.Parameter.*left out"):
        record = balancer.backward(losses)
    assert record.tasks == ("root", "fit")
    assert x.grad is None
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters())
    clean = Balancer(method, heads=heads, announce=None)
    found = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    y = x.detach()
    clean.backward({"root": model.net(y).square().mean(), "fit": (model.net(y) - 1).square().mean()})
    for p, gradient in zip(model.parameters(), found, strict=True):
        torch.testing.assert_close(p.grad, gradient)


def test_a_task_is_not_skipped_for_a_leaf_aside_when_another_one_is():
    model, x = Physics(), points().detach()
    x[0] = 0.0
    x.requires_grad_()
    bad = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    losses = {
        "root": (model.net(x) + 0 * x.abs().sqrt()).square().mean(),
        "bad": (model.net(x) + bad.sqrt()).square().mean(),
        "fit": (model.net(x) - 1).square().mean(),
    }
    balancer = Balancer("upgrad", nonfinite="skip", announce=None)
    with pytest.warns(UserWarning, match="left out"):
        record = balancer.backward(losses)
    assert (record.tasks, record.skipped) == (("root", "fit"), ("bad",))


class Spectral(nn.Module):
    """Complex weights, as a Fourier layer has."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, dtype=torch.complex128))

    def losses(self):
        z = self.weight * torch.arange(1, 5)
        return {"a": z.abs().square().sum(), "b": (z - 1j).abs().square().sum()}


@pytest.mark.parametrize("options", [{}, {"low_memory": True}])
@pytest.mark.parametrize("method", ["upgrad", "graddrop", "moco"])
def test_complex_shared_parameters_are_refused_by_methods_on_gradients(method, options):
    if options and method != "upgrad":
        pytest.skip("wants rows")
    model = Spectral()
    balancer = Balancer(method, announce=None, **options)
    for step in (balancer.backward, balancer.accumulate) if not options else (balancer.backward,):
        with pytest.raises(MethodError, match=r"complex128.*view_as_complex"):
            step(model.losses())
    assert model.weight.grad is None
    Balancer("uw", announce=None).backward(model.losses())
    assert model.weight.grad is not None


def test_a_checkpoint_that_hides_parameters_nobody_named_is_told_once():
    model, balancer = Checkpointed(reentrant=True), Balancer("equal", announce=None)
    x = torch.ones(3, 4, dtype=torch.float64)
    with pytest.warns(UserWarning, match=r"would go unnoticed; show the model with balancer\.know\(model\)"):
        balancer.backward(model.losses(x)[0])
    balancer.backward(model.losses(x)[0])
