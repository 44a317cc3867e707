"""The house's own files: whole or not at all, never through a link, and damage is noticed."""

import contextlib
import dataclasses
import errno
import json
import math
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from polytask.errors import CheckpointError, DamagedError, PolytaskError, StorageError, TrialError
from polytask.files import (
    append,
    check_writable,
    create,
    fingerprint,
    read_bytes,
    read_json,
    write_atomically,
    write_json,
)
from polytask.folders import locked, make_folder, remove, set_aside, sweep


def save_state(path):
    with path.open("wb") as file:
        torch.save({"a": torch.zeros(1_000_000)}, file)


WRITERS = {
    "atomically": lambda place: write_atomically(place / "x", b"0" * 4_000_000),
    "json": lambda place: write_json(place / "x", {"a": ["0" * 4_000_000]}, sealed=True),
    "append": lambda place: append(place / "x", b"0" * 4_000_000, 3),
    "safetensors": lambda place: create(place / "y", lambda path: save_file({"a": torch.zeros(1_000_000)}, path)),
    "torch": lambda place: create(place / "y", save_state),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_named_with_its_path_and_nothing_is_left(writer, small_disk):
    (small_disk / "x").write_text("old")
    with pytest.raises(StorageError, match=rf"{small_disk}/[xy] could not be .*: the disk is full \(No space"):
        WRITERS[writer](small_disk)
    assert [path.name for path in small_disk.iterdir()] == ["x"]
    assert (small_disk / "x").read_text()[:3] == "old"


@pytest.mark.parametrize("writer", WRITERS)
def test_a_limit_of_file_size_is_named_too(writer, tmp_path):
    """Without any rights: a limit of the process' own, hit in the middle of a file."""
    (tmp_path / "x").write_text("old")
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_limited, args=(writer, tmp_path, sender))
    process.start()
    assert receiver.poll(60)
    assert "the file is larger than this place allows (File too large)" in receiver.recv()
    process.join()
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def _limited(writer, place, sender):
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    try:
        WRITERS[writer](place)
    except StorageError as error:
        sender.send(str(error))
    except BaseException as error:  # noqa: BLE001 - whatever it is, the test must hear of it
        sender.send(f"not named: {error!r}")


def test_a_read_only_place_is_named_before_anything_is_done(small_disk):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for act in (
        lambda: check_writable(small_disk / "x"),
        lambda: make_folder(small_disk / "new"),
        lambda: write_atomically(small_disk / "x", "text"),
        lambda: locked(small_disk).__enter__(),
    ):
        with pytest.raises(StorageError, match=r"read-only \(Read-only file system\).*make it writable or choose"):
            act()


def test_denied_and_misplaced_are_told_apart(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StorageError, match=r"file/new could not be written: its folder is a file"):
        make_folder(tmp_path / "file" / "new")
    with pytest.raises(StorageError, match=r"file could not be written: something else is in its place"):
        make_folder(tmp_path / "file")

    def denied(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(StorageError, match="permission denied"):
        write_atomically(tmp_path / "new", "text")


def test_what_has_nothing_to_do_with_the_disk_stays_what_it_is(tmp_path):
    def wrong(path):
        raise RuntimeError("tensors share memory")

    with pytest.raises(RuntimeError, match="share memory"):
        create(tmp_path / "x", wrong)
    assert not list(tmp_path.iterdir())


def test_storage_and_damage_are_what_callers_caught_before():
    for kind in (CheckpointError, TrialError, OSError, PolytaskError):
        assert issubclass(StorageError, kind)
    assert issubclass(DamagedError, CheckpointError)
    assert issubclass(DamagedError, TrialError)
    assert not issubclass(DamagedError, OSError)


# ------------------------------------------------------------------------------------------------------------ links


def test_links_are_replaced_or_refused_never_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "x.json").symlink_to(victim)
    write_json(folder / "x.json", {"a": 1})
    assert not (folder / "x.json").is_symlink()
    (folder / ".lock").symlink_to(victim)
    with pytest.raises(StorageError, match=r"\.lock could not be written: it is a symbolic link"), locked(folder):
        pass
    (folder / "log").symlink_to(victim)
    with pytest.raises(StorageError, match="symbolic link"):
        append(folder / "log", b"more", 0)
    with pytest.raises(StorageError, match="something else is in its place"):
        create(folder / "log", lambda path: path.write_text("more"))
    assert victim.read_text() == "precious"
    assert (folder / "log").is_symlink()


def test_a_lock_that_is_a_second_name_of_a_file_does_not_write_to_it(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / ".lock").hardlink_to(tmp_path / "victim")
    with locked(tmp_path):
        pass
    assert (tmp_path / "victim").read_text() == "precious"


def test_temporary_names_cannot_be_foreseen(tmp_path, monkeypatch):
    names = []
    real = os.open

    def spy(path, flags, *rest, **more):
        if str(path).endswith(".tmp"):
            names.append(Path(path).name)
            assert flags & os.O_EXCL
            assert flags & os.O_NOFOLLOW
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", spy)
    for _ in range(3):
        write_atomically(tmp_path / "x", "text")
    assert len(set(names)) == 3
    assert all(len(name) > 20 and str(os.getpid()) not in name.split(".") for name in names)


def test_removing_a_link_leaves_what_it_points_to(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "data")
    remove(tmp_path / "link")
    assert (tmp_path / "data" / "x").read_text() == "precious"
    assert not (tmp_path / "link").is_symlink()
    remove(tmp_path / "nothing")


# ------------------------------------------------------------------------------------------------------------ locks


def test_a_second_comer_is_told_who_works_there(tmp_path):
    with locked(tmp_path), pytest.raises(StorageError, match=f"another process is working in .*process {os.getpid()} "):
        locked(tmp_path).__enter__()
    with locked(tmp_path), locked(tmp_path, ".other"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_killed_process_lets_go(tmp_path):
    code = "import sys, time, pathlib; from polytask.folders import locked\n"
    code += "with locked(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    with pytest.raises(StorageError, match=f"process {process.pid}"):
        locked(tmp_path).__enter__()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with locked(tmp_path):
        pass


def test_many_processes_never_hold_one_lock_together(tmp_path):
    """Locks come and go quickly, so that deleting and making the file overlap."""
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_contend, args=(tmp_path,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert not list(tmp_path.iterdir())


def _contend(folder):
    until, held = time.monotonic() + 1.0, 0
    while time.monotonic() < until:
        try:
            with locked(folder):
                held += 1
                (folder / "alone").mkdir()  # fails if somebody else is inside
                (folder / "alone").rmdir()
        except StorageError as error:
            held += 0 if "another process" in str(error) else -1000
    os._exit(0 if held > 0 else 3)


# ------------------------------------------------------------------------------------------------------- whole files


@pytest.mark.parametrize("at", range(1, 8))
def test_killed_at_any_call_leaves_the_old_or_the_new(at, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    path = tmp_path / "x"
    write_atomically(path, "old")
    calls = []
    for name in ("open", "write", "fsync", "close", "replace", "unlink"):
        real = getattr(os, name)

        def counted(*args, _real=real, **kwargs):
            calls.append(args)
            if len(calls) >= at:
                raise Killed
            return _real(*args, **kwargs)

        monkeypatch.setattr(os, name, counted)
    with pytest.raises(Killed):
        write_atomically(path, "newer")
    monkeypatch.undo()
    assert path.read_text() in ("old", "newer")
    write_atomically(path, "newest")
    sweep(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


def test_append_cuts_off_what_was_never_committed(tmp_path):
    path = tmp_path / "log"
    append(path, b"one\n", 0)
    path.write_bytes(b"one\nhal")
    append(path, b"two\n", 4)
    assert path.read_bytes() == b"one\ntwo\n"
    assert fingerprint(path, 4)["sha256"] != fingerprint(path)["sha256"]
    assert fingerprint(path, 4)["bytes"] == 4


@dataclasses.dataclass
class Plan:
    name: str
    steps: int
    scores: dict[str, float]


def test_json_round_trip_and_every_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "x.json"
    value = {"name": "ü", "steps": 3, "scores": {"a": 0.1, "b": 2.5e-300}}
    write_json(path, value, sealed=True)
    assert read_json(path, Plan) == Plan(**value)
    assert read_json(path) == value
    content = path.read_bytes()
    for place in range(len(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[place] ^= 1 << bit
            path.write_bytes(damaged)
            found = None
            with contextlib.suppress(DamagedError):
                found = read_json(path, Plan)
            # else a difference that means the same, such as a space that became a tab
            assert found in (None, Plan(**value))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("9" * 5000, "is no JSON"),
        ("\x00", "is no JSON"),
        ('{"name": "a", "steps": "3", "scores": {}}', "steps"),
        ('{"name": "a", "steps": true, "scores": {}}', "steps"),
        ('{"name": "a", "steps": 3, "scores": [1]}', "scores"),
        ('{"name": "a", "steps": 3, "scores": {"a": "x"}}', "scores.a"),
        ('{"name": "a", "steps": 3}', "scores"),
        ("[1]", "it"),
        ('{"name": "a", "steps": 3, "scores": {}, "checksum": 5}', "checksum"),
    ],
)
def test_damage_is_named_with_its_path_and_place(text, words, tmp_path):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(DamagedError, match=f"{path} is damaged: .*{words}"):
        read_json(path, Plan)


def test_unsealed_files_of_earlier_versions_are_read(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps({"name": "a", "steps": 3, "scores": {"a": 1}}))
    assert read_json(tmp_path / "x.json", Plan).scores == {"a": 1.0}


def test_what_json_does_not_have_is_null(tmp_path):
    write_json(tmp_path / "x.json", {"a": math.inf, "b": (math.nan,)}, sealed=True)
    assert read_json(tmp_path / "x.json") == {"a": None, "b": [None]}


def test_missing_is_not_damaged_and_denied_is_neither(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "x.json")
    (tmp_path / "x.json").mkdir()
    with pytest.raises(DamagedError, match="it is not a file"):
        read_bytes(tmp_path / "x.json")

    def denied(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(StorageError, match="could not be read: permission denied"):
        read_json(tmp_path / "y.json")


def test_setting_aside_keeps_everything(tmp_path):
    for content in ("one", "two", "three"):
        (tmp_path / "x").write_text(content)
        set_aside(tmp_path / "x")
    (tmp_path / "x").mkdir()
    set_aside(tmp_path / "x")
    assert {path.name: path.read_text() for path in tmp_path.iterdir() if path.is_file()} == {
        "x.unreadable": "one",
        "x.unreadable.2": "two",
        "x.unreadable.3": "three",
    }
    assert (tmp_path / "x.unreadable.4").is_dir()
