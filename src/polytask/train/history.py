"""What happened in training, epoch by epoch, as one tidy table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypedDict, final

if TYPE_CHECKING:
    import pandas as pd

    from polytask.train.evaluation import Evaluation
    from polytask.train.meter import EpochSummary
    from polytask.train.stopping import Verdict

__all__ = ["History", "Row"]

_COLUMNS = ("epoch", "step", "split", "task", "other", "quantity", "value")


class Row(TypedDict):
    """One number: epoch (from 1), optimizer steps taken, split, task (and other task of a pair), what it is."""

    epoch: int
    step: int
    split: str
    task: str | None
    other: str | None
    quantity: str
    value: float


@final
class History:
    """The record of a run.

    Attributes:
        rows: One number each, in the order they came. Quantities of split ``train``: ``loss`` (mean over labels),
            ``weight`` and ``share`` (method weight and effective share), ``norm`` and ``cosine`` (of the shared
            gradients, where the method looks at them; of more than 512 pairs of tasks, the 512 that pointed apart most
            in the epoch), ``labels`` (labels seen), ``skipped`` (steps without a task whose loss was not finite) per
            task; ``active`` (under a schedule: share of the steps in which a task counted) per task; ``extra`` (a loss
            that a part of the model adds by itself, under its name in the place of a task); ``conflicts`` (share of
            pairs of gradients that point apart), ``iterations`` (of the solver) and ``lr`` without or with a parameter
            group as task. Of split ``val``: ``loss``, ``labels``, every metric, and
            ``gain`` per task; ``score`` without a task. Wall-clock times are kept apart, so that rows of two equal runs
            are equal.
        best_epoch: The epoch with the best validation score (see :class:`~polytask.train.EarlyStopping` for the score
            in words); the last one without validation data.
        best_epochs: The epoch at which each task alone was best on validation.
        labels_seen: Labels each task was trained on, over all epochs.
        epoch_seconds: Wall-clock seconds of every epoch's training steps, without validation.
        val_seconds: Wall-clock seconds of every epoch's validation.
        peak_memory: Largest memory in use on the GPU, bytes; ``None`` on a CPU.
        stopped: Why training ended before its last epoch; empty if it did not.

    Examples:
        >>> history = History()
        >>> history.add(1, 10, "train", "age", "loss", 0.5)
        >>> history.value("loss", "age")
        0.5
    """

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.best_epoch: int | None = None
        self.best_epochs: dict[str, int] = {}
        self.labels_seen: dict[str, int] = {}
        self.epoch_seconds: list[float] = []
        self.val_seconds: list[float] = []
        self.peak_memory: int | None = None
        self.stopped: str = ""

    def __repr__(self) -> str:
        return f"History({self.epochs} epochs, best {self.best_epoch}, {self.seconds:.1f} s)"

    @property
    def epochs(self) -> int:
        """Number of epochs finished."""
        return self.rows[-1]["epoch"] if self.rows else 0

    @property
    def steps(self) -> int:
        """Number of optimizer steps taken."""
        return self.rows[-1]["step"] if self.rows else 0

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of training and validation."""
        return sum(self.epoch_seconds) + sum(self.val_seconds)

    @property
    def frame(self) -> pd.DataFrame:
        """The rows as a table with the columns epoch, step, split, task, other, quantity, value."""
        import pandas as pd

        return pd.DataFrame(self.rows, columns=list(_COLUMNS))

    def add(
        self, epoch: int, step: int, split: str, task: str | None, quantity: str, value: float, other: str | None = None
    ) -> None:
        """Append one number."""
        self.rows.append(
            {
                "epoch": epoch,
                "step": step,
                "split": split,
                "task": task,
                "other": other,
                "quantity": quantity,
                "value": float(value),
            }
        )

    def value(self, quantity: str, task: str | None = None, *, split: str = "train", epoch: int | None = None) -> float:
        """One number of one epoch (the last by default); NaN when there is none."""
        for row in reversed(self.rows):
            if (row["quantity"], row["task"], row["split"]) == (quantity, task, split) and epoch in (
                None,
                row["epoch"],
            ):
                return row["value"]
        return math.nan

    def curve(self, quantity: str, task: str | None = None, *, split: str = "train") -> pd.Series:
        """One quantity over epochs, indexed by epoch."""
        import pandas as pd

        points = {
            row["epoch"]: row["value"]
            for row in self.rows
            if (row["quantity"], row["task"], row["split"]) == (quantity, task, split) and row["other"] is None
        }
        return pd.Series(points, name=quantity, dtype=float).rename_axis("epoch")

    def cosines(self, epoch: int | None = None) -> pd.DataFrame:
        """Mean cosine between the tasks' shared gradients, tasks × tasks; over all epochs unless one is given.

        Empty when the method looked at losses only; NaN for pairs that were not recorded, and a mean over the epochs in
        which a pair was (see ``rows``).
        """
        import pandas as pd

        rows = [r for r in self.rows if r["quantity"] == "cosine" and epoch in (None, r["epoch"])]
        names = list(dict.fromkeys(str(name) for row in rows for name in (row["task"], row["other"])))
        table = pd.DataFrame(math.nan, index=names, columns=names)
        sums: dict[tuple[str, str], list[float]] = {}
        for row in rows:
            sums.setdefault((str(row["task"]), str(row["other"])), []).append(row["value"])
        for (a, b), values in sums.items():
            table.loc[a, b] = table.loc[b, a] = sum(values) / len(values)
        for name in names:
            table.loc[name, name] = 1.0
        return table

    def add_training(self, epoch: int, step: int, summary: EpochSummary, rates: Mapping[str | None, float]) -> None:
        """Append an epoch's training half."""
        for quantity, values in (
            ("loss", summary.losses),
            ("weight", summary.weights),
            ("share", summary.shares),
            ("norm", summary.norms),
            ("labels", summary.labels),
            ("skipped", summary.skipped),
            ("extra", summary.extra),
        ):
            for task, value in values.items():
                self.add(epoch, step, "train", task, quantity, value)
        for (a, b), value in summary.cosines.items():
            self.add(epoch, step, "train", a, "cosine", value, other=b)
        if summary.conflicts is not None:
            self.add(epoch, step, "train", None, "conflicts", summary.conflicts)
        self.add(epoch, step, "train", None, "iterations", summary.iterations)
        for group, rate in rates.items():
            self.add(epoch, step, "train", group, "lr", rate)
        for task, count in summary.labels.items():
            self.labels_seen[task] = self.labels_seen.get(task, 0) + count

    def add_validation(self, epoch: int, step: int, found: Evaluation, verdict: Verdict) -> None:
        """Append an epoch's validation half."""
        for task, count in found.counts.items():
            self.add(epoch, step, "val", task, "labels", count)
        for task, loss in found.losses.items():
            self.add(epoch, step, "val", task, "loss", loss)
        for task, metrics in found.metrics.items():
            for name, value in metrics.items():
                self.add(epoch, step, "val", task, name, value)
        for task, value in verdict.gains.items():
            self.add(epoch, step, "val", task, "gain", value)
        self.add(epoch, step, "val", None, "score", verdict.score)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and checkpoints."""
        return {name: list(value) if isinstance(value, list) else value for name, value in vars(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> History:
        """What :meth:`to_dict` gave."""
        history = cls()
        for name, value in values.items():
            setattr(history, name, value.copy() if isinstance(value, list | dict) else value)
        return history
