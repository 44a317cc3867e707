import json
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from polytask.data import LeakageWarning, TableEncoder, read_table
from polytask.errors import DataError

N = 200


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "patient_id": rng.permutation(10_000)[:N],
            "age": rng.normal(50, 10, N).round(1),
            "dose": np.where(rng.random(N) < 0.2, np.nan, rng.gamma(2.0, size=N)),
            "city": rng.choice(["Ulm", "Bonn", None], N),
            "ward": rng.integers(0, 30, N),
            "note": [f"seen {i}" for i in range(N)],
            "pain": rng.normal(3, 2, N),
            "sick": rng.choice(["no", "yes"], N),
            "stage": rng.choice(["a", "b", "c"], N),
        }
    )
    frame.loc[rng.random(N) < 0.5, "pain"] = np.nan
    frame.loc[rng.random(N) < 0.3, ["sick", "stage"]] = None
    return frame


TARGETS = ["pain", "sick", "stage"]


def test_labels_reach_their_rows(frame):
    data = read_table(frame, TARGETS, seed=3)
    assert [(t.name, t.kind) for t in data.tasks.values()] == [
        ("pain", "regression"),
        ("sick", "binary"),
        ("stage", "multiclass"),
    ]
    labelled = frame[frame[TARGETS].notna().any(axis=1)]
    assert sum(len(s) for s in data.splits.values()) == len(labelled)
    assert data.details["rows_without_label"] == N - len(labelled) > 0
    assert f"{N - len(labelled)} of {N} rows have no label at all and were dropped." in data.notes
    # Rows are found again by their age, which is different almost everywhere.
    age = data.table.numeric[0]
    assert age.name == "age"
    for source in data.splits.values():
        values = source.inputs["numeric"][:, 0].double() * age.scale + age.mean
        for i, value in enumerate(values.tolist()):
            same = labelled[(labelled["age"] - value).abs() < 1e-3]
            pain = source.targets["pain"][i].item()
            assert any((np.isnan(p) and np.isnan(pain)) or abs(p - pain) < 1e-5 for p in same["pain"])
            sick = {0: "no", 1: "yes", -100: None}[source.targets["sick"][i].item()]
            assert any((s == sick) or (sick is None and pd.isna(s)) for s in same["sick"])


def test_counts_equal_pandas(frame):
    counts = read_table(frame, TARGETS).counts()
    assert counts.sum(axis=1).to_dict() == frame[TARGETS].notna().sum().to_dict()


def test_roles_and_drops(frame):
    data = read_table(frame, TARGETS, ignore=["ward"])
    assert data.details["roles"] == {
        "patient_id": "dropped",
        "age": "numeric",
        "dose": "numeric",
        "city": "categorical",
        "note": "dropped",
    }
    assert data.table.columns == ("age", "dose", "city")
    assert data.inputs.numeric == 3  # age, dose, dose missing
    assert data.inputs.cardinalities == (3,)
    assert "patient_id (an id: a different whole number in each row)" in data.notes
    forced = read_table(frame, TARGETS, kinds={"ward": "categorical", "stage": "multiclass", "patient_id": "numeric"})
    assert forced.table.columns == ("patient_id", "age", "dose", "city", "ward")


def poisoned(frame, data):
    """The table with absurd values in every row that is not in the training split."""
    mean, scale = data.table.numeric[0].mean, data.table.numeric[0].scale
    train = (data.train.inputs["numeric"][:, 0].double() * scale + mean).numpy()
    outside = ~np.array([np.abs(train - age).min() < 1e-3 for age in frame["age"]])
    assert 0.3 * N < outside.sum() < 0.6 * N
    bad = frame.copy()
    bad.loc[outside, "dose"] = 1e9
    bad.loc[outside, "city"] = [f"town {i}" for i in range(outside.sum())]
    bad.loc[outside & frame["pain"].notna(), "pain"] = -1e9
    return bad


def test_nothing_but_the_training_rows_is_fitted(frame):
    frame = frame.drop_duplicates("age")
    clean = read_table(frame, TARGETS)
    bad = read_table(poisoned(frame, clean), TARGETS)
    assert bad.table == clean.table
    assert bad.details["roles"] == clean.details["roles"]
    assert (bad.tasks["pain"].shift, bad.tasks["pain"].scale) == (clean.tasks["pain"].shift, clean.tasks["pain"].scale)
    for key, values in clean.train.inputs.items():
        assert torch.equal(values, bad.train.inputs[key])
    assert (bad.test.inputs["numeric"][:, 1] > 1e6).all()
    assert (bad.test.inputs["categorical"][:, 0] == 0).all()


def test_training_inputs_are_standardised(frame):
    data = read_table(frame, TARGETS, ignore=["ward"])
    values = data.train.inputs["numeric"].double()
    torch.testing.assert_close(values[:, :1].mean(0), torch.zeros(1).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(values[:, :1].std(0, correction=0), torch.ones(1).double(), atol=1e-5, rtol=0)
    assert data.test.inputs["numeric"][:, 0].mean().abs() > 1e-4
    known = data.train.targets["pain"][~data.train.targets["pain"].isnan()].double()
    assert data.tasks["pain"].shift == pytest.approx(known.mean().item(), rel=1e-5)
    assert data.tasks["pain"].scale == pytest.approx(known.std(correction=0).item(), rel=1e-5)


def test_file_and_frame_agree(frame, tmp_path):
    frame.to_csv(tmp_path / "clinic.csv", index=False)
    from_file = read_table(tmp_path / "clinic.csv", TARGETS)
    from_frame = read_table(frame, TARGETS)
    assert from_file.name == "clinic"
    assert from_file.table == from_frame.table
    assert from_file.train.digest() == from_frame.train.digest()
    pytest.importorskip("pyarrow")
    frame.to_parquet(tmp_path / "clinic.parquet")
    assert read_table(tmp_path / "clinic.parquet", TARGETS).fingerprint == from_file.fingerprint


def test_groups_stay_in_one_split_and_are_no_input(frame):
    data = read_table(frame, TARGETS, group="ward", kinds={"patient_id": "numeric"})
    assert "ward" not in data.table.columns
    column = data.table.numeric[0]
    assert column.name == "patient_id"
    ward = dict(zip(frame["patient_id"], frame["ward"], strict=True))
    wards = {}
    for split, source in data.splits.items():
        ids = (source.inputs["numeric"][:, 0].double() * column.scale + column.mean).round().long().tolist()
        wards[split] = {ward[i] for i in ids}
    assert wards["train"].isdisjoint(wards["val"] | wards["test"])
    assert wards["val"].isdisjoint(wards["test"])


def test_new_rows_are_encoded_as_in_training(frame):
    data = read_table(frame, TARGETS)
    encoder = TableEncoder.from_dict(json.loads(json.dumps(data.table.to_dict())))
    later = encoder.encode(frame.drop(columns=TARGETS).head(3))
    assert later["numeric"].shape == (3, data.inputs.numeric)
    assert (later["categorical"] < torch.tensor(data.inputs.cardinalities)).all()


def test_bad_values_outside_the_training_rows_are_found_too(frame):
    frame["dose"] = frame["dose"].astype(object)
    for row in range(0, N, 25):
        bad = frame.copy()
        bad.loc[row, "dose"] = "much"
        bad.loc[row, "pain"] = 1.0
        with pytest.raises(DataError, match=rf"column 'dose' holds numbers, but row {row + 1} holds 'much'"):
            read_table(bad, TARGETS)


@pytest.mark.parametrize(
    ("targets", "options", "message"),
    [
        (["pian"], {}, "unknown target 'pian'; did you mean 'pain'"),
        (["pain", "pain"], {}, "target 'pain' is named 2 times"),
        ([], {}, "name at least one target; columns are patient_id, age"),
        ("pain", {}, r"targets must be a list of column names, found the text 'pain'"),
        (["pain"], {"ignore": "age"}, r"ignore must be a list of column names, found the text 'age'"),
        (["pain"], {"ignore": ["agee"]}, "unknown column in ignore 'agee'; did you mean 'age'"),
        (["pain"], {"kinds": {"agee": "numeric"}}, "unknown column in kinds 'agee'; did you mean 'age'"),
        (["pain"], {"group": "wrd"}, "unknown group column 'wrd'; did you mean 'ward'"),
        (["pain"], {"ignore": ["pain"]}, "'pain' is both a target and ignored"),
        (["pain"], {"group": "pain"}, "'pain' is both a target and the group"),
        (["pain"], {"group": "city"}, r"group column 'city' has no value in row \d+"),
        (["pain"], {"val": 0.6, "test": 0.4}, r"val \+ test must be below 1"),
        (
            ["pain", "stage"],
            {"kinds": {"stage": "regression"}},
            "target 'stage' of kind 'regression': .*row .* holds '",
        ),
        (["note"], {}, "200 classes in 200 labelled rows"),
        (TARGETS, {"ignore": ["patient_id", "age", "dose", "city", "ward", "note"]}, "no input column is left"),
    ],
)
def test_wrong_requests_are_explained(frame, targets, options, message):
    with pytest.raises(DataError, match=message):
        read_table(frame, targets, **options)


def test_columns_named_by_numbers():
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 4)))
    data = read_table(frame, [3], ignore=[0], kinds={1: "numeric"})
    assert data.tasks.names == ("3",)
    assert data.table.columns == ("1", "2")
    with pytest.raises(DataError, match=r"unknown target '7'. Known: 0, 1, 2, 3"):
        read_table(frame, [7])


def test_empty_targets_and_tiny_tables(frame):
    with pytest.raises(DataError, match="target 'empty': all 200 labels are missing"):
        read_table(frame.assign(empty=np.nan), ["pain", "empty"])
    with pytest.raises(DataError, match="target 'flat' is constant: all 200 labels are 1"):
        read_table(frame.assign(flat=1), ["pain", "flat"])
    with pytest.raises(DataError, match=r"at least 3 rows .*found 2"):
        read_table(frame[frame["pain"].notna()].head(2), ["pain"])


def test_a_leak_warns_and_is_listed(frame):
    leaky = frame.assign(pain_copy=frame["pain"] * 2 + 1)
    with pytest.warns(LeakageWarning, match=r"column 'pain_copy' equals .* target 'pain'.*ignore=\['pain_copy'\]"):
        data = read_table(leaky, TARGETS)
    assert data.details["leakage"] == [
        {"column": "pain_copy", "target": "pain", "how": "equals (up to shift and scale)"}
    ]
    assert "Possible leakage: column 'pain_copy'" in data.notes
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said when the table was read, and not again by a study of many splits
        assert data.resplit(0).fingerprint == data.fingerprint
        assert "Possible leakage: column 'pain_copy'" in data.resplit(1).notes
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_table(leaky, TARGETS, ignore=["pain_copy"])


def test_a_class_without_training_rows_is_said():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=60), "y": ["a", "b", "c"] * 20})
    first = read_table(frame, ["y"])
    held = torch.cat([first.val.inputs["numeric"][:, 0], first.test.inputs["numeric"][:, 0]]).double()
    column = first.table.numeric[0]
    row = int(np.abs(frame["x"] - (held[0] * column.scale + column.mean).item()).argmin())
    frame.loc[row, "y"] = "d"
    data = read_table(frame, ["y"])
    assert data.tasks["y"].labels == ("a", "b", "c", "d")
    assert "target 'y': no training row of class 'd'" in data.details["surprises"]
