"""Training under a schedule: the tasks that do not count are absent, and everything of theirs stands still."""

import json
import math
from typing import final

import pytest
import torch

from polytask.balance import Balancer
from polytask.data import Batch, MultiTaskLoader
from polytask.errors import CheckpointError, ConfigError
from polytask.options import Whole, option
from polytask.schedule import Schedule, Standing, StopAndGo
from polytask.share import HardSharing, PopArt
from polytask.tasks import Task, TaskSet
from polytask.train import Trainer

from .test_resume import Cut, cut_after

OPTIONS = {"epochs": 3, "batch_size": 16, "lr": 0.02, "progress": False}


@final
class Turns(Schedule):
    """Task b counts in every ``every``-th step, or not at all after ``until`` validations."""

    every: int = option(2, Whole(1))
    until: int | None = option(None, Whole(0, optional=True))

    def fresh(self):
        return {"seen": []}

    def counts(self, step):
        over = self.until is not None and len(self.memory["b"]["seen"]) >= self.until
        return [name for name in self.tasks if name != "b" or (step % self.every == 0 and not over)]

    def follow(self, standing):
        for name, known in self.memory.items():
            known["seen"] = [*known["seen"], standing.values[name][0]]


@final
class AllEnd(Schedule):
    """Every task ends at the second validation."""

    needs_validation = True

    def fresh(self):
        return {"epochs": 0}

    def counts(self, step):
        return self.tasks

    def follow(self, standing):
        for known in self.memory.values():
            known["epochs"] += 1

    def retired(self):
        return [name for name, known in self.memory.items() if known["epochs"] >= 2]


@final
class Nobody(Schedule):
    """No task counts in odd steps."""

    def counts(self, step):
        return self.tasks if step % 2 == 0 else ()


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("method", ["equal", "dwa", "upgrad", "imtl_l"])
def test_it_is_the_hand_loop_that_leaves_the_task_out(method, optimizer, make_net, make_source, tasks):
    source, options = make_source(missing=["b"]), {"optimizer": optimizer, "weight_decay": 0.1}
    net, twin = make_net(), make_net()
    trainer = Trainer(net, tasks, method, schedule=Turns(every=3), **OPTIONS, **options)
    trainer.fit(source)

    balancer = Balancer(method, tasks=tasks, announce=None)
    made = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[optimizer]
    hand, loader = made(twin.parameters(), lr=0.02, weight_decay=0.1), MultiTaskLoader(source, batch_size=16, seed=0)
    balancer.prepare(twin(source.inputs[:2]))
    step = 0
    for epoch in range(3):
        loader.set_epoch(epoch)
        for batch in loader:
            (part,) = batch.parts
            wanted = ["a", "b"] if step % 3 == 0 else ["a"]
            hand.zero_grad()
            balancer.backward(tasks.losses(twin(part.inputs, wanted), part.targets, tasks=wanted))
            hand.step()
            step += 1
        balancer.end_epoch()
    for ours, theirs in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    ours, theirs = (b.method.state_dict() for b in (trainer.balancer, balancer))
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, rel=1e-5) if isinstance(value, dict) else ours[name] == value


@pytest.mark.parametrize("method", ["uw", "dwa", "famo", "upgrad", "gradnorm", "pcgrad"])
def test_all_that_belongs_to_an_absent_task_stands_still(method, make_net, make_source, tasks):
    """After its end, neither its head (under momentum and weight decay) nor what a method knows of it changes."""
    found, history = [], None
    for epochs in (2, 5):
        net = make_net()
        options = {"restore": "last", "optimizer": "adamw", "weight_decay": 0.1, "epochs": epochs}
        trainer = Trainer(net, tasks, method, schedule=Turns(every=1, until=2), **{**OPTIONS, **options})
        history = trainer.fit(make_source(), val=make_source(seed=1))
        state = trainer.balancer.method.state_dict()
        mine = {key: value["b"] for key, value in state.items() if isinstance(value, dict) and "b" in value}
        found.append((list(net.heads["b"].parameters()), mine, list(net.heads["a"].parameters())))
    assert all(torch.equal(one, other) for one, other in zip(found[0][0], found[1][0], strict=True))
    assert not any(torch.equal(one, other) for one, other in zip(found[0][2], found[1][2], strict=True))
    if method in ("dwa", "gradnorm"):  # which hold weights to a common sum
        return
    assert found[0][1] == found[1][1]
    assert [history.value("active", "b", epoch=epoch) for epoch in range(1, 6)] == [1, 1, 0, 0, 0]
    assert [history.value("labels", "b", epoch=epoch) for epoch in range(1, 6)] == [96, 96, 0, 0, 0]
    assert history.value("loss", "b", split="val", epoch=5) > 0  # it is still judged


@pytest.mark.parametrize("accumulation", ["exact", "per_micro_batch"])
def test_a_window_is_one_step(accumulation, make_net, make_source, tasks):
    options = {**OPTIONS, "accumulate": 3, "accumulation": accumulation}
    history = Trainer(make_net(), tasks, "upgrad", schedule=Turns(every=2), **options).fit(make_source())
    assert history.value("labels", "b", epoch=1) == 48  # of two windows of 48 rows, the first
    assert history.value("active", "b", epoch=1) == 0.5


@pytest.mark.parametrize("method", ["equal", "upgrad", "modo", "famo"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_every_way_of_stepping_knows_absent_tasks(method, precision, make_net, make_source, tasks):
    net = make_net()
    options = {**OPTIONS, "precision": precision, "epochs": 2}
    history = Trainer(net, tasks, method, schedule={"name": "turns", "every": 2}, **options).fit(make_source())
    assert all(torch.isfinite(p).all() for p in net.parameters())
    assert history.value("labels", "b") == 48


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    from polytask.schedule import SCHEDULES

    monkeypatch.setitem(SCHEDULES, "turns", Turns)


def test_steps_in_which_no_task_counts_change_nothing(make_net, make_source, tasks, bitwise):
    net = make_net()
    trainer = Trainer(net, tasks, "upgrad", schedule=Nobody(), **OPTIONS, scheduler="cosine")
    history = trainer.fit(make_source())
    assert history.steps == 9  # of 18
    assert history.epochs == 3
    assert history.value("active", "a") == 0.5


def test_features_seats_and_sources_under_a_schedule(make_source):
    tasks = TaskSet([Task("a"), Task("b")])
    source = make_source()
    source.targets["b"] = 100 + 10 * source.targets["b"].float()
    trunk = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.Tanh())
    head = PopArt(torch.nn.Linear(4, 1), 0.1, task="b")
    model = HardSharing(trunk, tasks, heads={"b": head}, seed=0)
    balancer = Balancer("upgrad", grads="features", announce=None)
    Trainer(model, tasks, balancer, schedule=Turns(every=1, until=0), **OPTIONS).fit(source, val=source)
    assert float(head.mass) == 0  # it has not seen a target
    Trainer(model, tasks, balancer, schedule=Turns(every=2), **OPTIONS).fit(source, val=source)
    assert float(head.mass) > 0


@pytest.mark.parametrize(("cut", "every"), [(13, None), (9, 2), (3, 1)])
@pytest.mark.parametrize("make", [lambda: Turns(every=3), lambda: StopAndGo(patience=0, improvement=10.0, every=4)])
def test_resume_is_bit_for_bit(make, cut, every, make_net, make_source, tasks, bitwise, tmp_path):
    train, val = make_source(missing=["b"]), make_source(seed=1)

    def start(seed=0, **options):
        return Trainer(make_net(seed=seed, dropout=0.3), tasks, "dwa", schedule=make(), **{**OPTIONS, **options})

    whole = start()
    history = whole.fit(train, val)
    first = start(out=tmp_path, checkpoint_every=every)
    cut_after(first, cut)
    with pytest.raises(Cut):
        first.fit(train, val)
    again = start(seed=5, out=tmp_path, checkpoint_every=every)
    resumed = again.fit(train, val, resume=True)
    assert bitwise(again.model, whole.model)
    assert json.dumps(resumed.rows) == json.dumps(history.rows)
    assert again.schedule.state_dict() == whole.schedule.state_dict()
    assert min(history.curve("active", "b")) < 1


@pytest.mark.parametrize(
    ("saved", "here", "message"),
    [
        (None, Turns(), r"was written under no schedule; this run has the schedule Turns\(every=2, until=None\)"),
        (Turns(every=3), None, r"the schedule Turns\(every=3, until=None\); this run has no schedule"),
        (Turns(), Turns(every=3), r"Turns\(every=2, until=None\); this run has the schedule Turns\(every=3"),
    ],
)
def test_a_run_under_another_schedule_is_not_gone_on_with(saved, here, message, make_net, make_source, tasks, tmp_path):
    source = make_source()
    Trainer(make_net(), tasks, schedule=saved, out=tmp_path, **OPTIONS).fit(source, val=source)
    with pytest.raises(CheckpointError, match=message):
        Trainer(make_net(), tasks, schedule=here, out=tmp_path, **{**OPTIONS, "epochs": 4}).fit(
            source, val=source, resume=True
        )


def test_a_second_fit_begins_the_schedule_anew(make_net, make_source, tasks, bitwise):
    source, nets = make_source(), (make_net(), make_net())
    trainer = Trainer(nets[0], tasks, schedule=Turns(until=1), **OPTIONS)
    first = trainer.fit(source, val=source).rows
    nets[0].load_state_dict(nets[1].state_dict())
    assert trainer.fit(source, val=source).rows == first


def test_training_ends_with_its_last_task_also_after_a_resume(make_net, make_source, tasks, tmp_path):
    source = make_source()
    trainer = Trainer(make_net(), tasks, schedule=AllEnd(), out=tmp_path, **{**OPTIONS, "epochs": 9})
    history = trainer.fit(source, val=source)
    assert (history.epochs, history.stopped) == (2, "the schedule has ended every task")
    again = Trainer(make_net(), tasks, schedule=AllEnd(), out=tmp_path, **{**OPTIONS, "epochs": 9})
    assert again.fit(source, val=source, resume=True).rows == history.rows


def test_what_waits_for_validations_wants_some(make_net, make_source, tasks):
    with pytest.raises(ConfigError, match="AllEnd decides after every validation: pass val="):
        Trainer(make_net(), tasks, schedule=AllEnd(), **OPTIONS).fit(make_source())
    with pytest.raises(ConfigError, match="did you mean 'stop_and_go'"):
        Trainer(make_net(), tasks, schedule="stop_and_gp")


def test_a_schedule_sees_what_was_measured(make_net, make_source, tasks):
    seen = []

    @final
    class Watching(Schedule):
        def counts(self, step):
            return self.tasks

        def follow(self, standing):
            seen.append(standing)

    train, val = make_source(), make_source(seed=1)
    history = Trainer(make_net(), tasks, schedule=Watching(), **OPTIONS).fit(train, val=val)
    assert [type(standing) for standing in seen] == [Standing] * 3
    for epoch, standing in enumerate(seen, start=1):
        for name, task in tasks.items():
            assert standing.train_losses[name] == history.value("loss", name, epoch=epoch)
            assert standing.val_losses[name] == history.value("loss", name, split="val", epoch=epoch)
            value = history.value(task.primary, name, split="val", epoch=epoch)
            assert standing.values[name] == (value, task.directions[task.primary])


def test_a_task_at_rest_is_no_reason_to_warn(make_net, make_source, tasks, caplog):
    source = make_source()
    with caplog.at_level("WARNING", logger="polytask"):
        Trainer(make_net(), tasks, schedule=Turns(until=0), **OPTIONS).fit(source, val=source)
    assert "had no labels" not in caplog.text


def test_only_takes_targets_and_no_rows(make_source):
    (batch,) = list(MultiTaskLoader(make_source(16), batch_size=16))
    assert isinstance(batch, Batch)
    assert batch.only(["a", "z"]).tasks == ("a",)
    assert batch.only([]).tasks == ()
    assert batch.only([]).size == batch.size == 16
    assert batch.tasks == ("a", "b")
    assert math.isfinite(float(batch.parts[0].targets["b"].sum()))
