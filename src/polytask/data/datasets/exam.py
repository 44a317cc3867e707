"""Exam: one task per school."""

from __future__ import annotations

import numpy as np

from polytask.data.columns import Column
from polytask.data.datasets.rtables import r_table
from polytask.data.multitask import MultiTaskData
from polytask.data.split import split_rows
from polytask.data.table import assemble

__all__ = ["exam"]


def exam(*, val: float = 0.2, test: float = 0.2, seed: int = 0) -> MultiTaskData:
    """Exam scores of 4,059 students in 65 London schools: 65 regressions, one per school, in long format.

    Each student has a label for their own school's task only. Inputs: reading test score and band at intake, verbal
    reasoning band, sex, and the school's gender, type and average intake score. The exam score is standardised over all
    schools, so all tasks share one scale.

    Args:
        val: Share of each school's students to select by.
        test: Share of each school's students to judge by.
        seed: Seed of the split.

    Returns:
        Tasks ``school1`` … ``school65``. Splits are drawn within schools, which have between 2 and 198 students:
        schools with fewer than three have no label in one of the splits, where their metrics are undefined.

    Raises:
        MissingExtraError: The ``data`` extra is not installed.

    Reference:
        H. Goldstein et al., "A multilevel analysis of school examination results", Oxford Review of Education 19, 1993
        (R package mlmRev).
    """
    frame = r_table("mlmRev", "Exam")
    schools = frame["school"].astype(int).to_numpy()
    numbers = np.unique(schools)
    scores = frame["normexam"].to_numpy(dtype=np.float64)
    for number in numbers:
        frame[f"school{number}"] = np.where(schools == number, scores, np.nan)
    parts: dict[str, list[np.ndarray]] = {"train": [], "val": [], "test": []}
    for number in numbers:
        rows = np.flatnonzero(schools == number)
        small = len(rows) < 3  # too few for three splits: learn from one, judge by the other
        within = split_rows(len(rows), val=0.0 if small else val, test=test, seed=seed + 1000 * int(number))
        for name, index in within.items():
            parts[name].append(rows[index])
    splits = {name: np.sort(np.concatenate(chunks)) for name, chunks in parts.items()}
    columns = [
        *(Column(name, "numeric") for name in ("standLRT", "schavg")),
        *(Column(name, "categorical") for name in ("intake", "vr", "sex", "schgend", "type")),
        Column("student", "dropped", "an id"),
    ]
    return assemble(
        "exam",
        frame,
        {f"school{number}": "regression" for number in numbers},
        columns,
        splits,
        notes=[
            "Exam scores in 65 London schools (R package mlmRev); each student counts for their own school's task.",
            f"Split by students within each school, seed {seed}.",
        ],
        advise=False,
        details={"students": {f"school{n}": int((schools == n).sum()) for n in numbers}},
        encoder="tabular:64,64",
        scale_targets=False,
    )
