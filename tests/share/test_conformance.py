"""What every architecture promises, over the list in ``cases.py``."""

import copy
import math
import pickle

import jaxtyping
import pytest
import torch
from torch import nn

import polytask as pt
from polytask.balance import Balancer
from polytask.deploy import FinishedModel
from polytask.errors import ConfigError, TaskError
from polytask.share import ARCHITECTURES, Blueprint
from polytask.tasks import Task, TaskSet
from polytask.train import Trainer
from tests.study.toy import toy_data

from .cases import CASES

pytestmark = pytest.mark.parametrize("case", CASES, ids=str)
TASKS = TaskSet([Task("age"), Task("type", "binary"), Task("a.b", "multiclass", classes=4)])


@pytest.fixture(autouse=True)
def _registered(case, monkeypatch):
    if case.name not in ARCHITECTURES.own:
        monkeypatch.setitem(ARCHITECTURES, case.name, case.made)


class Trunk(nn.Module):
    """An encoder of one's own."""

    def __init__(self):
        super().__init__()
        self.layer, self.out_features = nn.Linear(5, 6), 6

    def forward(self, x):
        return torch.tanh(self.layer(x))


def build(case, tasks=TASKS, seed=0, trunk=Trunk, **options):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return case.made(trunk(), tasks, seed=seed, **{**case.options, **options}).eval()


def rows(n=7, dtype=torch.float32):
    return torch.randn(n, 5, generator=torch.Generator().manual_seed(1)).to(dtype)


def many(count):
    return TaskSet([Task(f"t{place}") for place in range(count)])


def losses(model, x, tasks=None):
    """Squared outputs, which every parameter of a task has a part in."""
    return {name: (output - 0.3).square().mean() for name, output in model(x, tasks).items()}


def test_outputs_are_named_shaped_and_ordered(case):
    model = build(case)
    assert {name: tuple(output.shape) for name, output in model(rows()).items()} == {
        "age": (7, 1),
        "type": (7, 1),
        "a.b": (7, 4),
    }
    assert list(model(rows())) == list(TASKS.names)
    assert list(model(rows(), tasks=["a.b", "age"])) == ["age", "a.b"]
    with pytest.raises(TaskError, match="did you mean 'type'"):
        model(rows(), tasks=["typ"])
    assert all(output.shape[0] == 0 for output in model(rows(0)).values())


def test_a_task_asked_for_alone_is_what_it_is_among_all(case):
    model = build(case)
    together = model(rows())
    for name in TASKS:
        assert torch.equal(model(rows(), tasks=[name])[name], together[name])
        torch.testing.assert_close(model.decode(model.encode(rows()), (name,))[name], together[name], rtol=0, atol=0)
    assert model(rows(), tasks=[]) == {}


def test_an_absent_task_moves_nothing_of_its_own(case):
    model = build(case)
    Balancer("equal", announce=None).backward(losses(model, rows(), ["age", "a.b"]))
    assert all(p.grad is None for p in model.task_parameters("type"))
    assert all(p.grad is not None for name in ("age", "a.b") for p in model.task_parameters(name))


def test_rows_do_not_see_one_another(case):
    model = build(case)
    whole = model(rows())
    for name, output in model(rows()[2:4]).items():
        torch.testing.assert_close(output, whole[name][2:4])


@pytest.mark.parametrize("count", [2, 3, 100])
def test_what_it_says_is_shared_is_what_the_graph_says(case, count):
    tasks = TASKS if count == 3 else many(count)
    model = build(case, tasks)
    balancer = Balancer("upgrad", announce=None)
    partition = balancer.prepare(model(rows()))
    assert {id(p) for p in partition.shared} == {id(p) for p in model.shared_parameters()}
    for name in tasks:
        assert {id(p) for p in partition.owned[name]} == {id(p) for p in model.task_parameters(name)}
    parts = [*model.shared_parameters(), *(p for name in tasks for p in model.task_parameters(name))]
    assert sorted(map(id, parts)) == sorted(map(id, model.parameters()))
    with pytest.raises(TaskError, match="unknown task 'weight'"):
        list(model.task_parameters("weight"))


def test_a_hundred_tasks_take_a_step(case):
    model = build(case, many(100))
    record = Balancer("equal", announce=None).backward(losses(model, rows()))
    assert len(record.tasks) == 100
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_one_task_is_plain_training(case):
    model = build(case, [Task("age")])
    twin = copy.deepcopy(model)
    Balancer("upgrad", announce=None).backward(losses(model, rows()))
    losses(twin, rows())["age"].backward()
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
        assert ours.grad is not None


def test_a_seed_decides_every_parameter_it_makes(case):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, second, other = build(case), build(case), build(case, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    heads = dict(first.heads.named_parameters()), dict(other.heads.named_parameters())
    assert not any(torch.equal(heads[0][key], heads[1][key]) for key in heads[0])
    alone = build(case, [TASKS["type"]])
    for key, value in alone.heads.state_dict().items():  # a single-task model starts from the same head
        assert torch.equal(first.heads.state_dict()[key], value)


def test_a_task_added_later_leaves_the_others_as_they_are(case):
    model = build(case)
    before, kept = model(rows()), {name: id(p) for name, p in model.named_parameters()}
    model.add_task(Task("new", "multiclass", classes=3))
    after = model(rows())
    assert list(after) == [*TASKS.names, "new"]
    assert after["new"].shape == (7, 3)
    for name in TASKS:
        torch.testing.assert_close(after[name], before[name], rtol=0, atol=0)
    assert kept.items() <= {name: id(p) for name, p in model.named_parameters()}.items()
    assert list(model.task_parameters("new"))
    with pytest.raises(TaskError, match="has a task 'new' already"):
        model.add_task(Task("new"))


def test_it_describes_itself(case):
    model = build(case)
    summary = model.describe(rows())
    assert summary.total == sum(p.numel() for p in model.parameters())
    assert summary.architecture == case.made.__name__
    assert summary.flops is not None
    assert summary.flops[""] >= 2 * 5 * 6  # the trunk, at least once
    assert all(summary.flops[name] > 0 for name in TASKS)
    assert not any(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    "make",
    [
        lambda case, name, value: build(case, **{name: value}),
        lambda case, name, value: Blueprint.of(toy_data(), architecture={"name": case.name, name: value}),
    ],
    ids=["class", "blueprint"],
)
def test_options_are_declared_and_checked(case, make):
    for name, value in case.options.items():
        assert name in case.made.options
        assert case.made.options[name].read(value) is not None
    if not case.options:
        assert set(case.bad) == set(case.made.options), "every option needs a value that is refused"
    for name, value in case.bad.items():
        with pytest.raises(ConfigError, match=f"{name} must be .*, found"):
            make(case, name, value)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_is_the_same_model_and_another_one(case, copied):
    model = build(case)
    for number in range(2):  # also after a step
        other = copied(model)
        for name, output in model(rows()).items():
            assert torch.equal(output, other(rows())[name])
        assert not {id(p) for p in model.parameters()} & {id(p) for p in other.parameters()}
        before = [p.detach().clone() for p in model.parameters()]
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.add_(1.0)
        assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
        if number == 0:
            Balancer("equal", announce=None).backward(losses(model.train(), rows()))
            _ = model.extra_losses() if hasattr(model, "extra_losses") else None
            model.eval()


def test_what_was_learned_comes_back_from_a_folder(case, tmp_path):
    data = toy_data()
    blueprint = Blueprint.of(data, architecture={"name": case.name, **case.options}, seed=2)
    model = blueprint.build()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    FinishedModel.of(blueprint, model).save(tmp_path)
    loaded = pt.load(tmp_path)
    model.eval()
    x, _ = data.test.batch(torch.arange(9))
    for name, output in model(x).items():
        assert torch.equal(loaded.model(x)[name], output)
    assert Blueprint.from_dict(blueprint.to_dict()) == blueprint


@pytest.mark.parametrize("method", ["upgrad", "mgda", "graddrop"])
def test_features_are_what_several_tasks_read_or_are_refused(case, method):
    model = build(case)
    balancer = Balancer(method, grads="features", announce=None)
    if not model.representation.is_shared:
        with pytest.raises(ConfigError, match=f"in {type(model).__name__} every task reads .* Use grads='params'"):
            Trainer(model, TASKS, balancer, progress=False)
        return
    Trainer(model, TASKS, balancer, progress=False)
    encoded = model.encode(rows())
    tensors = model.representation.tensors(encoded, "it")
    found = {name: (output - 0.3).square().mean() for name, output in model.decode(encoded).items()}
    readers = [sum(_reads(loss, tensor) for loss in found.values()) for tensor in tensors]
    assert min(readers) >= 2, "no tensor among them that only one task reads"
    weights = Balancer(method, grads="features", announce=None).backward(found, features=encoded).weights
    if method == "graddrop":  # which mixes by coordinate, so that no weighted sum says the same
        return
    shared = list(model.shared_parameters())
    total = sum(weights[name] * loss for name, loss in losses(model, rows()).items())
    for parameter, expected in zip(shared, torch.autograd.grad(total, shared), strict=True):
        torch.testing.assert_close(parameter.grad, expected)


def _reads(loss, tensor):
    gradient = torch.autograd.grad(loss, tensor, retain_graph=True, allow_unused=True)[0]
    return gradient is not None and bool(gradient.abs().sum() > 0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_it_runs_in_other_precisions(case, dtype):
    model, plain = build(case).to(dtype), build(case)
    found = model(rows(dtype=dtype))
    assert {output.dtype for output in found.values()} == {dtype}
    for name, output in found.items():
        torch.testing.assert_close(output.float(), plain(rows())[name], rtol=0.1, atol=0.05)
    Balancer("upgrad", announce=None).backward(losses(model, rows(dtype=dtype)))
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_it_can_be_compiled(case, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # what checks types in tests cannot be traced
    torch.compiler.reset()
    model = build(case)
    compiled = torch.compile(model, backend="aot_eager")
    for name, output in compiled(rows()).items():
        torch.testing.assert_close(output, model(rows())[name])
    losses(compiled, rows())["age"].backward()
    found = [p.grad for p in model.parameters()]
    model.zero_grad()
    losses(model, rows())["age"].backward()
    for ours, p in zip(found, model.parameters(), strict=True):
        theirs = torch.zeros_like(p) if p.grad is None else p.grad
        torch.testing.assert_close(torch.zeros_like(p) if ours is None else ours, theirs)
    torch.compiler.reset()


class Seated(Trunk):
    """An encoder with a loss of its own, which takes note of the steps."""

    def __init__(self):
        super().__init__()
        self.told = 0

    def extra_losses(self):
        return {"size": 1e-3 * self.layer.weight.square().sum()}

    def after_backward(self, record, *, loss_scale=1.0):
        self.told += 1


@pytest.mark.parametrize("method", ["equal", "upgrad"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_trainer_trains_it_with_its_seats(case, method, precision):
    model = build(case, TASKS, trunk=Seated)
    x = rows(40)
    y = {"age": x[:, 0].clone(), "type": (x[:, 1] > 0).long(), "a.b": torch.arange(40) % 4}
    y["age"][::3] = math.nan
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    options = {"epochs": 2, "batch_size": 10, "lr": 0.01, "precision": precision, "progress": False}
    history = Trainer(model, TASKS, method, **options).fit((x, y))
    seats = [module for module in model.modules() if isinstance(module, Seated)]
    assert {seat.told for seat in seats} == {history.steps}
    expected = 1e-3 * sum(float(before[name].square().sum()) for name in before if name.endswith("layer.weight"))
    assert history.value("extra", "size", epoch=1) == pytest.approx(expected, rel=0.2)
    assert math.isfinite(history.value("loss", "a.b"))
    assert (history.value("extra", "balance") >= 0) == bool(case.options.get("balance"))
    still = [name for name, p in model.named_parameters() if torch.equal(p, before[name])]
    assert all("gates" in name for name in still)  # of one expert there is nothing to choose
    model.eval()
    assert all(torch.isfinite(output).all() for output in model(x).values())
