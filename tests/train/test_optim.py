import math

import pytest
import torch
from torch import nn

from polytask.data import TensorSource
from polytask.errors import ConfigError
from polytask.train import (
    OPTIMIZERS,
    SCHEDULERS,
    Trainer,
    TrainOptions,
    build_optimizer,
    build_scheduler,
    parameter_groups,
)
from polytask.train.optim import clip_by_norm


def rates(options, steps, model=None):
    """The first group's learning rate in every step, as the loop would see it."""
    optimizer = build_optimizer(model or nn.Linear(2, 1), options)
    scheduler = build_scheduler(optimizer, options, steps)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    return seen


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_descends(name):
    model = nn.Linear(4, 1)
    optimizer = build_optimizer(model, TrainOptions(optimizer=name, lr=1e-2))
    x = torch.randn(32, 4)

    def loss():
        return (model(x) - x.sum(1, keepdim=True)).square().mean()

    before = float(loss().detach())
    for _ in range(20):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert float(loss().detach()) < before


def test_groups_split_heads_and_cover_everything(make_net):
    net = make_net()
    groups = parameter_groups(net, lr=0.1, task_lr={"b": 0.3})
    assert [(group["name"], group["lr"]) for group in groups] == [("shared", 0.1), ("b", 0.3)]
    assert [id(p) for p in groups[1]["params"]] == [id(p) for p in net.heads["b"].parameters()]
    ids = [id(p) for group in groups for p in group["params"]]
    assert sorted(ids) == sorted(id(p) for p in net.parameters())


def test_groups_leave_out_frozen_parameters(make_net):
    net = make_net()
    net.trunk.requires_grad_(False)
    assert sum(len(group["params"]) for group in parameter_groups(net, lr=0.1)) == 4
    net.requires_grad_(False)
    with pytest.raises(ConfigError, match="nothing to train"):
        parameter_groups(net, lr=0.1)


def test_task_rates_need_a_model_that_knows_its_heads():
    with pytest.raises(ConfigError, match="task_parameters"):
        parameter_groups(nn.Linear(2, 1), lr=0.1, task_lr={"a": 0.2})


def test_optimizer_factory_gets_the_groups_and_an_object_must_hold_all(make_net):
    net = make_net()
    made = build_optimizer(net, TrainOptions(optimizer=torch.optim.Rprop, task_lr={"a": 0.5}))
    assert [group["lr"] for group in made.param_groups] == [1e-2, 0.5]  # Rprop's own rate, and the head's
    assert build_optimizer(net, TrainOptions(optimizer=made)) is made
    half = torch.optim.SGD(net.trunk.parameters(), lr=0.1)
    with pytest.raises(ConfigError, match=r"4 of the model's parameters \(heads.a.weight"):
        build_optimizer(net, TrainOptions(optimizer=half))
    with pytest.raises(ConfigError, match=r"'sgd' does not accept these options.*momentun"):
        build_optimizer(net, TrainOptions(optimizer="sgd", optimizer_options={"momentun": 0.9}))


@pytest.mark.parametrize(
    ("factory", "given", "rate"),
    [
        (lambda groups: torch.optim.SGD(groups, lr=0.1), {}, 0.1),
        (lambda groups: torch.optim.AdamW(groups, lr=3e-4), {}, 3e-4),
        (torch.optim.SGD, {"lr": 0.05}, 0.05),
        (lambda groups: torch.optim.SGD(groups, lr=0.05), {"lr": 0.05}, 0.05),
        ("sgd", {}, 1e-3),
    ],
)
def test_a_factory_keeps_its_own_rate_unless_one_is_given(factory, given, rate):
    made = build_optimizer(nn.Linear(2, 1), TrainOptions(optimizer=factory, **given))
    assert [group["lr"] for group in made.param_groups] == [rate]


def test_two_different_rates_are_refused():
    options = TrainOptions(optimizer=lambda groups: torch.optim.SGD(groups, lr=0.1), lr=0.01)
    with pytest.raises(ConfigError, match=r"sets a learning rate of 0.1 and lr= is 0.01; leave one"):
        build_optimizer(nn.Linear(2, 1), options)
    with pytest.raises(ConfigError, match=r"must return a torch Optimizer, found list"):
        build_optimizer(nn.Linear(2, 1), TrainOptions(optimizer=list))


def test_options_that_an_object_decides_are_refused():
    held = torch.optim.SGD(nn.Linear(2, 1).parameters(), lr=0.1)
    for name, value in {"lr": 0.2, "weight_decay": 0.1, "task_lr": {"a": 0.1}, "optimizer_options": {"x": 1}}.items():
        with pytest.raises(ConfigError, match=f"{name} would be ignored: the given optimizer decides it"):
            TrainOptions(optimizer=held, **{name: value})
    with pytest.raises(ConfigError, match="optimizer_options, weight_decay would be ignored: the optimizer factory"):
        TrainOptions(optimizer=torch.optim.SGD, weight_decay=0.1, optimizer_options={"x": 1})
    with pytest.raises(ConfigError, match="warmup would be ignored: the given scheduler"):
        TrainOptions(scheduler=lambda optimizer, steps: None, warmup=3)
    assert TrainOptions(optimizer=held, weight_decay=0.0, optimizer_options={}).optimizer is held


@pytest.mark.parametrize(
    ("optimizer", "why"),
    [(torch.optim.LBFGS, "several times in one step"), (torch.optim.SparseAdam, "sparse gradients")],
)
def test_optimizers_that_do_not_fit_the_loop_are_refused(optimizer, why):
    with pytest.raises(ConfigError, match=f"{optimizer.__name__} .*{why}"):
        TrainOptions(optimizer=optimizer)
    with pytest.raises(ConfigError, match=why):
        TrainOptions(optimizer=optimizer(nn.Linear(2, 1).parameters(), lr=0.1))
    with pytest.raises(ConfigError, match=why):
        build_optimizer(nn.Linear(2, 1), TrainOptions(optimizer=lambda groups: optimizer(groups)))


class Table(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.a, self.b = nn.Embedding(10, 4, sparse=True), nn.Linear(4, 1), nn.Linear(4, 1)

    def forward(self, x):
        return {"a": self.a(self.words(x)), "b": self.b(self.words(x))}


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
def test_sparse_embeddings_train_where_the_optimizer_takes_them_and_are_refused_elsewhere(tasks):
    x = torch.arange(60) % 10
    source = TensorSource(x, {"a": x.float(), "b": (x > 4).long()})
    for optimizer in ("sgd", "adagrad"):
        model = Table()
        before = model.words.weight.detach().clone()
        Trainer(model, tasks, optimizer=optimizer, epochs=1, batch_size=20, progress=False).fit(source)
        assert not torch.equal(model.words.weight, before)
    with pytest.raises(ConfigError, match=r"words has sparse=True.*'adamw' takes dense.*sparse=False, or use"):
        Trainer(Table(), tasks, epochs=1, progress=False).fit(source)


def test_plateau_follows_the_validation_score(make_net, make_source, tasks):
    from torch.optim.lr_scheduler import ReduceLROnPlateau

    def plateau(optimizer, steps):
        return ReduceLROnPlateau(optimizer, mode="max", threshold_mode="abs", threshold=10.0, patience=1, factor=0.1)

    source = make_source()
    trainer = Trainer(make_net(), tasks, scheduler=plateau, lr=0.1, epochs=5, optimizer="sgd", progress=False)
    rates = trainer.fit(source, val=source).curve("lr", "shared")
    # no gain reaches the threshold: the first value sets the best, and every second one after it is one too many
    assert rates.tolist() == pytest.approx([0.1, 0.1, 0.1, 0.01, 0.01])
    with pytest.raises(ConfigError, match="pass val="):
        trainer.fit(source)
    with pytest.raises(ConfigError, match="mode='max', threshold_mode='abs', found 'min', 'rel'"):
        Trainer(make_net(), tasks, scheduler=lambda o, n: ReduceLROnPlateau(o), epochs=1).fit(source, val=source)
    held = torch.optim.SGD(nn.Linear(2, 1).parameters(), lr=0.1)
    with pytest.raises(ConfigError, match="mode='max'"):
        TrainOptions(scheduler=ReduceLROnPlateau(held))


def test_schedules_have_their_closed_forms():
    base, steps = 0.1, 20
    common = {"lr": base, "optimizer": "sgd"}
    assert rates(TrainOptions(**common), steps) == [base] * steps
    cosine = [base * 0.5 * (1 + math.cos(math.pi * t / steps)) for t in range(steps)]
    assert rates(TrainOptions(**common, scheduler="cosine"), steps) == pytest.approx(cosine)
    linear = [base * (1 - t / steps) for t in range(steps)]
    assert rates(TrainOptions(**common, scheduler="linear"), steps) == pytest.approx(linear)
    stairs = [base] * 10 + [base / 10] * 5 + [base / 100] * 5
    assert rates(TrainOptions(**common, scheduler="step"), steps) == pytest.approx(stairs)


@pytest.mark.parametrize("scheduler", [None, *sorted(set(SCHEDULERS) - {"onecycle"})])
@pytest.mark.parametrize("warmup", [4, 0.2])
def test_warmup_rises_linearly_to_the_base_rate(scheduler, warmup):
    seen = rates(TrainOptions(lr=1.0, scheduler=scheduler, warmup=warmup), 20)
    assert seen[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_onecycle_rises_falls_and_does_not_run_out(optimizer):
    seen = rates(TrainOptions(lr=1.0, scheduler="onecycle", optimizer=optimizer, warmup=5), 50)
    assert seen.index(max(seen)) == pytest.approx(5, abs=1)
    assert max(seen) == pytest.approx(1.0, rel=0.05)
    assert seen[-1] < 0.01


def test_every_group_keeps_its_ratio(make_net):
    options = TrainOptions(lr=0.1, task_lr={"a": 0.4}, scheduler="cosine")
    optimizer = build_optimizer(make_net(), options)
    scheduler = build_scheduler(optimizer, options, 10)
    for _ in range(7):
        optimizer.step()
        scheduler.step()
    shared, head = (group["lr"] for group in optimizer.param_groups)
    assert head / shared == pytest.approx(4.0)


def test_scheduler_factory_and_object():
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    own = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    assert build_scheduler(optimizer, TrainOptions(scheduler=own), 10) is own
    with pytest.raises(ConfigError, match="steps another optimizer"):
        build_scheduler(torch.optim.SGD(model.parameters(), lr=1.0), TrainOptions(scheduler=own), 10)
    seen = []

    def factory(optimizer, steps):
        seen.append(steps)
        return torch.optim.lr_scheduler.ConstantLR(optimizer)

    assert isinstance(
        build_scheduler(optimizer, TrainOptions(scheduler=factory), 10), torch.optim.lr_scheduler.ConstantLR
    )
    assert seen == [10]
    with pytest.raises(ConfigError, match="must return a torch LRScheduler, found int"):
        build_scheduler(optimizer, TrainOptions(scheduler=lambda optimizer, steps: 3), 10)


@pytest.mark.parametrize("size", [1e-25, 1.0, 1e25, 3e38])
def test_clipping_keeps_the_direction_whatever_the_size(size):
    """The square of the norm is beyond float32 from 2e19 on; the step must not become zero for that."""
    parameters = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(3))]
    parameters[0].grad, parameters[1].grad = torch.tensor([0.6, 0.0]) * size, torch.tensor([-0.8]) * size
    clip_by_norm(parameters, 0.5)
    expected = torch.tensor([0.6, 0.0, -0.8]) * min(size, 0.5)
    torch.testing.assert_close(torch.cat([p.grad for p in parameters[:2]]), expected, rtol=1e-5, atol=0.0)
    assert parameters[2].grad is None
