"""Writing checkpoints: what has changed, and then, in one step, the file that names it."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, final

import torch
from safetensors.torch import save_file
from torch import Tensor

from polytask.errors import CheckpointError, DamagedError, PolytaskError
from polytask.files import append, create, write_json
from polytask.folders import locked, make_folder, remove
from polytask.train.checkpoint import (
    COLUMNS,
    FORMAT,
    LEGACY,
    META,
    OURS,
    Checkpoint,
    File,
    Files,
    discard,
    find,
    is_free,
    read,
    read_meta,
)

__all__ = ["Store", "opened", "starting_point", "write"]

logger = logging.getLogger("polytask")


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Store]:
    """The checkpoint at ``path``, for this process alone.

    Raises:
        StorageError: Another process works there, or the place cannot be written.
    """
    with locked(path.parent, f".{path.name}.lock"):
        yield Store(path)


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint to the directory ``path``, replacing the one that is there.

    Raises:
        CheckpointError: ``path`` is something else than a checkpoint.
        StorageError: The disk is full, the place is not writable, or another process works there. What was there before
            is still there.
    """
    with opened(path) as store:
        store.write(checkpoint)


@final
class Store:
    """One checkpoint that is written again and again; made by :func:`opened`.

    Args:
        path: Its directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files: Files | None = None  # what this process has written or read last
        self._best: Mapping[str, Tensor] | None = None
        self._rows, self._sum = 0, hashlib.sha256()

    def check(self) -> None:
        """Refuse a place that holds something else.

        Raises:
            CheckpointError: It does.
        """
        if not is_free(self.path):
            raise CheckpointError(f"{self.path} exists and is not a checkpoint; choose another place")

    def read(self) -> Checkpoint:
        """As :func:`read`; what is written next goes on from there.

        Raises:
            CheckpointError: As for :func:`read`.
        """
        found = read(self.path)
        files = read_meta(self.path).files if (self.path / META).is_file() else None
        if files is not None and files.history is not None:
            self._files, self._best, self._rows = files, found.best, len(found.history.get("rows", ()))
            with (self.path / files.history.name).open("rb") as file:
                self._sum = hashlib.sha256(file.read(files.history.bytes))
        return found

    def write(self, checkpoint: Checkpoint) -> None:
        """Replace the version that is there; what has not changed since is not written again.

        Raises:
            CheckpointError: The place holds something else.
            StorageError: It cannot be written; what was there before is intact.
        """
        self.check()
        make_folder(self.path)
        try:
            model = self._save("model", "safetensors", lambda path: save_file(checkpoint.model, path))
            history = dict(checkpoint.history)
            log = self._log(history.pop("rows", []))
            state = {**checkpoint.state, "history": history}
            files = Files(
                model,
                self._save("state", "pt", lambda path: _save_state(state, path)),
                self._kept(checkpoint, model),
                log,
            )
            meta = {"format": FORMAT, **checkpoint.meta, "files": dataclasses.asdict(files)}
            write_json(self.path / META, meta, sealed=True)
        except Exception:
            self._rows, self._files = 0, None  # the next history is written anew
            self._sweep()
            raise
        self._files, self._best = files, checkpoint.best
        self._sweep()
        for suffix in LEGACY:
            remove(self.path.with_name(self.path.name + suffix))

    def _kept(self, checkpoint: Checkpoint, model: File) -> File | None:
        """The file of the best parameters: the one from before, that of the current ones, or a new one."""
        best = checkpoint.best
        if best is None:
            return None
        if self._files is not None and self._files.best is not None and best is self._best:
            return self._files.best
        if best.keys() == checkpoint.model.keys() and all(torch.equal(best[k], checkpoint.model[k]) for k in best):
            return model
        return self._save("best", "safetensors", lambda path: save_file(best, path))

    def _log(self, rows: list[dict[str, Any]]) -> File:
        """Append the rows that are new to the file of the history, or begin one."""
        file = None if self._files is None else self._files.history
        if file is None or len(rows) < self._rows:
            file, self._rows, self._sum = File(_name("history", "jsonl"), 0, ""), 0, hashlib.sha256()
        new = "".join(json.dumps([row[column] for column in COLUMNS]) + "\n" for row in rows[self._rows :]).encode()
        append(self.path / file.name, new, file.bytes)
        self._sum.update(new)
        self._rows = len(rows)
        return File(file.name, file.bytes + len(new), self._sum.hexdigest())

    def _save(self, part: str, kind: str, save: Callable[[Path], None]) -> File:
        return File(**create(self.path / _name(part, kind), save))

    def _sweep(self) -> None:
        """Delete what the present version does not name: versions before it, and halves of one that did not come."""
        try:
            files = read_meta(self.path).files
        except (PolytaskError, FileNotFoundError):
            files = None
            if (self.path / META).exists():  # damaged: somebody may want to look at it
                return
        kept = {META} if files is None else {META, *files.names}
        for file in self.path.iterdir():
            if file.name not in kept and OURS.fullmatch(file.name):
                remove(file)
        with contextlib.suppress(OSError):
            self.path.rmdir()  # if nothing ever came


def starting_point(store: Store | None, resume: Literal["auto"] | bool | str | Path) -> tuple[Checkpoint, Path] | None:
    """The checkpoint a fit goes on from, and where it is; ``None`` for a fresh start.

    Args:
        store: Where the fit writes; ``None`` if it writes nothing.
        resume: As for :meth:`Trainer.fit <polytask.train.Trainer.fit>`.

    Raises:
        CheckpointError: There is none, it is damaged, or something else is in its place.
    """
    if resume is False:
        if store is not None:
            store.check()
        return None
    if not isinstance(resume, bool) and resume != "auto":
        return read(Path(resume)), Path(resume)
    if store is None:
        raise CheckpointError(f"resume={resume!r} looks for the checkpoint in out=, which was not given")
    if resume is True:
        return store.read(), store.path
    if find(store.path) is None:
        if is_free(store.path):
            return None
        problem = f"{store.path} is not a checkpoint"
    else:
        try:
            return store.read(), store.path
        except DamagedError as error:
            problem = str(error)
    logger.warning("%s: moved aside as %s, trained afresh", problem, discard(store.path, aside=True))
    return None


def _save_state(state: Mapping[str, Any], path: Path) -> None:
    with path.open("wb") as file:  # through Python, whose error of a full disk says so; torch's own does not
        torch.save(state, file)


def _name(part: str, kind: str) -> str:
    return f"{part}.{secrets.token_hex(8)}.{kind}"
