"""The outcome of a study: every number in one tidy frame, and what follows from it."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

from polytask.errors import DamagedError, TrialError
from polytask.files import encode, fitting, read_json, write_atomically, write_json
from polytask.share.stored import has_model
from polytask.study.outcome.answers import Kept, read_answers
from polytask.study.outcome.numbers import Numbers
from polytask.study.outcome.protocol import Protocol, TaskInfo
from polytask.study.outcome.results import SCHEMA, TrialResult
from polytask.study.outcome.text import fixed_table, rich_table
from polytask.study.outcome.verdict import judge
from polytask.version import __version__

__all__ = ["Comparison", "Protocol", "TaskInfo"]

RESULTS = "results.json"


@final
class Comparison(Numbers):
    """Methods side by side on the same data, split, budget and seeds.

    Every gain is relative to the reference of the same seed: the ``baseline`` that was asked for, else the single-task
    networks (``stl``), else the first method. Intervals are 95 % Student-t intervals over the paired seeds; they say
    how much the result depends on initialisation and order of rows (for estimators: on the folds), not how much it
    would change with other rows.

    Args:
        protocol: How the numbers came about.
        trials: One result per model trained.
        out: Folder of the study, if it has one.

    Attributes:
        protocol: As given.
        trials: As given, failed ones included.
        out: As given.
    """

    def __init__(self, protocol: Protocol, trials: Sequence[TrialResult], out: Path | None = None) -> None:
        super().__init__(protocol, trials)
        self.out = out

    @property
    def best(self) -> Path | None:
        """Folder of the best model, for :func:`polytask.load`; ``None`` where none was kept."""
        folder = None if self.out is None else self.out / "best"
        return folder if folder is not None and has_model(folder) else None

    @functools.cached_property
    def answers(self) -> Kept:
        """What was kept of the answers on test rows, by task, method and seed; nothing without a folder.

        Studies of earlier versions kept none.
        """
        if self.out is None:
            return {}
        found = {}
        for trial in self.trials:
            for task, answers in read_answers(self.out / "trials" / trial.id).items():
                found[task, trial.method, trial.seed] = answers
        return found

    def table(self) -> Any:
        """The results as a ``rich.table.Table``."""
        return rich_table(self)

    def __str__(self) -> str:
        return fixed_table(self)

    def __repr__(self) -> str:
        return f"Comparison({self.protocol.name!r}, methods={list(self.methods)}, seeds={list(self.protocol.seeds)})"

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain values: what ``results.json`` holds."""
        verdict = judge(self)
        summary = self.summary.reset_index().to_dict(orient="records")
        return {
            "schema": SCHEMA,
            "protocol": dataclasses.asdict(self.protocol),
            "verdict": dataclasses.asdict(verdict),
            "summary": summary,
            "negative_transfer": self.negative_transfer.to_dict(orient="records"),
            "trials": [trial.to_dict() for trial in self.trials],
        }

    def to_json(self, path: str | Path) -> Path:
        """Write ``results.json``, atomically.

        Args:
            path: File to write, or a folder to write ``results.json`` in.

        Raises:
            StorageError: The file cannot be written.
        """
        path = Path(path)
        path = path if path.suffix == ".json" else path / RESULTS
        write_json(path, self.to_dict(), sealed=True)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Comparison:
        """Read what :meth:`to_json` wrote.

        Args:
            path: The file, or the folder of the study.

        Raises:
            TrialError: There is no such file, or it is not a study of this format.
            DamagedError: It is damaged.
            StorageError: It cannot be read.
        """
        path = Path(path)
        path = path / RESULTS if path.is_dir() else path
        try:
            raw = read_json(path)
            if not isinstance(raw, dict) or not {"schema", "protocol", "trials"} & set(raw):
                raise DamagedError(f"{path} is damaged: it holds nothing that a study writes")
            if raw.get("schema") != SCHEMA:
                raise TrialError(f"{path} has format {raw.get('schema')!r}; this version reads format {SCHEMA}")
            protocol: Protocol = fitting(raw.get("protocol"), Protocol, path)
            found = raw.get("trials")
            trials = [TrialResult.fitting(trial, path) for trial in (found if isinstance(found, list) else [None])]
            problem = protocol.problem() or _strangers(protocol, trials)
            if problem:
                raise DamagedError(f"{path} is damaged: {problem}")
        except FileNotFoundError:
            raise TrialError(f"there is no {path}; a study writes it when all its trials are done") from None
        except DamagedError as error:
            raise DamagedError(
                f"{path} is not the result of a study, or damaged ({error}); `polytask compare` with the same settings "
                "writes it anew from the trials that are finished"
            ) from error
        return cls(protocol, trials, path.parent)

    def report(self, path: str | Path, *, again: bool = True) -> Path:
        """Write the report: one file that needs nothing else.

        Args:
            path: File to write, whose ending says what it is: a page (``.html``), Markdown (``.md``) or a notebook
                (``.ipynb``); or a folder to write ``report.html`` in.
            again: Whether to draw it again where it is there already, made of the same results by the same version.

        Raises:
            TrialError: The file cannot be written.
        """
        path = Path(path)
        path = path if path.suffix in (".html", ".htm", ".md", ".ipynb") else path / "report.html"
        if again or not self._is_reported(path):
            from polytask.study.outcome.report import render  # brings matplotlib
            from polytask.study.outcome.written import markdown, notebook

            form = {".md": markdown, ".ipynb": notebook}.get(path.suffix, render)
            write_atomically(path, form(self, self.stamp, self.best, self.answers))
        return path

    @property
    def stamp(self) -> str:
        """A hash of what the report says and of polytask's version, which the report carries."""
        said = f"polytask {__version__}\n{encode(self.to_dict())}{self.best}"
        return hashlib.sha256(said.encode()).hexdigest()

    def _is_reported(self, path: Path) -> bool:
        try:
            with path.open(encoding="utf-8", errors="replace") as page:
                return self.stamp in page.read(400)
        except OSError:
            return False


def _strangers(protocol: Protocol, trials: Sequence[TrialResult]) -> str:
    """The first trial that is none of this study, in words; empty if there is none."""
    seen: set[tuple[str, int, str]] = set()
    for trial in trials:
        measured = {task for tasks in trial.metrics.values() for task in tasks}
        if (
            trial.method not in protocol.methods
            or trial.seed not in protocol.seeds
            or not {*trial.tasks, *measured} <= set(protocol.tasks)
        ):
            return f"trial {trial.id!r} is of another method, seed or task than the study"
        mine = {(trial.method, trial.seed, task) for task in measured}
        if mine & seen:
            return f"trial {trial.id!r} measures what another trial has measured"
        seen |= mine
    return "" if trials else "it holds no trials"
