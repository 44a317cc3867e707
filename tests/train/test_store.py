"""The files of a checkpoint: what is written when, damage that is noticed, others who read, write or wrote before."""

import contextlib
import dataclasses
import json
import logging
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import save_file

from polytask.errors import CheckpointError, DamagedError, StorageError
from polytask.files import read_json, write_json
from polytask.train import Trainer
from polytask.train.checkpoint import COLUMNS, Checkpoint, find, read
from polytask.train.store import opened, write


def row(epoch, value=0.5):
    return dict(zip(COLUMNS, (epoch, 3 * epoch, "train", "a", None, "loss", value), strict=True))


def checkpoint_of(number, best=None):
    meta = {"polytask": "0", "tasks": ["a"], "method": "Equal", "options": {}, "number": number}
    history = {"rows": [row(epoch) for epoch in range(number)], "best_epoch": number}
    return Checkpoint(meta, {"w": torch.full((3,), float(number))}, best, {"numbers": [number]}, history)


def names(path):
    return {file.name.partition(".")[0]: file.name for file in path.iterdir()}


# ---------------------------------------------------------------------------------------------- what is written when


def test_history_is_appended_and_what_is_unchanged_is_kept(tmp_path):
    path = tmp_path / "c"
    best = {"w": torch.tensor([7.0])}
    with opened(path) as store:
        store.write(checkpoint_of(2, best))
        first = names(path)
        size = (path / first["history"]).stat().st_size
        store.write(checkpoint_of(3, best))
        second = names(path)
        assert (first["history"], first["best"]) == (second["history"], second["best"])
        assert first["model"] != second["model"]
        assert first["state"] != second["state"]
        assert (path / second["history"]).stat().st_size == size * 3 // 2
        store.write(checkpoint_of(1))  # another run: its history is not the continuation
        assert names(path)["history"] != second["history"]
        assert set(names(path)) == {"meta", "model", "state", "history"}
    assert read(path).history == checkpoint_of(1).history


def test_the_best_parameters_are_not_written_twice_when_they_are_the_current_ones(tmp_path):
    one = checkpoint_of(1)
    with opened(tmp_path / "c") as store:
        store.write(dataclasses.replace(one, best=one.model))
        assert set(names(tmp_path / "c")) == {"meta", "model", "state", "history"}
        store.write(dataclasses.replace(checkpoint_of(2), best=one.model))
        found = read(tmp_path / "c")
    assert found.best["w"].tolist() == [1.0] * 3
    assert found.model["w"].tolist() == [2.0] * 3


def test_the_state_does_not_grow_with_the_run(make_net, make_source, tasks, tmp_path):
    sizes = []

    def measure(history):
        sizes.append(max(file.stat().st_size for file in (tmp_path / "checkpoint").glob("state.*")))

    trainer = Trainer(make_net(), tasks, "upgrad", epochs=12, progress=False, out=tmp_path, on_epoch=measure)
    trainer.fit(make_source(), make_source(seed=1))
    assert sizes[-1] - sizes[1] < 12 * 2 * 20  # seconds of two clocks per epoch, and nothing else
    assert len(read(tmp_path / "checkpoint").history["rows"]) == len(trainer.history.rows)


def test_odd_numbers_come_back_as_they_were(tmp_path):
    values = [float("nan"), float("inf"), -0.0, 5e-324, 0.1 + 0.2, 1.7976931348623157e308]
    rows = [row(number, value) for number, value in enumerate(values)]
    rows[0]["task"] = 'ü "\u2028\n[x]'
    write(tmp_path / "c", dataclasses.replace(checkpoint_of(1), history={"rows": rows}))
    found = read(tmp_path / "c").history["rows"]
    assert json.dumps(found) == json.dumps(rows)


# ------------------------------------------------------------------------------------------------------------ damage


@pytest.mark.parametrize("part", ["meta", "model", "best", "state", "history"])
def test_one_flipped_bit_is_noticed_and_named(part, tmp_path):
    path = tmp_path / "c"
    write(path, checkpoint_of(3, {"w": torch.tensor([7.0])}))
    file = path / names(path)[part]
    content = file.read_bytes()
    whole = read(path)
    for place in range(0, len(content), max(1, len(content) // 60)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << (place % 8)
        file.write_bytes(damaged)
        if part == "meta":  # in JSON, a few bits mean nothing
            with contextlib.suppress(DamagedError):
                assert repr(read(path)) == repr(whole)
        else:
            with pytest.raises(DamagedError, match=rf"{file.name} is damaged.*start afresh: fit"):
                read(path)
    file.write_bytes(content)
    assert repr(read(path)) == repr(whole)


@pytest.mark.parametrize("part", ["model", "best", "state", "history"])
def test_a_missing_or_short_file_is_named(part, tmp_path):
    path = tmp_path / "c"
    write(path, checkpoint_of(3, {"w": torch.tensor([7.0])}))
    file = path / names(path)[part]
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DamagedError, match=rf"{file.name} is damaged: its contents do not fit"):
        read(path)
    file.unlink()
    with pytest.raises(DamagedError, match=f"{file.name} is missing"):
        read(path)


def test_meta_cannot_name_files_elsewhere(tmp_path):
    write(tmp_path / "c", checkpoint_of(1))
    meta = read_json(tmp_path / "c" / "meta.json")
    meta["files"]["model"]["name"] = "../model.safetensors"
    write_json(tmp_path / "c" / "meta.json", meta, sealed=True)
    with pytest.raises(DamagedError, match="is no name of a checkpoint's file"):
        read(tmp_path / "c")


def spoil_meta(place):
    (place / "meta.json").write_text((place / "meta.json").read_text().replace("epoch", "epoxh", 1))


def make_file(place):
    for file in place.iterdir():
        file.unlink()
    place.rmdir()
    place.write_text("a file")


SPOILS = {
    "no meta": lambda place: (place / "meta.json").unlink(),
    "empty meta": lambda place: (place / "meta.json").write_text(""),
    "list": lambda place: (place / "meta.json").write_text("[]"),
    "flipped bit": spoil_meta,
    "half a state": lambda place: next(place.glob("state.*")).write_bytes(b"half"),
    "no model": lambda place: next(place.glob("model.*")).unlink(),
    "a file": make_file,
    "a meta folder": lambda place: ((place / "meta.json").unlink(), (place / "meta.json").mkdir()),
    "somebody's": lambda place: ((place / "meta.json").unlink(), (place / "cat.jpg").touch()),
}


@pytest.mark.parametrize("spoil", SPOILS)
def test_auto_moves_damage_aside_and_trains_as_if_nothing_had_been(
    spoil, make_net, make_source, tasks, bitwise, tmp_path, caplog
):
    options = {"epochs": 2, "batch_size": 16, "progress": False}
    whole = Trainer(make_net(), tasks, "uw", **options)
    whole.fit(make_source())
    Trainer(make_net(), tasks, "uw", **options, out=tmp_path).fit(make_source())
    SPOILS[spoil](tmp_path / "checkpoint")
    again = Trainer(make_net(), tasks, "uw", **options, out=tmp_path)
    with caplog.at_level(logging.WARNING):
        history = again.fit(make_source(), resume="auto")
    assert bitwise(again.model, whole.model)
    assert history.rows == whole.history.rows
    left = sorted(entry.name for entry in tmp_path.iterdir())
    if spoil == "no meta":  # what nothing names is nothing
        assert left == ["checkpoint"]
    else:
        assert left == ["checkpoint", "checkpoint.unreadable"]
        assert "checkpoint.unreadable, trained afresh" in caplog.text


def test_something_else_in_its_place_is_refused_before_any_training(make_net, make_source, tasks, tmp_path):
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "cat.jpg").touch()
    epochs = []
    trainer = Trainer(make_net(), tasks, progress=False, out=tmp_path, on_epoch=epochs.append)
    with pytest.raises(CheckpointError, match="exists and is not a checkpoint"):
        trainer.fit(make_source())
    assert not epochs
    assert (tmp_path / "checkpoint" / "cat.jpg").exists()


@pytest.mark.parametrize("lost", ["balancer", "run"])
def test_a_state_that_lacks_something_is_damage_not_a_key_error(lost, make_net, make_source, tasks, tmp_path):
    options = {"epochs": 2, "batch_size": 16, "progress": False, "out": tmp_path}
    Trainer(make_net(), tasks, "uw", **options).fit(make_source())
    place = tmp_path / "checkpoint"
    found = read(place)
    write(place, dataclasses.replace(found, state={**found.state, lost: {}}))
    with pytest.raises(DamagedError, match=r"does not hold what this version of polytask needs .*start afresh: fit"):
        Trainer(make_net(), tasks, "uw", **options).fit(make_source(), resume=True)


# ---------------------------------------------------------------------------------------------------- earlier formats


def as_format_1(place):
    """Rewrite a checkpoint as the first versions of polytask wrote it."""
    found = read(place)
    for file in place.iterdir():
        file.unlink()
    save_file(found.model, place / "model.safetensors")
    if found.best is not None:
        save_file(found.best, place / "best.safetensors")
    torch.save({**found.state, "history": found.history}, place / "state.pt")
    meta = {key: value for key, value in found.meta.items() if key not in ("format", "files", "identity")}
    (place / "meta.json").write_text(json.dumps({"format": 1, **meta}, indent=1) + "\n")


@pytest.mark.parametrize("place", ["checkpoint", "checkpoint.previous"])
def test_format_1_is_gone_on_with_bit_for_bit(place, make_net, make_source, tasks, bitwise, tmp_path):
    """Also where a kill had left it under its second name."""
    options = {"batch_size": 16, "progress": False}
    source, val = make_source(), make_source(seed=1)
    whole = Trainer(make_net(dropout=0.3), tasks, "uw", epochs=4, **options)
    whole.fit(source, val)
    Trainer(make_net(dropout=0.3), tasks, "uw", epochs=2, **options, out=tmp_path).fit(source, val)
    as_format_1(tmp_path / "checkpoint")
    (tmp_path / "checkpoint").rename(tmp_path / place)
    assert find(tmp_path / "checkpoint") == tmp_path / place
    again = Trainer(make_net(seed=1, dropout=0.3), tasks, "uw", epochs=4, **options, out=tmp_path)
    assert again.fit(source, val, resume="auto").rows == whole.history.rows
    assert bitwise(again.model, whole.model)
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint"]
    files = {file.name for file in (tmp_path / "checkpoint").iterdir()}
    assert not {"model.safetensors", "best.safetensors", "state.pt"} & files


def test_a_checkpoint_that_keeps_no_identity_is_refused_where_one_is_known(make_net, make_source, tasks, tmp_path):
    options = {"epochs": 1, "progress": False, "out": tmp_path}
    Trainer(make_net(), tasks, **options).fit(make_source())
    as_format_1(tmp_path / "checkpoint")
    known = Trainer(make_net(), tasks, **options, identity={"fingerprint": "a"})
    with pytest.raises(CheckpointError, match=r"keeps no record of the data.*start afresh: fit"):
        known.fit(make_source(), resume="auto")


# ----------------------------------------------------------------------------------------------------------- identity


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"fingerprint": "b"}, "fingerprint of the data and their split: 'a' there, 'b' here"),
        ({"tasks": [{"name": "a", "weight": 3.0}]}, r"tasks\.a\.weight: 1\.0 there, 3\.0 here"),
        ({"method_options": {"lr": 0.5}}, r"method_options\.lr: 0\.1 there, 0\.5 here"),
        ({"method_options": {}}, r"method_options\.lr: 0\.1 there, None here"),
        ({"seed": True}, "seed: 1 there, True here"),
    ],
)
def test_a_run_of_another_identity_is_refused_and_says_what_differs(
    changed, words, make_net, make_source, tasks, tmp_path
):
    identity = {
        "fingerprint": "a",
        "tasks": [{"name": "a", "weight": 1.0}],
        "method_options": {"lr": 0.1},
        "seed": 1,
        "pair": (1, 2),
    }
    options = {"epochs": 1, "progress": False, "out": tmp_path}
    Trainer(make_net(), tasks, **options, identity=identity).fit(make_source())
    Trainer(make_net(), tasks, **options, identity=identity).fit(make_source(), resume=True)
    before = (tmp_path / "checkpoint" / "meta.json").read_bytes()
    other = Trainer(make_net(), tasks, **options, identity={**identity, **changed})
    for resume in (True, "auto", tmp_path / "checkpoint"):
        with pytest.raises(CheckpointError, match=rf"belongs to another run \({words}\).*start afresh: fit"):
            other.fit(make_source(), resume=resume)
    assert (tmp_path / "checkpoint" / "meta.json").read_bytes() == before
    other.fit(make_source())


# ------------------------------------------------------------------------------------------------------------- others


def test_two_trainers_cannot_use_one_folder(make_net, make_source, tasks, bitwise, tmp_path):
    options = {"epochs": 2, "progress": False, "out": tmp_path}
    refused = []

    def second(history):
        with pytest.raises(StorageError, match="another process is working in"):
            Trainer(make_net(seed=1), tasks, **options).fit(make_source(seed=3), resume="auto")
        with pytest.raises(StorageError, match="another process is working in"):
            Trainer(make_net(seed=1), tasks).save(tmp_path / "checkpoint")
        refused.append(history.epochs)

    one = Trainer(make_net(), tasks, **options, on_epoch=second)
    one.fit(make_source())
    assert refused == [1, 2]
    two = Trainer(make_net(seed=1), tasks, **options)
    two.fit(make_source(), resume=True)
    assert bitwise(one.model, two.model)


def test_saving_to_its_own_place_during_a_fit_is_no_conflict(make_net, make_source, tasks, tmp_path):
    trainer = Trainer(
        make_net(), tasks, epochs=2, progress=False, out=tmp_path,
        on_epoch=lambda history: (trainer.save(tmp_path / "checkpoint"), trainer.save(tmp_path / "copy")),
    )  # fmt: skip
    trainer.fit(make_source())
    rows = read(tmp_path / "checkpoint").history["rows"]
    assert rows == read(tmp_path / "copy").history["rows"] == trainer.history.rows


WRITER = """
import itertools, pathlib, sys
import torch
from polytask.train.checkpoint import Checkpoint
from polytask.train.store import opened
meta = {"polytask": "0", "tasks": ["a"], "method": "Equal", "options": {}}
rows = []
with opened(pathlib.Path(sys.argv[1])) as store:
    for number in itertools.count():
        row = {"epoch": 1, "step": 1, "split": "x", "task": None, "other": None, "quantity": "q", "value": 1.0}
        rows.append(row)
        store.write(Checkpoint({**meta, "number": number}, {"w": torch.full((30,), float(number))},
                               {"w": torch.full((30,), float(number // 3))}, {"number": number}, {"rows": rows}))
"""


def consistent(found):
    number = found.meta["number"]
    return (
        found.state["number"] == number
        and found.model["w"].tolist() == [float(number)] * 30
        and found.best["w"].tolist() == [float(number // 3)] * 30
        and len(found.history["rows"]) == number + 1
    )


@pytest.mark.slow
def test_readers_see_whole_versions_while_a_process_writes_and_after_it_is_killed(tmp_path):
    for attempt in range(3):
        path = tmp_path / str(attempt)
        process = subprocess.Popen([sys.executable, "-c", WRITER, path], env={**os.environ, "OMP_NUM_THREADS": "1"})
        while find(path) is None:
            time.sleep(0.01)
        seen = set()
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            found = read(path)
            assert consistent(found)
            seen.add(found.meta["number"])
        assert len(seen) > 5
        with pytest.raises(StorageError, match=f"another process is working in .*process {process.pid} "):
            write(path, checkpoint_of(1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert consistent(read(path))
        write(path, checkpoint_of(1))
        assert set(names(path)) == {"meta", "model", "state", "history"}
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["0", "1", "2"]


def test_links_in_a_checkpoint_are_not_written_through(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path = tmp_path / "c"
    write(path, checkpoint_of(1))
    for name in ("meta.json", "model.safetensors", names(path)["history"]):
        (path / name).unlink(missing_ok=True)
        (path / name).symlink_to(victim)
    (tmp_path / ".c.lock").symlink_to(victim)
    with pytest.raises(StorageError, match="symbolic link"):
        write(path, checkpoint_of(2))
    (tmp_path / ".c.lock").unlink()
    write(path, checkpoint_of(2))
    assert victim.read_text() == "precious"
    assert read(path).meta["number"] == 2


def test_a_full_disk_stops_the_run_in_words_and_keeps_the_version_before(
    make_net, make_source, tasks, small_disk, bitwise
):
    options = {"epochs": 2, "batch_size": 16, "progress": False, "out": small_disk / "run"}
    filler = small_disk / "filler"

    def fill(history):
        if history.epochs == 1:
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(b"0" * 65536)

    trainer = Trainer(make_net(), tasks, "uw", **options, on_epoch=fill)
    with pytest.raises(StorageError, match=r"could not be written: the disk is full"):
        trainer.fit(make_source())
    place = small_disk / "run" / "checkpoint"
    assert read(place).meta["epoch"] == 1
    assert set(names(place)) == {"meta", "model", "state", "history"}
    filler.unlink()
    again = Trainer(make_net(seed=1), tasks, "uw", **options)
    again.fit(make_source(), resume=True)
    whole = Trainer(make_net(), tasks, "uw", **{**options, "out": None})
    whole.fit(make_source())
    assert bitwise(again.model, whole.model)
    assert [entry.name for entry in (small_disk / "run").iterdir()] == ["checkpoint"]


def test_a_read_only_place_is_refused_before_any_training(make_net, make_source, tasks, small_disk):
    epochs = []
    trainer = Trainer(make_net(), tasks, progress=False, out=small_disk / "run", on_epoch=epochs.append)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StorageError, match="the place is read-only"):
        trainer.fit(make_source())
    assert not epochs
