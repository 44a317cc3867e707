"""A run that was cut short and resumed equals one that was not, bit for bit."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from polytask.balance import Balancer
from polytask.data import MultiTaskLoader
from polytask.errors import CheckpointError
from polytask.tasks import Task
from polytask.train import Interrupted, Trainer

OPTIONS = {
    "epochs": 3,
    "batch_size": 16,
    "lr": 0.02,
    "scheduler": "cosine",
    "warmup": 3,
    "clip": 1.0,
    "progress": False,
}


class Cut(BaseException):
    """Stands for anything that ends the process."""


def start(net, tasks, method="equal", **options):
    return Trainer(net, tasks, method, **{**OPTIONS, **options})


def cut_after(trainer, steps):
    """Let the trainer take that many optimizer steps, and end it in the middle of the next one."""
    forward, calls = trainer._forward.losses, [0]
    window = trainer.options.accumulate * (2 if trainer.balancer.needs_after_step else 1)

    def counted(batch):
        calls[0] += 1
        if calls[0] > steps * window:
            raise Cut
        return forward(batch)

    trainer._forward.losses = counted


STATEFUL = ["uw", "dwa", "rlw", "famo", "pcgrad", "nash_mtl", "imtl_l"]
CASES = [
    *((method, 13, {}) for method in ("equal", "uw", "upgrad")),
    *((method, 9, {"checkpoint_every": 2}) for method in ("equal", "upgrad", *STATEFUL)),
    *((method, 3, {"checkpoint_every": 1}) for method in ("equal", "famo")),
]


@pytest.mark.parametrize(("method", "cut", "options"), CASES)
def test_resume_is_bit_for_bit(method, cut, options, make_net, make_source, tasks, bitwise, tmp_path):
    """Six steps an epoch: after 13 the last checkpoint is that of epoch 2; after 9 and 3 it is within an epoch."""
    train, val = make_source(missing=["b"]), make_source(seed=1)
    whole = start(make_net(dropout=0.3, norm=True), tasks, method)
    history = whole.fit(train, val)

    first = start(make_net(dropout=0.3, norm=True), tasks, method, out=tmp_path, **options)
    cut_after(first, cut)
    with pytest.raises(Cut):
        first.fit(train, val)

    torch.rand(7)  # whatever happened to the process in between
    again = start(make_net(seed=5, dropout=0.3, norm=True), tasks, method, out=tmp_path, **options)
    resumed = again.fit(train, val, resume=True)
    assert bitwise(again.model, whole.model)
    assert json.dumps(resumed.rows) == json.dumps(history.rows)
    assert again.balancer.state_dict() == whole.balancer.state_dict()
    assert (resumed.best_epoch, resumed.best_epochs) == (history.best_epoch, history.best_epochs)
    assert resumed.labels_seen == history.labels_seen
    assert len(resumed.epoch_seconds) == len(history.epoch_seconds)


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("mode", ["joint", "alternating"])
def test_sources_accumulation_and_held_weights_resume(mode, every, make_net, make_source, tasks, bitwise, tmp_path):
    from polytask.data import TensorSource

    def loader():
        one, two = make_source(96), make_source(64, seed=1)
        sources = {
            "x": TensorSource(one.inputs, {"a": one.targets["a"]}),
            "y": TensorSource(two.inputs, two.targets),
        }
        return MultiTaskLoader(sources, batch_size=16, mode=mode)

    def trainer(**options):
        balancer = Balancer("upgrad", tasks=tasks, every=every, announce=None)
        return start(make_net(), tasks, balancer, accumulate=2, epochs=3, **options)

    whole = trainer()
    history = whole.fit(loader())
    first = trainer(out=tmp_path, checkpoint_every=1)
    cut_after(first, 4)
    with pytest.raises(Cut):
        first.fit(loader())
    again = trainer(out=tmp_path, checkpoint_every=1)
    assert again.fit(loader(), resume=True).rows == history.rows
    assert bitwise(again.model, whole.model)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_resumes(precision, make_net, make_source, tasks, bitwise, tmp_path):
    whole = start(make_net(), tasks, "upgrad", precision=precision)
    history = whole.fit(make_source())
    first = start(make_net(), tasks, "upgrad", precision=precision, out=tmp_path)
    cut_after(first, 13)
    with pytest.raises(Cut):
        first.fit(make_source())
    again = start(make_net(seed=3), tasks, "upgrad", precision=precision, out=tmp_path)
    assert again.fit(make_source(), resume=True).rows == history.rows
    assert bitwise(again.model, whole.model)


def test_finished_runs_give_their_result_again(make_net, make_source, tasks, bitwise, tmp_path):
    source = make_source()
    one = start(make_net(), tasks, out=tmp_path)
    history = one.fit(source, source)
    two = start(make_net(seed=1), tasks, out=tmp_path)
    again = two.fit(source, source, resume="auto")
    assert again.to_dict() == history.to_dict()
    assert bitwise(one.model, two.model)


def test_early_stopped_runs_stay_stopped(make_net, make_source, tasks, bitwise, tmp_path):
    source, upside_down = make_source(), make_source(seed=1)
    upside_down.targets["a"].neg_()
    options = {"epochs": 9, "patience": 1, "stop": "a", "scheduler": None, "out": tmp_path}
    one = start(make_net(), tasks, **options)
    history = one.fit(source, upside_down)
    assert history.epochs < 9
    two = start(make_net(seed=1), tasks, **options)
    assert two.fit(source, upside_down, resume=True).to_dict() == history.to_dict()
    assert bitwise(one.model, two.model)


def test_more_epochs_continue_a_finished_run(make_net, make_source, tasks, bitwise, tmp_path):
    source = make_source()
    long = start(make_net(), tasks, scheduler=None, epochs=6)
    history = long.fit(source, source)
    start(make_net(), tasks, scheduler=None, epochs=2, out=tmp_path).fit(source, source)
    more = start(make_net(seed=1), tasks, scheduler=None, epochs=6, out=tmp_path)
    assert more.fit(source, source, resume=True).rows == history.rows
    assert bitwise(long.model, more.model)


def test_auto_starts_when_there_is_nothing(make_net, make_source, tasks, bitwise, tmp_path):
    source = make_source()
    auto, plain = start(make_net(), tasks, out=tmp_path / "new"), start(make_net(), tasks)
    auto.fit(source, resume="auto")
    plain.fit(source)
    assert bitwise(auto.model, plain.model)
    with pytest.raises(CheckpointError, match="there is no checkpoint at"):
        start(make_net(), tasks, out=tmp_path / "other").fit(source, resume=True)
    with pytest.raises(CheckpointError, match="out=, which was not given"):
        start(make_net(), tasks).fit(source, resume="auto")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": [Task("a")]}, "written with tasks a, b; this run has a"),
        ({"method": "upgrad"}, "written with method EW; this run has UPGrad"),
        ({"lr": 0.5}, r"other options \(lr: 0.02 there, 0.5 here\)"),
        ({"epochs": 9}, r"other options \(epochs: 3 there, 9 here\)"),  # a schedule depends on it
        ({"width": 1}, r"other model .*trunk.0.weight is \(16, 8\) there and \(17, 8\) here"),
        ({"rows": 80}, "sources"),
    ],
)
def test_checkpoints_of_other_runs_are_refused(changes, message, make_net, make_source, tasks, tmp_path):
    start(make_net(), tasks, out=tmp_path).fit(make_source())
    net = make_net(seed=1)
    if "width" in changes:
        net.trunk[0] = torch.nn.Linear(8, 17)
        net.heads = torch.nn.ModuleDict({"a": torch.nn.Linear(17, 1), "b": torch.nn.Linear(17, 1)})
    options = {key: changes[key] for key in ("lr", "epochs") if key in changes}
    other = start(net, changes.get("tasks", tasks), changes.get("method", "equal"), out=tmp_path, **options)
    with pytest.raises(CheckpointError, match=message):
        other.fit(make_source(changes.get("rows", 96)), resume=True)


def test_save_and_load_hand_over_the_best_parameters(make_net, make_source, tasks, bitwise, tmp_path):
    source, upside_down = make_source(), make_source(seed=1)
    upside_down.targets["a"].neg_()
    one = start(make_net(), tasks, "uw", out=tmp_path / "run")
    history = one.fit(source, upside_down)
    assert history.best_epoch < 3
    one.save(tmp_path / "kept")
    for path in (tmp_path / "kept", tmp_path / "run" / "checkpoint"):
        two = start(make_net(seed=1), tasks, "uw")
        two.load(path)
        assert bitwise(two.model, one.model)
        assert two.balancer.state_dict() == one.balancer.state_dict()
        assert two.history.rows == history.rows
    with pytest.raises(CheckpointError, match="nothing to go on with"):
        start(make_net(), tasks, "uw").fit(source, upside_down, resume=tmp_path / "kept")


@pytest.mark.parametrize("step", [4, 6, 17])
def test_interrupt_finishes_the_step_saves_and_says_how_to_go_on(
    step, make_net, make_source, tasks, bitwise, tmp_path, caplog
):
    source = make_source()
    whole = start(make_net(), tasks, "upgrad")
    history = whole.fit(source, source)
    first = start(make_net(), tasks, "upgrad", out=tmp_path)
    forward, calls = first._forward.losses, [0]

    def interrupting(batch):
        calls[0] += 1
        if calls[0] == step:
            os.kill(os.getpid(), signal.SIGINT)
        return forward(batch)

    first._forward.losses = interrupting
    with pytest.raises(KeyboardInterrupt, match="resume=True") as caught:
        first.fit(source, source)
    assert isinstance(caught.value, Interrupted)
    assert caught.value.checkpoint == tmp_path / "checkpoint"
    assert calls[0] == step
    assert "to go on" in caplog.text
    again = start(make_net(seed=4), tasks, "upgrad", out=tmp_path)
    assert again.fit(source, source, resume=True).rows == history.rows
    assert bitwise(again.model, whole.model)


def test_interrupt_without_a_place_says_so(make_net, make_source, tasks):
    trainer = start(make_net(), tasks, on_epoch=lambda history: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(Interrupted, match="nothing was saved"):
        trainer.fit(make_source())


SCRIPT = """
import sys
import torch
from torch import nn
from polytask.data import TensorSource
from polytask.tasks import Task
from polytask.train import Trainer

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.2))
        self.a, self.b = nn.Linear(16, 1), nn.Linear(16, 1)
    def forward(self, x):
        z = self.trunk(x)
        return {"a": self.a(z), "b": self.b(z)}

torch.manual_seed(0)
x = torch.randn(256, 8)
source = TensorSource(x, {"a": x[:, 0], "b": (x[:, 1] > 0).long()})
trainer = Trainer(Net(), [Task("a"), Task("b", "binary")], "upgrad", out=sys.argv[1], epochs=int(sys.argv[2]),
                  batch_size=16, checkpoint_every=3, progress=False)
history = trainer.fit(source, source, resume="auto")
torch.save({"model": trainer.model.state_dict(), "rows": history.rows}, sys.argv[3])
"""


@pytest.mark.slow
def test_killed_processes_resume_bit_for_bit(tmp_path):
    """SIGKILL at whatever instant the clock gives, several times over, also while a checkpoint is being written."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def run(out, result):
        return subprocess.Popen([sys.executable, script, tmp_path / out, "8", tmp_path / result], env=environment)

    assert run("whole", "whole.pt").wait(timeout=120) == 0
    killed = 0
    for pause in (0.0, 0.03, 0.1):
        process = run("cut", "cut.pt")
        seen = _meta(tmp_path / "cut")
        while process.poll() is None and _meta(tmp_path / "cut") == seen:
            time.sleep(0.005)
        time.sleep(pause)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += process.wait() == -signal.SIGKILL
    assert killed >= 2
    assert run("cut", "cut.pt").wait(timeout=120) == 0
    whole, cut = (torch.load(tmp_path / name, weights_only=True) for name in ("whole.pt", "cut.pt"))
    assert cut["rows"] == whole["rows"]
    assert all(torch.equal(value, cut["model"][name]) for name, value in whole["model"].items())
    assert sorted(entry.name for entry in Path(tmp_path / "cut").iterdir()) == ["checkpoint"]


def _meta(folder):
    try:
        return (folder / "checkpoint" / "meta.json").stat().st_mtime_ns
    except FileNotFoundError:
        return None
