"""A checkpoint: one directory, and in it one version that is there whole or not at all.

``meta.json`` is for people, tells mismatches, and names the files of the version with their checksums: ``model.*``
(parameters and buffers), ``best.*`` (those of the best epoch so far), ``state.*`` (optimizer, scheduler, method,
loader, random state; read with ``weights_only=True``, so that opening one runs no code) and ``history.*`` (one line per
number, which only grows).

Files get names of their own, are flushed to the disk, and are nothing until ``meta.json`` is replaced, in one step, by
one that names them. A process killed at any moment leaves either the old version or the new one; what no ``meta.json``
names is swept away by the next write. One process at a time writes; readers need no lock.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from polytask.errors import CheckpointError, DamagedError
from polytask.files import fingerprint, fitting, read_json
from polytask.folders import remove, set_aside
from polytask.remedies import afresh, worded
from polytask.train.identity import few
from polytask.version import __version__

__all__ = [
    "Checkpoint",
    "File",
    "Files",
    "Meta",
    "discard",
    "find",
    "is_free",
    "load_weights",
    "read",
    "read_meta",
    "weights",
]

FORMAT = 2
META = "meta.json"
COLUMNS = ("epoch", "step", "split", "task", "other", "quantity", "value")
OURS = re.compile(r"(model|best|state|history)(\.[0-9a-f]{16})?\.(safetensors|pt|jsonl)|\..*\.tmp")
LEGACY = (".previous", ".writing")  # siblings that format 1 used
_Line = tuple[int, int, str, str | None, str | None, str, float]


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The contents of a checkpoint.

    Attributes:
        meta: Plain JSON values: tasks, method, options, identity, epoch, step.
        model: Parameters and buffers by name.
        best: Those of the best epoch; ``None`` when the current ones are the best.
        state: Everything else, by component: nested plain values and tensors.
        history: What :meth:`~polytask.train.History.to_dict` gives.
    """

    meta: dict[str, Any]
    model: dict[str, Tensor]
    best: dict[str, Tensor] | None
    state: dict[str, Any]
    history: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class File:
    """A file of a version, and what it must hold."""

    name: str
    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        if not OURS.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no name of a checkpoint's file")


@dataclasses.dataclass
class Files:
    """The files of a version."""

    model: File
    state: File
    best: File | None = None
    history: File | None = None

    @property
    def names(self) -> set[str]:
        """What they are called."""
        return {file.name for file in (self.model, self.state, self.best, self.history) if file is not None}


@dataclasses.dataclass
class Meta:
    """What ``meta.json`` must look like; more keys are welcome."""

    format: int
    polytask: str = ""
    tasks: list[str] = dataclasses.field(default_factory=list)
    method: str = ""
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    identity: dict[str, Any] | None = None
    epoch: int = 0
    step: int = 0
    best_epoch: int | None = None
    files: Files | None = None


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
        *([f"missing there: {few(missing)}"] if missing else []),
        *([f"unknown here: {few(extra)}"] if extra else []),
        *([f"other shapes: {few(shapes, '; ')}"] if shapes else []),
    ]
    if found:
        raise CheckpointError(
            f"{where} was written for another model ({'; '.join(found)}); build the model with the same encoder, "
            f"heads and tasks, or {afresh()}"
        )
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(values[name])


def find(path: Path) -> Path | None:
    """Where the checkpoint ``path`` is: there, or under the second name that format 1 left after a kill, or nowhere."""
    for candidate in (path, path.with_name(path.name + LEGACY[0])):
        if (candidate / META).is_file():
            return candidate
    return None


def is_free(path: Path) -> bool:
    """Whether a checkpoint may be written to ``path``: there is one, or nothing but what a killed process left."""
    if not path.is_dir():
        return not (path.exists() or path.is_symlink())
    return (path / META).is_file() or all(OURS.fullmatch(file.name) for file in path.iterdir())


def discard(path: Path, *, aside: bool = False) -> Path | None:
    """Delete the checkpoint ``path`` with all that belongs to it, or rename what is there.

    Args:
        path: The directory; something else may be in its place.
        aside: Whether to rename it, so that somebody can look at it.

    Returns:
        The new name, if it was renamed.

    Raises:
        StorageError: It cannot be renamed.
    """
    new = set_aside(path) if aside and (path.exists() or path.is_symlink()) else None
    for suffix in ("", *LEGACY):
        remove(path.with_name(path.name + suffix))
    return new


def read(path: Path) -> Checkpoint:
    """Read the checkpoint at ``path``.

    Raises:
        CheckpointError: There is none, or it was written by a newer version.
        DamagedError: It is damaged: nothing in it can be trusted.
        StorageError: It cannot be read.
    """
    place = find(path)
    if place is None:
        raise CheckpointError(
            f"there is no checkpoint at {path}"
            + worded('; start without resume, or use resume="auto" to start afresh when there is none', "")
        )
    try:
        while True:
            meta, raw = _read_meta(place)
            try:
                return _contents(place, meta.files, raw)
            except FileNotFoundError as error:
                if read_meta(place) == meta:  # else a writer has replaced the version meanwhile
                    raise DamagedError(f"{error.filename} is missing") from error
    except FileNotFoundError as error:
        raise DamagedError(f"{path} is damaged or incomplete ({error.filename} is missing); {afresh()}") from error
    except DamagedError as error:
        raise DamagedError(f"{path} is damaged or incomplete ({error}); {afresh()}") from error


def read_meta(place: Path) -> Meta:
    """What the checkpoint in the directory ``place`` says of itself.

    Raises:
        FileNotFoundError: There is none.
        CheckpointError: It was written by a newer version.
        DamagedError: It is damaged.
    """
    return _read_meta(place)[0]


def _read_meta(place: Path) -> tuple[Meta, dict[str, Any]]:
    """What is checked, and all there is, from one reading: a writer may replace it at any time."""
    raw = read_json(place / META)
    meta: Meta = fitting(raw, Meta, place / META)
    if meta.format > FORMAT:
        raise CheckpointError(
            f"{place} has format {meta.format} of polytask {meta.polytask}; polytask {__version__} reads "
            f"formats up to {FORMAT}: install the newer version"
        )
    if meta.format > 1 and meta.files is None:
        raise DamagedError(f"{place / META} is damaged: files is missing")
    return meta, raw


def _contents(place: Path, files: Files | None, meta: dict[str, Any]) -> Checkpoint:
    """The files of a version, each checked against its checksum; format 1 has none."""
    if files is None:
        best = place / "best.safetensors"
        state = _load_state(place / "state.pt")
        loaded = _load(place / "model.safetensors"), _load(best) if best.exists() else None, state
        return Checkpoint(meta, *loaded, state.pop("history", {}))
    for file in (files.model, files.state, files.best, files.history):
        length = file.bytes if file is files.history and file is not None else None  # a killed process may have added
        if file is not None and fingerprint(place / file.name, length) != dataclasses.asdict(file):
            raise DamagedError(f"{place / file.name} is damaged: its contents do not fit its checksum")
    state = _load_state(place / files.state.name)
    history = state.pop("history")
    if files.history is not None:
        history["rows"] = _rows(place / files.history.name, files.history.bytes)
    return Checkpoint(
        meta,
        _load(place / files.model.name),
        None if files.best is None else _load(place / files.best.name),
        state,
        history,
    )


def _rows(path: Path, length: int) -> list[dict[str, Any]]:
    with path.open("rb") as file:
        lines = file.read(length).splitlines()
    found = fitting(b"[" + b",".join(lines) + b"]", list[_Line], path)
    return [dict(zip(COLUMNS, line, strict=True)) for line in found]


def _load(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError:
        raise
    except Exception as error:  # safetensors has errors of its own
        raise DamagedError(f"{path} is damaged: {type(error).__name__}: {error}") from error


def _load_state(path: Path) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # torch and pickle have errors of their own
        raise DamagedError(f"{path} is damaged: {type(error).__name__}: {error}") from error
    if not isinstance(state, dict):
        raise DamagedError(f"{path} is damaged: it holds {type(state).__name__}, not a mapping")
    return state
