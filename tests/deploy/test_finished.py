"""A finished model: the same answers to the last bit from disk, in another process, and in the tasks' own words."""

import dataclasses
import json
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

import polytask as pt
from polytask.data import InputSpec, MultiTaskData, TensorSource, load, read_table
from polytask.deploy import FinishedModel, PredictionWarning
from polytask.errors import CheckpointError, ConfigError, DataError, TaskError
from polytask.share import Blueprint
from polytask.tasks import Task, TaskSet
from tests.deploy import encoders
from tests.deploy.conftest import KINDS, image_data, make_rows, shaken

pytestmark = pytest.mark.filterwarnings("ignore::polytask.deploy.PredictionWarning")
EXACT = {"check_exact": True}


def test_every_kind_comes_back_to_the_last_bit_in_another_process(model, houses, tmp_path, elsewhere):
    new = make_rows(50, seed=9)
    before = model.predict(new)
    model.save(tmp_path / "run")
    loaded = pt.load(tmp_path / "run")
    pd.testing.assert_frame_equal(loaded.predict(new), before, **EXACT)
    pd.testing.assert_frame_equal(elsewhere(tmp_path / "run", new), before, **EXACT)
    assert loaded.tasks == model.tasks
    assert loaded.table == houses.table
    assert loaded.blueprint == model.blueprint


@pytest.mark.parametrize(
    ("data", "encoder"),
    [
        (image_data(), "mlp:8,4"),
        (image_data(), "cnn:4;width=6"),
        (image_data(), encoders.pooled),
        (image_data("vector", (5,)), "mlp:8;dropout=0.5"),
        (load("multidigits", n=100), None),
        (load("exam"), None),
        (load("star"), None) if "star" in pt.data.DATASETS else (image_data(), "mlp:3"),
    ],
    ids=["mlp", "cnn", "function", "vector", "multidigits", "exam", "star"],
)
def test_every_encoder_and_dataset_comes_back_to_the_last_bit(data, encoder, tmp_path, elsewhere):
    model = shaken(Blueprint.of(data, encoder=encoder))
    inputs = data.test.inputs
    model.save(tmp_path)
    if isinstance(inputs, torch.Tensor):
        before = model.predict(inputs)
        pd.testing.assert_frame_equal(pt.load(tmp_path).predict(inputs), before, **EXACT)
        pd.testing.assert_frame_equal(elsewhere(tmp_path, inputs.numpy()), before, **EXACT)
    else:
        before = model._outputs(inputs, data.tasks.names, 64)
        after = pt.load(tmp_path)._outputs(inputs, data.tasks.names, 64)
        assert all(torch.equal(before[name], after[name]) for name in data.tasks)


def test_answers_are_those_of_the_metrics(model, houses, rows):
    """The frame and ``Task.metric_inputs`` see the same point: labels, medians, rates, quantiles."""
    answers = model.predict(rows)
    with torch.no_grad():
        outputs = model.model(houses.table.encode(rows))
    for name, task in houses.tasks.items():
        decoded = task.decode(outputs[name].double())
        point = task.rule.point(decoded).numpy()
        if task.kind in ("regression", "count"):
            np.testing.assert_array_equal(answers[name], point)
        elif task.kind == "ordinal":
            assert answers[name].tolist() == [task.labels[k] for k in point]
        elif task.kind == "binary":
            assert answers[name].tolist() == [task.labels[int(p > 0.5)] for p in point]
            np.testing.assert_array_equal(answers["sold P(yes)"], point)
        elif task.kind == "multiclass":
            assert answers[name].tolist() == [task.labels[k] for k in point.argmax(1)]
            chances = answers[[f"size P({label})" for label in task.labels]]
            np.testing.assert_allclose(chances.sum(axis=1), 1, rtol=1e-12)
        else:
            np.testing.assert_array_equal(answers[["rent q0.1", "rent q0.5", "rent q0.9"]], point)
            np.testing.assert_array_equal(answers["rent"], answers["rent q0.5"])
    assert set(answers["grade"]) <= {"1", "2", "3", "4"}


def test_the_index_and_the_order_of_columns_are_the_users(model, rows):
    new = rows.head(5).set_axis(["e", "d", "c", "b", "a"])
    answers = model.predict(new[[*new.columns[::-1]]])
    assert answers.index.tolist() == ["e", "d", "c", "b", "a"]
    pd.testing.assert_frame_equal(answers.reset_index(drop=True), model.predict(rows.head(5)), **EXACT)


def test_no_rows_give_no_answers_with_the_same_columns(model, rows):
    none = model.predict(rows.head(0))
    assert none.columns.tolist() == model.predict(rows.head(1)).columns.tolist()
    assert len(none) == 0


def test_one_task_alone_and_an_unknown_one(model, rows):
    assert model.predict(rows, tasks="price").columns.tolist() == ["price"]
    assert model.predict(rows, tasks=["grade", "price"]).columns[0] == "grade"
    with pytest.raises(TaskError, match="did you mean 'price'"):
        model.predict(rows, tasks=["prise"])


def test_units_travel(rows):
    data = read_table(rows, ["price", "sold"], ignore=["rent"])
    tasks = TaskSet([dataclasses.replace(data.tasks["price"], unit="€"), data.tasks["sold"]])
    model = shaken(Blueprint.of(dataclasses.replace(data, tasks=tasks), encoder="tabular:4"))
    assert model.predict(rows).attrs["units"] == {"price": "€"}


def test_classes_without_names_are_numbers_and_infinite_outputs_have_no_class():
    model = shaken(Blueprint.of(image_data()))
    answers = model.predict(torch.rand(3, 1, 8, 8))
    assert answers.columns.tolist() == [
        *("digit", "digit P(0)", "digit P(1)", "digit P(2)"),
        *("marks dot", "marks bar", "marks P(dot)", "marks P(bar)"),
    ]
    assert answers["digit"].dtype.kind == "i"
    with torch.no_grad():
        model.model.heads["digit"].weight[:] = float("nan")
    with pytest.warns(PredictionWarning, match="3 of 3 predictions are not finite"):
        broken = model.predict(torch.rand(3, 1, 8, 8))
    assert broken["digit"].isna().all()
    assert broken["marks dot"].notna().all()


def test_a_loss_of_ones_own_is_not_needed_to_predict(tmp_path):
    def own(prediction, target):
        return (prediction - target).abs().mean()

    task = Task("mine", loss=own, classes=2)
    source = TensorSource(torch.rand(4, 3), {"mine": torch.rand(4, 2)})
    data = MultiTaskData("own", TaskSet([task]), source, source, source, InputSpec("vector", (3,)), "mlp:4")
    model = shaken(Blueprint.of(data))
    model.save(tmp_path)
    loaded = pt.load(tmp_path)
    x = torch.rand(4, 3)
    assert loaded.predict(x).columns.tolist() == ["mine 0", "mine 1"]
    pd.testing.assert_frame_equal(loaded.predict(x), model.predict(x), **EXACT)
    with pytest.raises(TaskError, match="own, which is code and not kept"):
        loaded.tasks["mine"].loss(torch.rand(4, 2), torch.rand(4, 2))


# ---- rows that are not as they were ---------------------------------------------------------------------------------


def faulty():
    """A later table with every fault that can be read in spite of it."""
    new = make_rows(4, seed=3).drop(columns=list(KINDS))
    new["x"] = [1.0, None, 50.0, 0.0]
    new["age"] = ["31", "32.5", None, "40"]
    new["place"] = ["South", "mars", None, "north"]
    new["garden"] = [1, 0, 1, 1]
    new["when"] = pd.to_datetime(["2020-02-01", "2020-03-01", None, "2021-01-01"])
    new["note"] = "?"
    return new


def told(frame):
    return {(remark["about"], remark["column"]): remark["count"] for remark in frame.attrs["remarks"]}


def test_every_fault_is_told_and_counted(model):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", PredictionWarning)
        answers = model.predict(faulty())
    assert told(answers) == {
        ("extra columns", ""): 1,
        ("missing values", "x"): 1,
        ("far off", "x"): 1,
        ("other type", "age"): 4,
        ("other type", "when"): 4,
        ("missing values", "when"): 1,
        ("unknown categories", "place"): 2,
        ("missing values", "place"): 1,
    }
    text = "\n".join(str(warning.message) for warning in said)
    assert "'South' (known: 'south')" in text
    assert "'mars'" in text
    assert "another unit?" in text
    assert len(said) == len(answers.attrs["remarks"])


def test_rows_as_in_training_say_nothing(model, rows):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answers = model.predict(rows)
    assert "remarks" not in answers.attrs


def test_faults_change_nothing_in_the_other_rows_and_columns(model):
    new = faulty()
    clean = new.drop(columns="note").astype({"garden": bool}).iloc[[3]]
    clean["age"] = 40.0
    clean["when"] = "01.01.2021"
    np.testing.assert_allclose(
        model.predict(new, tasks=["price", "rooms"]).iloc[[3]],
        model.predict(clean, tasks=["price", "rooms"]),
        rtol=1e-6,
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": ["1", "two", "3"]}, "row 2 holds 'two'"),
        ({"x": [1.0, np.inf, 0.0]}, "inf in row 2"),
        ({"x": [1.0, 1.0, 1e300]}, "1e\\+300 in row 3, beyond"),
        ({"x": pd.to_datetime(["2020-01-01"] * 3)}, "held numbers in the training table and holds dates"),
        ({"when": [20200101, 20200102, 20200103]}, "held dates in the training table and holds numbers"),
        ({"when": ["2020-01-01"] * 3}, "holds dates, but row 1 holds '2020-01-01'"),
        ({"garden": ["maybe", "True", "False"]}, "row 1 holds 'maybe'"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_cell(model, change, message):
    with pytest.raises(DataError, match=message):
        model.predict(make_rows(3).assign(**change))


def test_missing_columns_are_named_together_and_may_be_filled(model, rows):
    lacking = rows.drop(columns=["x", "place"]).rename(columns={"age": "Age"})
    with pytest.raises(DataError, match=r"3 of the 5 columns .* 'x', 'age', 'place'.*fill_missing"):
        model.predict(lacking)
    filled = model.predict(lacking, fill_missing=True)
    assert told(filled) == {
        ("extra columns", ""): 1,
        **{("missing column", name): len(rows) for name in ("x", "age", "place")},
    }
    as_gaps = model.predict(rows.assign(x=np.nan, age=np.nan, place=None))
    np.testing.assert_array_equal(filled["price"], as_gaps["price"])


def test_numbers_as_categories_are_found_whatever_their_type(rows):
    rows["zip"] = np.resize([1010, 1020, 1030], len(rows))
    data = read_table(rows[["x", "zip", "price"]], ["price"], kinds={"zip": "categorical"})
    model = shaken(Blueprint.of(data, encoder="tabular:4"))
    new = pd.DataFrame({"x": [0.0, 0.0, 0.0], "zip": [1010, 1020, 1030]})
    plain = model.predict(new)["price"]
    for other in ([1010.0, 1020.0, 1030.0], ["1010", "1020", "1030"], ["01010", "1020.0", "1030"]):
        np.testing.assert_array_equal(model.predict(new.assign(zip=other))["price"], plain)


def test_missing_values_of_the_training_table_are_missing_here(rows, tmp_path):
    rows.loc[::7, "x"] = -9
    data = read_table(rows, ["price"], missing_values=["-9"])
    model = shaken(Blueprint.of(data, encoder="tabular:4"))
    model.save(tmp_path / "run")
    new = rows.head(8)
    new.to_csv(tmp_path / "new.csv", index=False)
    loaded = pt.load(tmp_path / "run")
    expected = model.predict(new.assign(x=new["x"].mask(new["x"] == -9)))
    pd.testing.assert_frame_equal(loaded.predict(new), expected, **EXACT)
    pd.testing.assert_frame_equal(loaded.predict(tmp_path / "new.csv"), expected, **EXACT)


def test_numbers_are_read_as_people_wrote_them_in_the_training_table(rows, tmp_path):
    plain = rows[["x", "age", "price"]].round(3)
    path = tmp_path / "t.csv"
    plain.to_csv(path, index=False, sep=";", decimal=",")
    model = shaken(Blueprint.of(read_table(path, ["price"]), encoder="tabular:4"))
    model.save(tmp_path / "run")
    answers = pt.load(tmp_path / "run").predict(path)
    assert "remarks" not in answers.attrs
    pd.testing.assert_frame_equal(answers, model.predict(plain), check_exact=True)


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_files_give_what_the_frame_gives(model, rows, tmp_path, suffix):
    path = tmp_path / f"new.{suffix}"
    new = rows.drop(columns=list(KINDS)).head(20)
    if suffix == "csv":
        new.to_csv(path, index=False)
    elif suffix == "parquet":
        new.to_parquet(path)
    else:
        lines = [
            {key: None if value != value else value for key, value in row.items()} for row in new.to_dict("records")
        ]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    pd.testing.assert_frame_equal(model.predict(path), model.predict(new), **EXACT)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (torch.rand(3, 8, 8), r"shape \(N, 1, 8, 8\), found \(3, 8, 8\)"),
        (np.full((2, 1, 8, 8), np.nan), "row 1 holds a NaN"),
        (pd.DataFrame(np.zeros((2, 5))), "64 columns, found 5"),
        ([["a"]], "expected a tensor or an array, found list"),
    ],
)
def test_arrays_of_another_shape_are_refused(rows, message):
    with pytest.raises(DataError, match=message):
        shaken(Blueprint.of(image_data())).predict(rows)


def test_a_table_model_takes_no_array(model):
    with pytest.raises(DataError, match="expected a DataFrame with the columns 'x', 'age'"):
        model.predict(np.zeros((3, 5)))


# ---- encoders of one's own -------------------------------------------------------------------------------------------


def test_a_function_is_found_again_by_its_name(houses, rows, tmp_path):
    model = shaken(Blueprint.of(houses, encoder=encoders.small))
    model.save(tmp_path)
    values = json.loads((tmp_path / "blueprint.json").read_text())["model"]
    assert values["encoder"] == {"function": "tests.deploy.encoders:small"}
    pd.testing.assert_frame_equal(pt.load(tmp_path).predict(rows), model.predict(rows), **EXACT)


def test_a_function_that_cannot_be_imported_is_named_and_can_be_passed(houses, rows, tmp_path):
    def local(inputs):
        return encoders.small(inputs)

    model = shaken(Blueprint.of(houses, encoder=local))
    model.save(tmp_path)
    with pytest.raises(ConfigError, match=r"local, which cannot be imported here.*encoder=the_function"):
        pt.load(tmp_path)
    pd.testing.assert_frame_equal(pt.load(tmp_path, encoder=local).predict(rows), model.predict(rows), **EXACT)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda inputs: encoders.Numbers(inputs.numeric, torch.nn.ReLU), "otherwise than when it was written"),
        (lambda inputs: encoders.Numbers(inputs.numeric - 1, torch.nn.Tanh), "parameters do not fit"),
        (lambda inputs: torch.nn.Linear(inputs.numeric, 4), "parameters do not fit"),
    ],
    ids=["activation", "width", "names"],
)
def test_a_function_that_has_changed_is_refused(houses, tmp_path, other, message):
    shaken(Blueprint.of(houses, encoder=encoders.small)).save(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        pt.load(tmp_path, encoder=other)


def test_several_models_answer_as_one(houses, rows, tmp_path):
    """One model per task, as the single-task baseline is."""
    alone = [shaken(Blueprint.of(houses, encoder="tabular:4", tasks=[name])) for name in ("sold", "price")]
    both = FinishedModel([model._parts[0] for model in alone], {"method": "stl"})
    both.save(tmp_path)
    loaded = pt.load(tmp_path)
    assert loaded.about == {"method": "stl"}
    for model in alone:
        own = model.predict(rows)
        pd.testing.assert_frame_equal(loaded.predict(rows, tasks=model.tasks.names), own, **EXACT)
    assert loaded.predict(rows).columns.tolist() == ["sold", "sold P(yes)", "price"]
