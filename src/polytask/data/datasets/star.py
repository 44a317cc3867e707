"""STAR: eight test scores over four school years, about half of them missing."""

from __future__ import annotations

import pandas as pd

from polytask.data.columns import Column
from polytask.data.datasets.rtables import r_table
from polytask.data.multitask import MultiTaskData
from polytask.data.split import split_rows
from polytask.data.table import assemble

__all__ = ["star"]

_GRADES = ("k", "1", "2", "3")
_SCORES = tuple(f"{subject}{grade}" for subject in ("read", "math") for grade in _GRADES)
_CATEGORIES = ("star", "lunch", "school", "degree", "ladder", "tethnicity")


def star(*, val: float = 0.2, test: float = 0.2, seed: int = 0) -> MultiTaskData:
    """Reading and mathematics scores of 11,598 children, from kindergarten to third grade: eight regressions.

    Children joined and left the study, so that each score is missing for 43 to 50 % of them: partial labels are the
    rule. Inputs, known without any test: gender, ethnicity, date of birth (quarter), and for each grade the class type
    (small, regular, regular with aide; missing: not in the study), free lunch, school type, and the teacher's degree,
    career ladder, experience and ethnicity. School and system ids are left out, and no score is an input to another.

    Args:
        val: Share of the children to select by.
        test: Share of the children to judge by.
        seed: Seed of the split.

    Returns:
        Tasks ``readk``, ``read1``, …, ``math3`` in scaled points; children without any score are dropped.

    Raises:
        MissingExtraError: The ``data`` extra is not installed.

    Reference:
        Project STAR, Tennessee, 1985-89; C. Kleiber and A. Zeileis, "Applied Econometrics with R", 2008 (package AER).
    """
    frame = r_table("AER", "STAR")
    rows = len(frame)
    quarter = frame["birth"].astype("str").str.extract(r"^(\d{4}) Q([1-4])$").astype(float)
    frame["birth"] = quarter[0] + (quarter[1] - 1) / 4
    frame = frame[frame[list(_SCORES)].notna().any(axis=1)]
    columns = [Column("gender", "categorical"), Column("ethnicity", "categorical"), Column("birth", "numeric")]
    for grade in _GRADES:
        columns += [Column(f"{name}{grade}", "categorical") for name in _CATEGORIES]
        columns.append(Column(f"experience{grade}", "numeric"))
    ids = [f"{name}{grade}" for name in ("system", "schoolid") for grade in _GRADES]
    columns += [Column(name, "dropped", "an id") for name in ids]
    return assemble(
        "star",
        pd.DataFrame(frame),
        dict.fromkeys(_SCORES, "regression"),
        columns,
        split_rows(len(frame), val=val, test=test, seed=seed),
        units=dict.fromkeys(_SCORES, "points"),
        notes=[
            "Project STAR (R package AER): test scores over four grades, about half missing.",
            f"{rows - len(frame)} of {rows} children have no score at all and were dropped.",
            f"Split by children, seed {seed}.",
        ],
        advise=False,
        details={"rows": rows, "rows_without_label": rows - len(frame)},
    )
