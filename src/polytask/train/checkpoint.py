"""A checkpoint: one directory that is there whole or not at all.

It holds ``model.safetensors`` (parameters and buffers), ``best.safetensors`` (those of the best epoch so far, when that
is not the current one), ``state.pt`` (optimizer, scheduler, method, loader, random state, history; read with
``weights_only=True``, so that opening one runs no code) and ``meta.json`` (for people, and to recognise mismatches).

Writing goes to a sibling directory whose files are flushed to the disk before it is renamed into place. A process
killed at any moment leaves either the old checkpoint or the new one: in the instant between two renames the old one is
found under a second name.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from polytask.errors import CheckpointError
from polytask.version import __version__

__all__ = ["Checkpoint", "check_options", "check_owner", "find", "load_weights", "read", "weights", "write"]

FORMAT = 1
_NEW, _OLD = ".writing", ".previous"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The contents of a checkpoint.

    Attributes:
        meta: Plain JSON values: tasks, method, options, epoch, step.
        model: Parameters and buffers by name.
        best: Those of the best epoch; ``None`` when the current ones are the best.
        state: Everything else, by component: nested plain values and tensors.
    """

    meta: dict[str, Any]
    model: dict[str, Tensor]
    best: dict[str, Tensor] | None
    state: dict[str, Any]


def weights(model: nn.Module) -> dict[str, Tensor]:
    """A copy of all parameters and buffers on the CPU, by name; tied tensors are copied once per name."""
    return {
        name: value.detach().to("cpu", copy=True).contiguous()
        for name, value in model.state_dict().items()
        if isinstance(value, Tensor)
    }


def load_weights(model: nn.Module, values: Mapping[str, Tensor], where: str) -> None:
    """Write ``values`` into ``model``; nothing is changed unless every name and shape fits.

    Raises:
        CheckpointError: A tensor is missing, is too many or has another shape.
    """
    own = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    missing = [name for name in own if name not in values]
    extra = [name for name in values if name not in own]
    shapes = [
        f"{name} is {tuple(values[name].shape)} there and {tuple(own[name].shape)} here"
        for name in own
        if name in values and values[name].shape != own[name].shape
    ]
    found = [
        *([f"missing there: {_few(missing)}"] if missing else []),
        *([f"unknown here: {_few(extra)}"] if extra else []),
        *([f"other shapes: {_few(shapes, '; ')}"] if shapes else []),
    ]
    if found:
        raise CheckpointError(
            f"{where} was written for another model ({'; '.join(found)}); build the model with the same encoder, "
            "heads and "
            "tasks, or start without resume"
        )
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(values[name])


def check_owner(found: Checkpoint, tasks: Sequence[str], method: str, where: str) -> None:
    """Refuse a checkpoint of other tasks or another method.

    Raises:
        CheckpointError: Names differ.
    """
    saved = found.meta["tasks"]
    if set(saved) != set(tasks):
        raise CheckpointError(
            f"{where} was written with tasks {', '.join(saved)}; this run has {', '.join(tasks)}. Train the same "
            "tasks, "
            "or start without resume"
        )
    if found.meta["method"] != method:
        raise CheckpointError(
            f"{where} was written with method {found.meta['method']}; this run has {method}. Use the same method, or "
            "start without resume"
        )


def check_options(found: Checkpoint, options: Mapping[str, Any], free: Sequence[str], where: str) -> None:
    """Refuse a checkpoint whose further course would not be the one that was begun.

    Args:
        found: The checkpoint.
        options: This run's training options as plain values.
        free: Options that may differ.
        where: What to call the checkpoint.

    Raises:
        CheckpointError: Another option differs.
    """
    saved = found.meta["options"]
    differing = [
        f"{name}: {saved.get(name)!r} there, {value!r} here"
        for name, value in json.loads(json.dumps(options)).items()
        if name not in free and saved.get(name) != value
    ]
    if differing:
        raise CheckpointError(
            f"{where} was written with other options ({'; '.join(differing)}); resume with the same ones, or start "
            "without "
            f"resume. What may change here: {', '.join(free)}"
        )


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint to the directory ``path``, replacing the one that is there.

    Raises:
        CheckpointError: The disk is full, the place is not writable, or ``path`` is something else than a checkpoint.
            What was there before is still there.
    """
    new, old = _sibling(path, _NEW), _sibling(path, _OLD)
    if path.exists() and not (path / "meta.json").exists() and not (path.is_dir() and not any(path.iterdir())):
        raise CheckpointError(f"{path} exists and is not a checkpoint; choose another place")
    try:
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        save_file(checkpoint.model, new / "model.safetensors")
        if checkpoint.best is not None:
            save_file(checkpoint.best, new / "best.safetensors")
        torch.save(checkpoint.state, new / "state.pt")
        (new / "meta.json").write_text(json.dumps({"format": FORMAT, **checkpoint.meta}, indent=1) + "\n")
        for file in new.iterdir():
            _flush(file)
        _flush(new)
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
            os.replace(path, old)  # noqa: PTH105 - the two renames are the point
        os.replace(new, path)  # noqa: PTH105
        _flush(path.parent)
    except (OSError, RuntimeError) as error:
        shutil.rmtree(new, ignore_errors=True)
        if not path.exists() and old.exists():
            os.replace(old, path)  # noqa: PTH105
        raise CheckpointError(
            f"the checkpoint {path} could not be written ({error}); the one before it, if any, is intact. Free some "
            "space or "
            "choose another out= and resume"
        ) from error
    shutil.rmtree(old, ignore_errors=True)


def find(path: Path) -> Path | None:
    """Where the checkpoint ``path`` is: there, under its second name after a kill between two renames, or nowhere."""
    for candidate in (path, _sibling(path, _OLD)):
        if (candidate / "meta.json").is_file():
            return candidate
    return None


def read(path: Path) -> Checkpoint:
    """Read the checkpoint at ``path``.

    Raises:
        CheckpointError: There is none, it cannot be read, or it was written by a newer version.
    """
    place = find(path)
    if place is None:
        raise CheckpointError(
            f'there is no checkpoint at {path}; start without resume, or use resume="auto" to start afresh when there '
            "is none"
        )
    try:
        meta = json.loads((place / "meta.json").read_text())
        if meta["format"] > FORMAT:
            raise CheckpointError(
                f"{path} has format {meta['format']} of polytask {meta['polytask']}; polytask {__version__} "
                "reads "
                f"formats up to {FORMAT}: install the newer version"
            )
        best = place / "best.safetensors"
        return Checkpoint(
            meta,
            load_file(place / "model.safetensors"),
            load_file(best) if best.exists() else None,
            torch.load(place / "state.pt", map_location="cpu", weights_only=True),
        )
    except CheckpointError:
        raise
    except Exception as error:  # torch, safetensors and json each have errors of their own
        raise CheckpointError(
            f"{path} is damaged or incomplete ({type(error).__name__}: {error}); delete it and start again"
        ) from error


def _sibling(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _flush(path: Path) -> None:
    """Make sure that a file, or the names in a directory, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _few(names: list[str], separator: str = ", ") -> str:
    return separator.join(names[:3]) + (f"{separator}… ({len(names)} in all)" if len(names) > 3 else "")
