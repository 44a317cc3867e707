import json

import numpy as np
import pandas as pd
import pytest
import torch

from polytask.data import InputSpec, TableEncoder
from polytask.data.columns import Column
from polytask.errors import DataError

COLUMNS = [
    Column("age", "numeric"),
    Column("dose", "numeric"),
    Column("smoker", "boolean"),
    Column("seen", "date", format="ISO8601"),
    Column("city", "categorical"),
    Column("code", "categorical"),
    Column("note", "dropped"),
]


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "age": rng.normal(50, 10, 60),
            "dose": np.where(rng.random(60) < 0.3, np.nan, rng.normal(size=60)),
            "smoker": rng.random(60) < 0.5,
            "seen": [f"2020-{m:02d}-11" for m in rng.integers(1, 13, 60)],
            "city": rng.choice(["Ulm", "Bonn", "Kiel"], 60),
            "code": rng.choice([10.0, 9.0, np.nan], 60),
            "note": "?",
        }
    )


@pytest.fixture
def encoder(frame):
    return TableEncoder.fit(frame, COLUMNS)


def test_spec_and_names(encoder):
    assert encoder.columns == ("age", "dose", "smoker", "seen", "city", "code")
    assert encoder.features == ("age", "dose", "smoker", "seen", "dose missing")
    assert encoder.inputs == InputSpec("table", numeric=5, cardinalities=(4, 3))


def test_numbers_are_standardised_missing_ones_at_the_mean(frame, encoder):
    values = encoder.encode(frame)["numeric"].double()
    age = frame["age"].to_numpy()
    torch.testing.assert_close(values[:, 0], torch.tensor((age - age.mean()) / age.std()), atol=1e-6, rtol=1e-5)
    gap = torch.tensor(frame["dose"].isna().to_numpy())
    assert (values[gap, 1] == 0).all()
    torch.testing.assert_close(values[~gap, 1].mean().item(), 0.0, atol=1e-6, rtol=0)
    torch.testing.assert_close(values[~gap, 1].std(correction=0).item(), 1.0, atol=1e-6, rtol=0)
    assert torch.equal(values[:, 4], gap.double())
    assert sorted(set(values[:, 2].tolist())) == pytest.approx(
        sorted({(b - frame["smoker"].mean()) / frame["smoker"].std(ddof=0) for b in (0, 1)})
    )


def test_levels_are_codes_from_one_numbers_by_value(frame, encoder):
    assert [c.levels for c in encoder.categorical] == [("Bonn", "Kiel", "Ulm"), ("9", "10")]
    codes = encoder.encode(frame)["categorical"]
    expected = frame["city"].map({"Bonn": 1, "Kiel": 2, "Ulm": 3}).to_numpy()
    assert np.array_equal(codes[:, 0].numpy(), expected)
    assert np.array_equal(codes[:, 1].numpy(), frame["code"].map({9.0: 1, 10.0: 2}).fillna(0).to_numpy())


def test_unseen_and_missing_categories_are_zero_and_types_may_change(frame, encoder):
    later = frame.head(3).assign(city=["Rom", None, "Ulm"], code=[9, 10, 11], smoker=["true", "0", None])
    encoded = encoder.encode(later)
    assert encoded["categorical"].tolist() == [[0, 1], [0, 2], [3, 0]]
    smoker = next(c for c in encoder.numeric if c.name == "smoker")
    expected = [(1 - smoker.mean) / smoker.scale, (0 - smoker.mean) / smoker.scale, 0.0]
    assert encoded["numeric"][:, 2].tolist() == pytest.approx(expected)


def test_encoding_does_not_depend_on_the_other_rows(frame, encoder):
    whole = encoder.encode(frame)
    one = encoder.encode(frame.iloc[[17]])
    for key, values in whole.items():
        assert torch.equal(values[17:18], one[key])


def test_round_trip_through_json(frame, encoder):
    copy = TableEncoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    assert copy == encoder
    for key, values in encoder.encode(frame).items():
        assert torch.equal(copy.encode(frame)[key], values)


def test_a_constant_column_does_not_explode():
    frame = pd.DataFrame({"x": [0.1] * 9 + [np.nan]})  # the mean of ten times 0.1 is not 0.1 exactly
    encoder = TableEncoder.fit(frame, [Column("x", "numeric")])
    assert encoder.numeric[0].scale == 1.0
    assert encoder.encode(pd.DataFrame({"x": [0.1]}))["numeric"].abs().max() < 1e-6


def test_a_table_of_one_sort_still_has_both_tensors():
    encoder = TableEncoder.fit(pd.DataFrame({"x": [1.0, 2.0]}), [Column("x", "numeric")])
    encoded = encoder.encode(pd.DataFrame({"x": [1.0]}))
    assert encoded["categorical"].shape == (1, 0)
    assert encoded["categorical"].dtype == torch.long
    assert encoder.encode(pd.DataFrame({"x": []}))["numeric"].shape == (0, 1)


def test_later_tables_are_checked(frame, encoder):
    with pytest.raises(DataError, match="unknown column 'city'; did you mean 'citty'"):
        encoder.encode(frame.rename(columns={"city": "citty"}))
    with pytest.raises(DataError, match="column 'age' holds numbers, but row 1 holds 'old'"):
        encoder.encode(frame.head(1).assign(age="old"))
    with pytest.raises(DataError, match="column 'dose' holds inf in row 1"):
        encoder.encode(frame.head(1).assign(dose=np.inf))
    with pytest.raises(DataError, match="column 'smoker' holds true or false, but row 1 holds 'often'"):
        encoder.encode(frame.head(1).assign(smoker="often"))
    later = frame.head(1).assign(smoker="often").set_index(pd.Index([6]))
    with pytest.raises(DataError, match="row 7 holds 'often'"):
        encoder.encode(later)
    with pytest.raises(DataError, match="no input column is left"):
        TableEncoder.fit(frame, [Column("note", "dropped")])


def test_the_cycle_of_a_date_is_where_it_lies_in_it():
    """Noon is opposite to midnight, and every Thursday is where 1970 began."""
    stamps = pd.Series(pd.to_datetime(["1970-01-01T00:00", "1970-01-01T12:00", "1970-01-08T00:00", None]), name="at")
    encoder = TableEncoder.fit(stamps.to_frame(), [Column("at", "date", cycles=("week", "day"))])
    assert encoder.features == ("at", "at missing", "at week sin", "at week cos", "at day sin", "at day cos")
    found = encoder.encode(stamps.to_frame())["numeric"][:, 2:]
    turn = 2 * np.pi / 14
    expected = [[0, 1, 0, 1], [np.sin(turn), np.cos(turn), 0, -1], [0, 1, 0, 1], [0, 0, 0, 0]]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float32), atol=1e-6, rtol=0)
    assert TableEncoder.from_dict(json.loads(json.dumps(encoder.to_dict()))) == encoder


def test_rare_categories_are_one_with_the_unseen():
    rows = pd.DataFrame({"city": ["Ulm"] * 6 + ["Bonn"] * 5 + ["Kiel", "Jena"]})
    encoder = TableEncoder.fit(rows, [Column("city", "categorical", least=5)])
    assert (encoder.categorical[0].levels, encoder.categorical[0].rare) == (("Bonn", "Ulm"), 2)
    assert encoder.encode(rows)["categorical"][:, 0].tolist() == [2] * 6 + [1] * 5 + [0, 0]
    assert TableEncoder.from_dict(json.loads(json.dumps(encoder.to_dict()))) == encoder


def test_an_encoder_is_written_as_it_was_before_there_were_cycles_and_rare_categories(encoder):
    plain = encoder.to_dict()
    assert set(plain["numeric"][0]) == {"name", "role", "mean", "scale", "indicator", "format"}
    assert set(plain["categorical"][0]) == {"name", "levels"}
    assert TableEncoder.from_dict(plain) == encoder


def test_only_training_rows_are_fitted(frame):
    rows = np.arange(0, 60, 2)
    assert TableEncoder.fit(frame, COLUMNS, rows) == TableEncoder.fit(frame.iloc[rows], COLUMNS)
