import contextlib
import dataclasses
import os
import shutil
import time

import pytest
import torch
from torch import nn

from polytask.errors import CheckpointError
from polytask.files import read_json, write_json
from polytask.train import store as stores
from polytask.train.checkpoint import Checkpoint, find, load_weights, read, weights
from polytask.train.store import write


def checkpoint_of(number):
    meta = {"polytask": "0", "tasks": ["a"], "method": "Equal", "options": {}, "number": number}
    return Checkpoint(meta, {"w": torch.full((3,), float(number))}, None, {"numbers": [number]})


def number_at(path):
    found = read(path)
    assert found.model["w"][0] == found.state["numbers"][0] == found.meta["number"]
    return found.meta["number"]


def test_write_read_replace(tmp_path):
    path = tmp_path / "deep" / "checkpoint"
    for number in (1, 2):
        write(path, checkpoint_of(number))
        assert number_at(path) == number
    assert [entry.name for entry in path.parent.iterdir()] == ["checkpoint"]


@pytest.mark.parametrize("failing", ["save_file", "torch.save", "os.fsync", "os.replace"])
@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_failed_write_leaves_the_old_one(failing, nth, tmp_path, monkeypatch):
    path = tmp_path / "checkpoint"
    write(path, checkpoint_of(1))
    calls = []
    module, name = {
        "save_file": (stores, "save_file"),
        "torch.save": (torch, "save"),
        "os.fsync": (os, "fsync"),
        "os.replace": (os, "replace"),
    }[failing]
    real = getattr(module, name)

    def full(*args, **kwargs):
        calls.append(args)
        if len(calls) == nth:
            raise OSError(28, "No space left on device")
        return real(*args, **kwargs)

    monkeypatch.setattr(module, name, full)
    if nth <= {"save_file": 1, "torch.save": 1, "os.fsync": 4, "os.replace": 1}[failing]:
        with pytest.raises(CheckpointError, match=r"could not be written.*No space left"):
            write(path, checkpoint_of(2))
        monkeypatch.undo()
        assert number_at(path) == 1
        assert not (tmp_path / "checkpoint.writing").exists()
        write(path, checkpoint_of(3))
        assert number_at(path) == 3


@pytest.mark.parametrize("stop_before", range(1, 12))
def test_killed_at_any_system_call_leaves_a_whole_checkpoint(stop_before, tmp_path, monkeypatch):
    """A kill runs no clean-up: leave by an exception that nothing catches, at each call that touches the disk."""
    path = tmp_path / "checkpoint"
    write(path, checkpoint_of(1))

    class Killed(BaseException):
        pass

    calls = []
    for module, name in (
        (os, "fsync"),
        (os, "replace"),
        (torch, "save"),
        (stores, "save_file"),
        (shutil, "rmtree"),
    ):
        real = getattr(module, name)

        def counted(*args, _real=real, **kwargs):
            calls.append(args)
            if len(calls) >= stop_before:
                raise Killed
            return _real(*args, **kwargs)

        monkeypatch.setattr(module, name, counted)
    with contextlib.suppress(Killed):
        write(path, checkpoint_of(2))
    monkeypatch.undo()
    assert number_at(path) in (1, 2)
    write(path, checkpoint_of(3))
    assert number_at(path) == 3
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint"]


def test_missing_foreign_and_damaged_places_are_told_apart(tmp_path):
    assert find(tmp_path / "none") is None
    with pytest.raises(CheckpointError, match=r"there is no checkpoint at .*none"):
        read(tmp_path / "none")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        write(tmp_path / "photos", checkpoint_of(1))
    path = tmp_path / "checkpoint"
    write(path, checkpoint_of(1))
    next(path.glob("state.*")).write_bytes(b"half")
    with pytest.raises(CheckpointError, match="damaged or incomplete"):
        read(path)
    write(path, checkpoint_of(2))
    write_json(path / "meta.json", {**read_json(path / "meta.json"), "format": 99}, sealed=True)
    with pytest.raises(CheckpointError, match="has format 99"):
        read(path)


def test_state_runs_no_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "evil"),))

    path = tmp_path / "checkpoint"
    write(
        path, dataclasses.replace(checkpoint_of(1), state={"evil": Evil()})
    )  # in a checkpoint that is otherwise whole
    with pytest.raises(CheckpointError, match="damaged"):
        read(path)
    assert not (tmp_path / "evil").exists()


def test_weights_with_tied_tensors_round_trip(tmp_path):
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3))
    net[2].weight = net[0].weight
    write(tmp_path / "c", Checkpoint({}, weights(net), None, {}))
    other = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3))
    other[2].weight = other[0].weight
    load_weights(other, read(tmp_path / "c").model, "c")
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), other.state_dict().values(), strict=True))
    assert other[2].weight is other[0].weight


def test_other_models_are_refused_and_left_alone():
    saved = weights(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1)))
    for other, message in (
        (nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 1)), r"0.weight is \(4, 3\) there and \(5, 3\) here"),
        (nn.Sequential(nn.Linear(3, 4)), "unknown here: 1.weight, 1.bias"),
        (nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1), nn.Linear(1, 1)), "missing there: 2.weight, 2.bias"),
    ):
        before = weights(other)
        with pytest.raises(CheckpointError, match=message):
            load_weights(other, saved, "c")
        assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())


def test_writing_is_quick_enough_to_do_every_epoch(tmp_path):
    since = time.perf_counter()
    for number in range(5):
        write(tmp_path / "c", checkpoint_of(number))
    assert (time.perf_counter() - since) / 5 < 0.5
