import math

import pytest
import torch
from torch import nn

from polytask.errors import ConfigError
from polytask.train import OPTIMIZERS, SCHEDULERS, TrainOptions, build_optimizer, build_scheduler, parameter_groups


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
    assert [group["lr"] for group in made.param_groups] == [1e-3, 0.5]
    assert build_optimizer(net, TrainOptions(optimizer=made)) is made
    half = torch.optim.SGD(net.trunk.parameters(), lr=0.1)
    with pytest.raises(ConfigError, match=r"4 of the model's parameters \(heads.a.weight"):
        build_optimizer(net, TrainOptions(optimizer=half))
    with pytest.raises(ConfigError, match=r"'sgd' does not accept these options.*momentun"):
        build_optimizer(net, TrainOptions(optimizer="sgd", optimizer_options={"momentun": 0.9}))


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
