"""Seats in the loop: PopArt, rotations and losses of a part's own, trained by Trainer."""

import copy

import pytest
import torch
from torch import nn

from polytask.data import TensorSource
from polytask.errors import ConfigError, NonFiniteError
from polytask.share import HardSharing, MultiTaskModel, PopArt, Rotations, Seats
from polytask.tasks import Task, TaskSet
from polytask.train import Trainer

WIDTH = 6


def data(rows=96, missing=False, scale=(1.0, 0.0), seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 4, generator=generator)
    a = 1000 + 300 * (x[:, 0] + 0.1 * torch.randn(rows, generator=generator))
    b = x[:, 1] - x[:, 2]
    if missing:
        a[::3] = float("nan")
    return TensorSource(x, {"a": a, "b": b})


def popart_model(tasks, rate=0.1, seed=0, hidden=()):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        trunk = nn.Sequential(nn.Linear(4, WIDTH), nn.Tanh())
        head = PopArt(nn.Linear(WIDTH, 1), rate, task="a")
        return HardSharing(trunk, tasks, heads={"a": head}, seed=seed)


def fit(model, tasks, source, method="equal", **options):
    trainer = Trainer(model, tasks, method, **{"epochs": 3, "batch_size": 16, "progress": False, **options})
    trainer.fit(source)
    return trainer


@pytest.mark.parametrize("missing", [None, -7.0])
@pytest.mark.parametrize("task", [Task("a"), Task("a", shift=900.0, scale=50.0)], ids=["plain", "scaled"])
def test_popart_in_the_loop_is_popart_by_hand(task, missing):
    if missing is not None:
        task = Task("a", shift=task.shift, scale=task.scale, missing=missing)
    source, tasks = data(missing=True), TaskSet([task, Task("b")])
    if missing is not None:
        source.targets["a"] = source.targets["a"].nan_to_num(missing)
    model = popart_model(tasks)
    twin = copy.deepcopy(model)
    fit(model, tasks, source, optimizer="sgd", lr=0.01, epochs=2, batch_size=32)

    head, optimizer = twin.heads["a"], torch.optim.SGD(twin.parameters(), lr=0.01)
    from polytask.data import MultiTaskLoader

    loader = MultiTaskLoader(source, batch_size=32, seed=0)
    for batch in [batch for _ in range(2) for batch in loader]:
        (part,) = batch.parts
        y = part.targets["a"].double()
        y = torch.where(y == missing, torch.nan, y) if missing is not None else y
        y = (y - task.shift) / task.scale
        head.update(y)
        found = twin(part.inputs)
        known = ~y.isnan()
        loss = (found["a"][known, 0] - head.normalize(y).float()[known]).square().mean()
        optimizer.zero_grad()
        (loss + (found["b"][:, 0] - part.targets["b"]).square().mean()).backward()
        optimizer.step()
    assert float(head.mean) != 0
    for name, value in twin.state_dict().items():
        assert torch.allclose(model.state_dict()[name], value, rtol=1e-4, atol=1e-6), name


def test_predictions_in_natural_units_stand_still_while_the_moments_move():
    source, tasks = data(), TaskSet([Task("a"), Task("b")])
    model = popart_model(tasks, rate=0.5)
    x = source.inputs[:20]
    trainer = Trainer(model, tasks, epochs=1, batch_size=16, progress=False, lr=1e-12, optimizer="sgd")
    trainer.fit(source)
    before, moments = trainer.predict(x)["a"], model.heads["a"].mean.clone()
    trainer.fit(TensorSource(source.inputs, {**source.targets, "a": 50 * source.targets["a"]}))
    assert float(model.heads["a"].mean) > 10 * float(moments)  # the targets have drifted, and the moments followed
    rounding = 1e-6 * float(model.heads["a"].scale)  # of the layer's weights in float32
    assert torch.allclose(trainer.predict(x)["a"], before, rtol=0, atol=rounding)


def test_popart_learns_targets_of_any_size():
    source, tasks = data(rows=400), TaskSet([Task("a"), Task("b")])
    trainer = fit(popart_model(tasks), tasks, source, epochs=30, lr=0.01)
    found = trainer.evaluate(source).metrics
    assert found["a"]["r2"] > 0.9
    assert found["b"]["r2"] > 0.9
    assert trainer.history.value("loss", "a") < 0.2  # of normalised targets


@pytest.mark.parametrize("options", [{}, {"accumulate": 2}, {"accumulate": 2, "accumulation": "per_micro_batch"}])
@pytest.mark.parametrize("method", ["equal", "upgrad", "famo", "modo"])
def test_seats_work_with_every_way_of_stepping(method, options):
    if method == "modo" and options.get("accumulation") != "per_micro_batch" and options:
        pytest.skip("twins are not accumulated exactly")
    source, tasks = data(missing=True), TaskSet([Task("a"), Task("b")])
    model = popart_model(tasks)
    fit(model, tasks, source, method, **options)
    assert 800 < float(model.heads["a"].mean) < 1200
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("make", [lambda t: popart_model(t), lambda t: Rotated(t)], ids=["popart", "rotations"])
def test_seats_in_half_precision(make, precision):
    source, tasks = data(missing=True), TaskSet([Task("a", shift=1000.0, scale=300.0), Task("b")])
    model = make(tasks)
    trainer = fit(model, tasks, source, "equal", precision=precision, epochs=5, lr=0.01)
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert trainer.history.value("loss", "a") < trainer.history.value("loss", "a", epoch=1)


def test_seats_with_sources_of_their_own_and_no_label_at_all():
    source, tasks = data(), TaskSet([Task("a"), Task("b")])
    a, b = (TensorSource(source.inputs, {name: source.targets[name]}) for name in "ab")
    model = popart_model(tasks)
    fit(model, tasks, {"one": a, "two": b}, "upgrad")
    assert 800 < float(model.heads["a"].mean) < 1200
    nothing = TensorSource(source.inputs, {"a": source.targets["a"] * float("nan"), "b": source.targets["b"]})
    silent = popart_model(tasks)
    fit(silent, tasks, nothing)
    assert (float(silent.heads["a"].mean), float(silent.heads["a"].mass)) == (0.0, 0.0)


def test_copies_of_a_model_with_seats_go_their_own_way(bitwise):
    source, tasks = data(), TaskSet([Task("a", shift=1000.0, scale=300.0), Task("b")])
    for make in (popart_model, Rotated):
        trainer = fit(make(tasks), tasks, source, "upgrad")
        model = trainer.model
        before = copy.deepcopy(model)
        copied = copy.deepcopy(trainer)
        copied.fit(source)
        assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before.parameters(), strict=True))
        trainer.fit(source)
        assert all(torch.equal(p, q) for p, q in zip(model.parameters(), copied.model.parameters(), strict=True))


def test_a_window_is_one_look_at_the_targets():
    """Exact accumulation: the moments after a window of two batches are those after one large batch."""
    source, tasks = data(missing=True), TaskSet([Task("a"), Task("b")])
    models = [popart_model(tasks), popart_model(tasks)]
    for model, options in zip(models, ({"batch_size": 32}, {"batch_size": 16, "accumulate": 2}), strict=True):
        fit(model, tasks, source, "equal", epochs=1, **options)
    one, other = (model.state_dict() for model in models)
    for name in one:
        assert torch.allclose(one[name], other[name], rtol=1e-5, atol=1e-6), name


@pytest.mark.parametrize("make", [lambda t: popart_model(t), lambda t: Rotated(t)], ids=["popart", "rotations"])
@pytest.mark.parametrize("method", ["equal", "nash_mtl"])
def test_resume_is_bit_for_bit_with_seats(make, method, bitwise, tmp_path):
    source, tasks = data(missing=True), TaskSet([Task("a"), Task("b")])
    whole, cut = make(tasks), make(tasks)
    cut.load_state_dict(whole.state_dict())
    fit(whole, tasks, source, method, epochs=4, restore="last")
    fit(cut, tasks, source, method, epochs=2, restore="last", out=tmp_path)
    again = make(tasks)
    trainer = Trainer(again, tasks, method, epochs=4, batch_size=16, restore="last", progress=False, out=tmp_path)
    trainer.fit(source, resume=True)
    for name, value in whole.state_dict().items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(again.state_dict()[name], value), name


def test_a_failed_step_leaves_popart_as_it_was():
    source, tasks = data(), TaskSet([Task("a"), Task("b")])
    model = popart_model(tasks)
    fit(model, tasks, source, epochs=1)
    before = copy.deepcopy(model.state_dict())
    source.targets["b"][:] = 3e38  # a loss that is not finite, in the other task
    with pytest.raises(NonFiniteError):
        fit(model, tasks, source, epochs=1)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_popart_says_where_it_does_not_fit():
    tasks = TaskSet([Task("a", "binary"), Task("b")])
    with pytest.raises(ConfigError, match=r"'a' is binary with 1: use it for regression"):
        Trainer(popart_model(tasks), tasks)
    unnamed = HardSharing(nn.Linear(4, WIDTH), [Task("b")], heads={"b": PopArt(nn.Linear(WIDTH, 1))})
    with pytest.raises(ConfigError, match=r"does not know whose targets.*PopArt\(layer, task="):
        Trainer(unnamed, [Task("b")])


def test_popart_keeps_its_layer_to_itself():
    tasks, layer, other = TaskSet([Task("a"), Task("b")]), nn.Linear(WIDTH, 1), nn.Linear(WIDTH, 1)
    other.weight = layer.weight
    for b in (PopArt(layer, task="b"), layer, other):
        model = HardSharing(nn.Linear(4, WIDTH), tasks, heads={"a": PopArt(layer, task="a"), "b": b})
        with pytest.raises(ConfigError, match=r"rewrites the layer of task 'a'.*a layer of its own"):
            Trainer(model, tasks)


class Rotated(MultiTaskModel):
    """Hard sharing with rotations between trunk and heads."""

    def __init__(self, tasks, **options):
        super().__init__(tasks)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.trunk = nn.Sequential(nn.Linear(4, WIDTH), nn.Tanh())
            self.heads = nn.ModuleDict({name: nn.Linear(WIDTH, 1) for name in self.tasks})
        self.rotations = Rotations(self.tasks, WIDTH, **{"lr": 0.01, **options})

    def encode(self, inputs):
        return self.trunk(inputs)

    def decode(self, features, tasks=None):
        views = self.rotations(features, self.select(tasks))
        return {name: self.heads[name](view) for name, view in views.items()}

    def shared_parameters(self):
        return self.trunk.parameters()

    def task_parameters(self, name):
        return self.heads[name].parameters()

    def _extend(self, task, **options):
        raise NotImplementedError


@pytest.mark.parametrize(("method", "grads"), [("equal", "params"), ("upgrad", "params"), ("rotograd", "features")])
def test_rotations_move_once_per_step_and_keep_nothing(method, grads, caplog):
    from polytask.balance import Balancer

    source, tasks = data(), TaskSet([Task("a", shift=1000.0, scale=300.0), Task("b")])
    model = Rotated(tasks)
    balancer = Balancer(method, tasks=tasks, grads=grads, announce=None)
    with caplog.at_level("WARNING", logger="polytask"):
        trainer = fit(model, tasks, source, balancer)
    assert "will not train" not in caplog.text
    state = model.rotations.optimizer.state_dict()["state"]
    assert {int(entry["step"]) for entry in state.values()} == {trainer.history.steps}
    assert all(float(angles.detach().abs().max()) > 0 for angles in model.rotations.angles)
    assert model.rotations._passes == []


def test_rotations_in_the_loop_are_rotations_by_hand():
    from polytask.data import MultiTaskLoader

    source, tasks = data(), TaskSet([Task("a", shift=1000.0, scale=300.0), Task("b")])
    model, twin = Rotated(tasks), Rotated(tasks)
    fit(model, tasks, source, epochs=1)
    own = {id(p) for p in twin.rotations.parameters()}
    optimizer = torch.optim.AdamW([p for p in twin.parameters() if id(p) not in own], weight_decay=0.0, fused=True)
    for batch in MultiTaskLoader(source, batch_size=16):
        (part,) = batch.parts
        optimizer.zero_grad()
        sum(tasks.losses(twin(part.inputs), part.targets).values()).backward()
        twin.rotations.step()
        optimizer.step()
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(one, other)


class Extra(Rotated):
    """A penalty on the features, outside the balancing; it alone reaches ``gate``."""

    def __init__(self, tasks, size=0.1):
        super().__init__(tasks)
        self.gate, self.size = nn.Linear(WIDTH, 1), size

    def encode(self, inputs):
        self.features = self.trunk(inputs)
        return self.features

    def extra_losses(self):
        return {"gate": self.size * (self.gate(self.features) - 1).square().mean()}


@pytest.mark.parametrize("method", ["equal", "upgrad", "uw"])
@pytest.mark.parametrize("options", [{}, {"accumulate": 2}, {"accumulate": 2, "accumulation": "per_micro_batch"}])
def test_extra_losses_are_added_outside_the_balancing(method, options, caplog):
    source, tasks = data(rows=32), TaskSet([Task("a", shift=1000.0, scale=300.0), Task("b")])
    common = {"epochs": 1, "batch_size": 32 // options.get("accumulate", 1), "optimizer": "sgd", "lr": 1.0, **options}
    plain, with_extra = Extra(tasks, size=0.0), Extra(tasks)
    with_extra.load_state_dict(plain.state_dict())
    start = copy.deepcopy(with_extra)
    with caplog.at_level("WARNING", logger="polytask"):
        fit(plain, tasks, source, method, **common)
        trainer = fit(with_extra, tasks, source, method, **common)
    assert "will not train" not in caplog.text
    start(source.inputs)
    loss = start.extra_losses()["gate"]
    loss.backward()
    assert trainer.history.value("extra", "gate") == pytest.approx(float(loss.detach()), rel=1e-5)
    for one, other, moved in zip(plain.parameters(), with_extra.parameters(), start.parameters(), strict=True):
        added = torch.zeros_like(moved) if moved.grad is None else moved.grad
        assert torch.allclose(one - other, added, atol=1e-5)


def test_extra_losses_are_judged():
    source, tasks = data(), TaskSet([Task("a"), Task("b")])
    model = Extra(tasks, size=float("inf"))
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(NonFiniteError, match=r"extra loss 'gate' is inf at step 0"):
        fit(model, tasks, source)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items() if isinstance(v, torch.Tensor))

    class Wrong(nn.Module):
        def extra_losses(self):
            return {"size": torch.ones(3, requires_grad=True)}

        def before_losses(self, targets):
            return {"b": torch.ones(1)}

    with pytest.raises(ConfigError, match=r"one number with a graph for 'size', found shape \(3,\)"):
        Seats.of(Wrong()).extra_losses()
    with pytest.raises(ConfigError, match=r"row by row; found \(1,\) for 'b' in the place of \(2,\)"):
        Seats.of(Wrong()).before_losses({"b": torch.zeros(2)})
