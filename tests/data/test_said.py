"""Sentences of a kind, said once; a wide table on a page."""

import numpy as np
import pandas as pd

from polytask.data import inspect_table
from polytask.data.said import condensed


def test_few_sentences_are_left_as_they_are():
    few = ["column 'a' is empty", "column 'b' is empty", "column 'c' is empty", "rows are few"]
    assert condensed(few) == few
    assert condensed([]) == []


def test_many_of_a_kind_are_said_once_with_their_count():
    said = [f"column 'x{i}': {i} values are -200 (row {3 * i})" for i in range(1200)]
    assert condensed([*said, "else"]) == [
        "column 'x0': 0 values are -200 (row 0) (and 1,199 more like it: 'x1', 'x2', 'x3', 'x4', 'x5', 'x6', 'x7', …)",
        "else",
    ]
    lists = [f"of 90 rows {', '.join(f'{k} are {k!r}' for k in 'ab'[: 1 + i % 2])} in 'y{i}'" for i in range(8)]
    assert len(condensed(lists)) <= 2 + len(lists) // 2


def test_a_wide_table_prints_a_page():
    draw = np.random.default_rng(0)
    columns = {f"x{i}": draw.normal(size=120) for i in range(800)}
    columns |= {f"flat{i}": np.full(120, i) for i in range(150)}
    columns |= {f"text{i}": [f"t{i} {j}" for j in range(120)] for i in range(100)}
    columns |= {f"bad{i}": np.where(draw.random(120) < 0.1, -999.0, draw.normal(20, 3, 120)) for i in range(41)}
    frame = pd.DataFrame({**columns, "y": draw.normal(size=120), "z": draw.integers(0, 2, 120)})
    report = inspect_table(frame, ["y", "z"])
    assert frame.shape[1] == 1093
    assert len(report.surprises) >= 291  # programs get them all
    page = report.describe().splitlines()
    assert len(page) < 25
    assert all(len(line) < 400 for line in page)
    assert any(line.strip().startswith("841 numeric: x0, x1") for line in page)
    assert sum("flat" in line for line in page) <= 3
