"""A bar over the trials of a study."""

from __future__ import annotations

from typing import Any

__all__ = ["Bar"]


class Bar:
    """Shows how many trials are done, on a terminal only.

    Args:
        enabled: Whether it is wanted at all.
        total: Trials in all.
        done: Trials finished before.
        epochs: Epochs of one trial.
    """

    def __init__(self, enabled: bool, total: int, done: int, epochs: int) -> None:
        self._bar: Any = None
        self._epochs = epochs
        if not enabled:
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.progress import TimeRemainingColumn as Remaining

        console = Console(stderr=True)
        if console.is_terminal:
            words = TextColumn("{task.description}")
            self._bar = Progress(
                words,
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                Remaining(),
                console=console,
                transient=True,
            )
            self._task = self._bar.add_task("trials", total=total, completed=done)

    def __enter__(self) -> Bar:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def epoch(self, name: str, epoch: int) -> None:
        """Show the epoch that a trial has reached."""
        if self._bar is not None:
            reached = f" · epoch {epoch}/{self._epochs}" if epoch else ""
            self._bar.update(self._task, description=f"{name.rpartition('-')[0]}{reached}")

    def finished(self, name: str, *, failed: str) -> None:
        """Count a trial, and say why if it has no result."""
        if self._bar is not None:
            if failed:
                self._bar.console.print(f"{name}: {failed}", style="red", highlight=False, markup=False)
            self._bar.advance(self._task)
