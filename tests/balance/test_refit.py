"""One balancer, several fits: after ``reset()`` the second one starts as the first did."""

import copy
import gc
import inspect
import io
import pickle

import pytest
import torch

from polytask.balance import METHODS, Balancer
from polytask.errors import MethodError

from .models import Trunk


def run(balancer, seed=0):
    """The weights of a few steps with absences, epochs and second looks, and the final state."""
    torch.manual_seed(seed)
    model, weights = Trunk(), []
    balancer.know(model)
    for step in range(4):
        x = torch.randn(8, 4, dtype=torch.float64)
        losses, z = model.losses(x, None if step % 2 else ["t0", "t2"])
        twin = model.losses(x + 1, list(losses))[0] if balancer.needs_twin else None
        if any(ask.hook == "observe_metrics" for ask in balancer.asks):
            balancer.observe_metrics({name: 0.2 + 0.1 * i + 0.01 * step for i, name in enumerate(model.names)})
        record = balancer.backward(losses, features=z if balancer.needs_features else None, twin=twin)
        weights.append(record.raw_weights.tolist())
        if balancer.needs_after_step:
            balancer.after_step(model.losses(x + 0.1, list(losses))[0])
        balancer.end_epoch()
    return weights, balancer.state_dict()


def plain(value):
    """Tensors as lists, for comparison."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def balancer_for(name):
    asked = {"primary", "residual"} & set(inspect.signature(METHODS[name]).parameters)
    method = METHODS[name](**dict.fromkeys(asked, "t0"))
    return Balancer(method, grads="features" if method.needs == "features" else "params", announce=None)


@pytest.mark.parametrize("name", list(METHODS))
def test_reset_makes_every_method_as_new(name):
    balancer = balancer_for(name)
    first = run(balancer)
    balancer.reset()
    assert plain(run(balancer)) == plain(first)


def test_reset_forgets_the_partition_and_the_runs_of_skips():
    balancer = Balancer("equal", nonfinite="skip", announce=None)
    losses = Trunk().losses(torch.ones(2, 4, dtype=torch.float64))[0]
    balancer.backward(losses | {"t0": losses["t0"] * torch.nan})
    balancer.end_epoch()
    balancer.reset()
    assert (balancer.step, balancer.epoch, balancer.last) == (0, 0, None)
    assert balancer.state_dict() == Balancer("equal", announce=None).state_dict()
    assert balancer.partition.shared == []


# ---------------------------------------------------------------------------------- copies and other models


def by_deepcopy(thing):
    return copy.deepcopy(thing)


def by_pickle(thing):
    return pickle.loads(pickle.dumps(thing))


def by_torch(thing):
    file = io.BytesIO()
    torch.save(thing, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


HOW = pytest.mark.parametrize("copied", [by_deepcopy, by_pickle, by_torch])
OPTIONS = [
    {},
    {"low_memory": True},
    {"grads": "features"},
    {"every": 3},
    {"row_dtype": torch.float32},
]


class Module(torch.nn.Module):
    """A model that carries its balancer, as a Lightning module does."""

    def __init__(self, method="upgrad", shared=False, judge=False, know=False, **options):
        super().__init__()
        torch.manual_seed(0)
        self.model = Trunk()
        if judge:
            options["grads"] = list(self.model.trunk[2].parameters())
        self.balancer = Balancer(method, shared=self.model.trunk if shared else None, announce=None, **options)
        if know:
            self.balancer.know(self.model)

    def step(self, number=0, tasks=None):
        x = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(number))
        self.zero_grad()
        losses, z = self.model.losses(x, tasks)
        record = self.balancer.backward(losses, features=z if self.balancer.needs_features else None)
        return record.weights, [None if p.grad is None else p.grad.clone() for p in self.model.parameters()]


def same(one, other):
    assert one[0] == other[0]
    for a, b in zip(one[1], other[1], strict=True):
        assert (a is None and b is None) or torch.equal(a, b)


@HOW
@pytest.mark.parametrize("told", [{}, {"shared": True}, {"know": True}, {"judge": True}])
@pytest.mark.parametrize("method", ["upgrad", "nash_mtl", "adatask", "uw", "moco", "orthogonal_gradients"])
def test_a_model_copied_with_its_balancer_goes_on_alike(copied, method, told):
    if method in ("adatask", "moco") and "judge" in told:
        pytest.skip("wants all coordinates")
    one = Module(method, **told)
    for turn in ([0], [1, 2], [0, 1]):
        one.step(len(turn), [f"t{i}" for i in turn])
    other = copied(one)
    for number, tasks in enumerate([["t2"], None, ["t1", "t0"]]):
        same(other.step(number, tasks), one.step(number, tasks))
    ours = {id(p) for p in other.model.parameters()}
    assert {id(tensor) for tensor in other.balancer.partition.shared} <= ours
    assert len(other.balancer.partition.shared) == 4


@HOW
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_evidence_survives_a_copy(copied, options):
    one = Module(**options)
    one.step()
    other = copied(one)
    for number in range(4):
        same(other.step(number), one.step(number))


@HOW
def test_an_open_window_survives_a_copy(copied):
    one = Module()
    one.step()
    one.balancer.accumulate(one.model.losses(torch.ones(2, 4, dtype=torch.float64))[0])
    other = copied(one)
    same(other.step(), one.step())


@HOW
@pytest.mark.parametrize("know", [False, True])
@pytest.mark.parametrize("same_model", [False, True])
def test_a_balancer_copied_alone_finds_the_parameters_again(copied, know, same_model):
    one = Module("adatask", know=know)
    one.step()
    other = Module("adatask")
    if same_model:
        other.model = one.model
    else:
        other.model.load_state_dict(one.model.state_dict())
    other.balancer = copied(one.balancer)
    for number in range(3):
        expected = one.step(number)
        same(other.step(number), expected)
    assert len(other.balancer.partition.shared) == 4


@HOW
@pytest.mark.parametrize("told", ["shared", "judge"])
def test_a_balancer_copied_alone_without_the_parameters_it_was_given_says_so(copied, told):
    one = Module(**{told: True})
    one.step()
    one.balancer = copied(one.balancer)
    with pytest.raises(MethodError, match="together"):
        one.step()


@pytest.mark.parametrize("method", ["upgrad", "nash_mtl"])
@pytest.mark.parametrize("first_is_gone", [False, True])
def test_another_model_is_refused_until_reset(method, first_is_gone):
    one, other = Module(method), Module(method)
    expected = other.step(3)
    one.step(1)
    first, one.model = one.model, Module().model
    if first_is_gone:
        del first
        gc.collect()
    before = one.balancer.state_dict()
    for _ in range(2):
        with pytest.raises(MethodError, match=r"another model\. balancer\.reset\(\)"):
            one.step(3)
    assert one.balancer.step == before["step"]
    assert all(p.grad is None for p in one.model.parameters())
    one.balancer.reset()
    same(one.step(3), expected)


def test_methods_on_losses_notice_that_the_model_has_gone():
    one = Module("uw")
    one.step()
    one.model = Trunk()
    gc.collect()
    with pytest.raises(MethodError, match="another model"):
        one.step()


def test_the_same_model_built_again_goes_on_as_the_message_says():
    one, whole = Module("adatask"), Module("adatask")
    one.step(0)
    whole.step(0)
    one.model = Module().model
    with pytest.raises(MethodError, match="another model"):
        one.step(1)
    state = one.balancer.state_dict()
    one.balancer.reset()
    one.balancer.load_state_dict(state)
    same(one.step(1), whole.step(1))


def test_a_new_head_beside_the_old_trunk_is_no_other_model():
    one = Module()
    one.step()
    one.model.heads["t1"] = torch.nn.Linear(5, 1).double()
    one.model.trunk[2] = torch.nn.Linear(8, 5).double()
    one.step()
    assert len(one.balancer.partition.shared) == 4
    assert all(p.grad is not None for p in one.model.parameters())


@HOW
def test_layers_are_known_in_copies_or_asked_for(copied):
    one = Module(METHODS["per_group"]("gradvac", groups="layer"), know=True)
    one.step()
    other = copied(one)
    same(other.step(1), one.step(1))
    assert other.balancer.method.state.state_dict() == one.balancer.method.state.state_dict()
    one.balancer = copied(one.balancer)
    with pytest.raises(MethodError, match=r"balancer\.know"):
        one.step(2)
    one.balancer.know(one.model)
    one.step(2)


# ------------------------------------------------------------------------------- one method object, two balancers


@pytest.mark.parametrize("name", ["uw", "dwa", "go4align", "gradnorm", "moco", "adatask", "cr_mogm"])
def test_a_used_method_object_is_refused_by_a_second_balancer(name):
    options = {"inner": "mgda"} if name == "cr_mogm" else {}
    method = METHODS[name](**options)
    run(Balancer(method, announce=None))
    with pytest.raises(MethodError, match=r"another balancer.*method\.reset\(\)"):
        run(Balancer(method, announce=None))
    method.reset()
    fresh = Balancer(METHODS[name](**options), announce=None)
    assert plain(run(Balancer(method, announce=None))) == plain(run(fresh))


def test_two_balancers_may_not_take_turns_with_one_method_but_with_one_that_learns_nothing():
    learning, still = METHODS["uw"](), METHODS["mgda"]()
    first, second = Balancer(learning, announce=None), Balancer(learning, announce=None)
    first.backward(Trunk().losses(torch.ones(2, 4, dtype=torch.float64))[0])
    with pytest.raises(MethodError, match="another balancer"):
        second.backward(Trunk().losses(torch.ones(2, 4, dtype=torch.float64))[0])
    for balancer in (Balancer(still, announce=None), Balancer(still, announce=None)):
        run(balancer)


def test_a_used_inner_method_is_refused_too():
    inner = METHODS["gradnorm"]()
    run(Balancer(METHODS["cr_mogm"](inner=inner), announce=None))
    with pytest.raises(MethodError, match="another balancer"):
        run(Balancer(METHODS["cr_mogm"](inner=inner), announce=None))


def test_loading_a_state_hands_the_method_over():
    method = METHODS["uw"]()
    first = Balancer(method, announce=None)
    run(first)
    second = Balancer(method, announce=None)
    second.load_state_dict(first.state_dict())
    model = Trunk()
    second.reset()
    second.backward(model.losses(torch.ones(2, 4, dtype=torch.float64))[0])


# ---------------------------------------------------------------------------- models that change between steps


class Adapter(torch.nn.Module):
    """A frozen layer with a small correction beside it, as LoRA adds."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.down = layer.requires_grad_(False), torch.nn.Linear(layer.in_features, 2, bias=False)
        self.up = torch.nn.Linear(2, layer.out_features, bias=False)
        self.double()

    def forward(self, x):
        return self.layer(x) + self.up(self.down(x))


@pytest.mark.parametrize("copied", [None, by_deepcopy, by_pickle])
def test_parameters_added_to_the_declared_module_are_shared(copied):
    one = Module(shared=True)
    one.step(0)
    one = copied(one) if copied else one
    one.model.trunk[0] = Adapter(one.model.trunk[0])
    one.model.trunk[2] = Adapter(one.model.trunk[2])
    found = one.step(1)
    other = Module(shared=True)
    other.model.load_state_dict(Module().model.state_dict())
    other.model = one.model
    other.balancer = Balancer("upgrad", shared=one.model.trunk, announce=None)
    assert len(one.balancer.partition.shared) == 4
    same(other.step(1), found)


@pytest.mark.parametrize("method", ["equal", "upgrad", "uw"])
def test_a_second_stage_of_new_heads_on_a_frozen_trunk_goes_on_when_the_model_is_shown(method):
    one = Module(method)
    one.step(0)
    one.model.trunk.requires_grad_(False)
    for name in one.model.names:
        one.model.heads[name] = torch.nn.Linear(5, 1).double()
    if method != "equal":
        with pytest.raises(MethodError, match=r"heads are new.*balancer\.know\(model\)"):
            one.step(1)
    one.balancer.know(one.model)
    _, gradients = one.step(1)
    assert all((g is None) != p.requires_grad for p, g in zip(one.model.parameters(), gradients, strict=True))
    one.model.trunk.requires_grad_(True)
    one.step(2)
    assert len(one.balancer.partition.shared) == 4


def test_knowing_another_model_is_no_way_around():
    one = Module()
    one.step(0)
    first, one.model = one.model, Module().model
    one.balancer.know(one.model)
    with pytest.raises(MethodError, match="another model"):
        one.step(1)
    assert all(p.grad is None for p in one.model.parameters())
    del first
