"""What training needs from the process around it: random state, threads, Ctrl-C, a progress bar, trackers."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from polytask.errors import ConfigError, require, unknown
from polytask.train.forward import random_state, set_random_state

if TYPE_CHECKING:
    from polytask.train.history import Row
    from polytask.train.options import TrainOptions

__all__ = [
    "Interrupted",
    "Interrupts",
    "Progress",
    "Tracking",
    "generators",
    "restore_generators",
    "seeded",
    "threads",
]


class Interrupted(KeyboardInterrupt):
    """Training was stopped by Ctrl-C, at the end of a step, after saving.

    Attributes:
        checkpoint: Where the run was saved; ``None`` when the trainer has no ``out=``.
    """

    def __init__(self, message: str, checkpoint: Path | None) -> None:
        super().__init__(message)
        self.checkpoint = checkpoint


class Interrupts:
    """Turns the first Ctrl-C into a flag that the loop looks at between steps; the second one acts at once.

    Attributes:
        requested: Whether Ctrl-C was pressed.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: Any = None

    def __enter__(self) -> Interrupts:
        # signals reach the main thread only; elsewhere whoever runs the thread decides
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        signal.signal(signal.SIGINT, signal.default_int_handler)


def generators() -> dict[str, Any]:
    """State of the global generators of Python, NumPy and PyTorch, as plain values and tensors."""
    name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002 - users' datasets may draw from it
    return {
        "torch": random_state(),
        "numpy": [str(name), torch.from_numpy(np.array(keys, dtype=np.int64)), position, has_gauss, float(cached)],
        "python": random.getstate(),
    }


def restore_generators(state: Mapping[str, Any]) -> None:
    """Restore what :func:`generators` gave."""
    name, keys, position, has_gauss, cached = state["numpy"]
    set_random_state(state["torch"])
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
    random.setstate(state["python"])


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Start all global generators from ``seed``, and put them back afterwards as if nothing had been drawn."""
    before = generators()
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed)
    try:
        yield
    finally:
        restore_generators(before)


@contextlib.contextmanager
def threads(number: int | None) -> Iterator[None]:
    """Use that many CPU threads in PyTorch, and the former number afterwards."""
    if number is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Progress:
    """A bar over the steps of all epochs, shown on a terminal only.

    Args:
        enabled: Whether it is wanted at all.
        epochs: Number of epochs.
        steps: Steps per epoch.
        done: Epochs that were finished before.
    """

    _PERIOD = 0.1  # seconds between updates: the eye needs no more, and an update costs as much as a small step

    def __init__(self, enabled: bool, epochs: int, steps: int, done: int = 0) -> None:
        self._bar: Any = None
        self._pending, self._shown = 0, 0.0
        if not enabled:
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        console = Console(stderr=True)
        if not console.is_terminal:
            return
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("training", total=epochs * steps, completed=done * steps, note="")

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, steps: int = 1) -> None:
        """Count batches; drawn at most ten times a second."""
        if self._bar is None:
            return
        self._pending += steps
        now = time.monotonic()
        if now - self._shown >= self._PERIOD:
            self._bar.advance(self._task, self._pending)
            self._pending, self._shown = 0, now

    def note(self, description: str, note: str) -> None:
        """Show the epoch and its outcome."""
        if self._bar is not None:
            self._bar.update(self._task, advance=self._pending, description=description, note=note)
            self._pending = 0


class Tracking:
    """Experiment trackers, through accelerate; none when the options name none.

    Args:
        accelerator: An ``accelerate.Accelerator`` made with these trackers.
        options: The run's options.
    """

    PACKAGES: ClassVar[dict[str, str]] = {"tensorboard": "tensorboard", "mlflow": "mlflow"}

    def __init__(self, accelerator: Any, options: TrainOptions) -> None:
        self._accelerator = accelerator if options.trackers else None
        self._options = options

    def __enter__(self) -> Tracking:
        if self._accelerator is not None:
            config = self._options.to_dict().items()
            plain = {name: v if isinstance(v, int | float) else str(v) for name, v in config if v is not None}
            self._accelerator.init_trackers("tracking", config=plain)
        return self

    def __exit__(self, *_: object) -> None:
        if self._accelerator is not None:
            for tracker in self._accelerator.trackers:
                tracker.finish()
            self._accelerator.trackers.clear()

    @classmethod
    def check(cls, names: Sequence[str]) -> None:
        """Refuse unknown or missing trackers before any training.

        Raises:
            ConfigError: An unknown name.
            MissingExtraError: Its package is not installed.
        """
        for name in names:
            if name not in cls.PACKAGES:
                raise ConfigError(unknown("tracker", name, cls.PACKAGES))
            require(cls.PACKAGES[name], "trackers", f"the tracker {name!r}")

    def log(self, rows: Sequence[Row]) -> None:
        """Send an epoch's numbers, named ``split/task/quantity``, or ``split/quantity`` where there is no task."""
        if self._accelerator is not None:
            values = {_name(row): row["value"] for row in rows}
            self._accelerator.log(values, step=rows[-1]["step"])


def _name(row: Row) -> str:
    pair = row["task"] if row["other"] is None else f"{row['task']}|{row['other']}"
    return "/".join(part for part in (row["split"], pair, row["quantity"]) if part)
