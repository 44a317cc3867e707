"""Decisions kept with a model: as chosen by hand, on validation rows alone, and the same to the last bit from disk."""

import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn import datasets, metrics

import polytask as pt
from polytask.data import TensorSource, read_table
from polytask.deploy import FinishedModel
from polytask.errors import CheckpointError, ConfigError, DataError
from polytask.share import Blueprint
from polytask.share.stored import BLUEPRINT
from polytask.study.decisions import Decisions, Wishes
from tests.deploy.conftest import KINDS, image_data, make_rows, shaken

pytestmark = pytest.mark.filterwarnings("ignore::polytask.deploy.PredictionWarning")
EXACT = {"check_exact": True}
ALL = {"thresholds": "f1", "calibrate": "temperature", "coverage": 0.8}


def said_and_true(model, source, task):
    """What a network says of a source's rows, decoded, and the labels, without any of the code under test."""
    with torch.no_grad():
        output = model.model.eval()(source.inputs, [task])[task]
    return model.tasks[task].decode(output.double()).numpy(), source.targets[task].double().numpy()


@pytest.mark.parametrize("calibrate", ["temperature", "isotonic"])
def test_decisions_of_every_kind_come_back_to_the_last_bit(model, houses, calibrate, tmp_path, elsewhere):
    new = make_rows(50, seed=9)
    model.tune(houses, **{**ALL, "calibrate": calibrate})
    before = model.predict(new)
    model.save(tmp_path / "run")
    loaded = pt.load(tmp_path / "run")
    pd.testing.assert_frame_equal(loaded.predict(new), before, **EXACT)
    pd.testing.assert_frame_equal(elsewhere(tmp_path / "run", new), before, **EXACT)
    assert loaded.decisions.plain() == json.loads(json.dumps(model.decisions.plain()))
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again" / BLUEPRINT).read_bytes() == (tmp_path / "run" / BLUEPRINT).read_bytes()


def test_without_decisions_nothing_changes(model, houses, tmp_path):
    new = make_rows(20, seed=3)
    before = model.predict(new)
    model.save(tmp_path / "plain")
    model.tune(houses, **ALL)
    assert model.predict(new).shape[1] > before.shape[1]
    model.tune(houses)
    pd.testing.assert_frame_equal(model.predict(new), before, **EXACT)
    model.save(tmp_path / "again")
    assert (tmp_path / "again" / BLUEPRINT).read_bytes() == (tmp_path / "plain" / BLUEPRINT).read_bytes()
    assert json.loads((tmp_path / "plain" / BLUEPRINT).read_text())["format"] == 1


def test_a_folder_with_decisions_is_refused_by_earlier_versions_and_damage_is_found(model, houses, tmp_path):
    model.tune(houses, **ALL)
    model.save(tmp_path)
    text = (tmp_path / BLUEPRINT).read_text()
    assert json.loads(text)["format"] == 2
    cut = model.decisions["sold"].thresholds[0].value
    (tmp_path / BLUEPRINT).write_text(text.replace(repr(cut), "0.123", 1))
    with pytest.raises(CheckpointError, match="checksum"):
        pt.load(tmp_path)


def test_thresholds_are_the_best_of_all_on_validation_rows(model, houses):
    chance, y = said_and_true(model, houses.val, "sold")
    cuts = np.append(np.unique(chance), 1.1)
    model.tune(houses, thresholds="f1")
    chosen = model.decisions["sold"].thresholds[0]
    best = max(metrics.f1_score(y, chance >= cut, zero_division=0) for cut in cuts)
    assert metrics.f1_score(y, chance >= chosen.value) == pytest.approx(best)
    model.tune(houses, thresholds={"sold": (1.0, 9.0)})
    chosen = model.decisions["sold"].thresholds[0]

    def cost(cut):
        return ((chance >= cut) & (y == 0)).sum() + 9 * ((chance < cut) & (y == 1)).sum()

    assert cost(chosen.value) == min(map(cost, cuts))


def test_answers_follow_the_threshold_and_the_calibrated_probability(model, houses):
    new = make_rows(60, seed=4)
    raw = model.predict(new)["sold P(yes)"]
    model.tune(houses, thresholds={"sold": (1.0, 9.0)}, calibrate="temperature")
    answers, one = model.predict(new), model.decisions["sold"]
    logit = np.log(raw / (1 - raw)) / one.maps[0].value
    np.testing.assert_allclose(answers["sold P(yes)"], 1 / (1 + np.exp(-logit)), rtol=1e-9)
    assert ((answers["sold"] == "yes") == (answers["sold P(yes)"] >= one.thresholds[0].value)).all()
    assert one.thresholds[0].value < 0.5


def test_intervals_hold_on_exactly_the_promised_number_of_the_rows_they_come_from(model, houses):
    model.tune(houses, coverage=0.8)
    for name in ("price", "rooms", "rent"):
        decoded, y = said_and_true(model, houses.val, name)
        low, high = model.decisions[name].ends(model.tasks[name], decoded)
        held = (low <= y) & (y <= high)
        assert held.sum() >= math.ceil((len(y) + 1) * 0.8)
        if name != "rooms":  # distinct scores: not one more
            assert held.sum() == math.ceil((len(y) + 1) * 0.8)
    answers = model.predict(make_rows(30, seed=5))
    assert (answers["rooms low"] >= 0).all()
    np.testing.assert_allclose(answers["price high"] - answers["price"], model.decisions["price"].span.half, rtol=1e-6)
    sizes = answers["size set"].str.split(r" \| ")
    assert {name for row in sizes for name in row} <= {"small", "middle", "large"}
    assert (sizes.str.len() >= 1).all()


def poisoned(data):
    """The same data with other labels, and in other order, in the test rows."""
    targets = {
        name: y[torch.randperm(len(y), generator=torch.Generator().manual_seed(1))]
        for name, y in data.test.targets.items()
    }
    return dataclasses.replace(data, test=TensorSource(data.test.inputs, targets))


def test_labels_of_test_rows_change_nothing_that_is_chosen(model, houses):
    chosen = model.tune(houses, **ALL)
    model.about["fingerprint"] = poisoned(houses).fingerprint
    again = model.tune(poisoned(houses), **ALL)
    assert again.plain()["tasks"] == chosen.plain()["tasks"]
    assert again.plain()["test"] != chosen.plain()["test"]
    model.about.pop("fingerprint")
    without = dataclasses.replace(
        houses,
        test=TensorSource(
            houses.test.inputs[:0]
            if isinstance(houses.test.inputs, torch.Tensor)
            else {k: x[:0] for k, x in houses.test.inputs.items()},
            {k: y[:0] for k, y in houses.test.targets.items()},
        ),
    )
    assert model.tune(without, **ALL).plain() == {**chosen.plain(), "test": {}}


def test_a_study_chooses_without_test_labels_too(tmp_path):
    data = read_table(make_rows(240), ["price", "sold", "size"])
    found = []
    for place, one in enumerate((data, poisoned(data))):
        options = {"seeds": 1, "split_seeds": False, "progress": False, "decide": ALL}
        result = pt.compare(one, methods=["ridge"], out=tmp_path / str(place), **options)
        found.append(pt.load(result.best).decisions.plain())
    assert found[0]["tasks"] == found[1]["tasks"]
    assert found[0]["test"] != found[1]["test"]


def test_rows_of_a_frame_choose_what_the_same_rows_of_a_dataset_do():
    rows = make_rows(200).assign(split=["train", "val", "test", "val"] * 50)
    data = read_table(rows, list(KINDS), kinds=KINDS, split_column="split")
    model = shaken(Blueprint.of(data, encoder="tabular:8"))
    by_data = model.tune(data, **ALL)
    by_frame = model.tune(rows[rows["split"] == "val"].drop(columns="split"), **ALL)
    for name in KINDS:
        theirs, ours = by_data[name].plain(), by_frame[name].plain()
        assert theirs.keys() == ours.keys()
        assert json.dumps(ours)[:60] == json.dumps(theirs)[:60]
    tested = model.test_decisions(rows[rows["split"] == "test"].drop(columns="split"))
    assert tested["price"]["interval"]["covered"] == by_data.test["price"]["interval"]["covered"]
    assert tested["sold"]["threshold"]["after"] == by_data.test["sold"]["threshold"]["after"]


def test_measures_are_those_of_scikit_learn(model, houses):
    found = model.tune(houses, thresholds="mcc", calibrate="temperature").test["sold"]
    chance, y = said_and_true(model, houses.test, "sold")
    assert found["calibration"]["brier"][0] == pytest.approx(metrics.brier_score_loss(y, chance))
    mended = model.decisions["sold"].mend(chance)
    assert found["threshold"]["before"] == pytest.approx(metrics.matthews_corrcoef(y, mended >= 0.5))
    cut = model.decisions["sold"].thresholds[0].value
    assert found["threshold"]["after"] == pytest.approx(metrics.matthews_corrcoef(y, mended >= cut))


def test_several_labels_per_row_have_a_threshold_each(tmp_path):
    data = image_data()
    model = shaken(Blueprint.of(data, encoder="mlp:8"))
    model.tune(data, thresholds="f1", calibrate="temperature")
    assert len(model.decisions["marks"].thresholds) == 2
    x = data.test.inputs
    answers = model.predict(x)
    for place, name in enumerate(["dot", "bar"]):
        cut = model.decisions["marks"].thresholds[place].value
        assert ((answers[f"marks {name}"] == 1) == (answers[f"marks P({name})"] >= cut)).all()
    model.save(tmp_path)
    pd.testing.assert_frame_equal(pt.load(tmp_path).predict(x), answers, **EXACT)


def test_what_cannot_be_chosen_is_said_and_the_rest_is_chosen(model, houses):
    val = TensorSource(houses.val.inputs, {**houses.val.targets, "sold": torch.zeros_like(houses.val.targets["sold"])})
    chosen = model.tune(dataclasses.replace(houses, val=val), **ALL)
    assert [words.split(":")[0] for words in chosen["sold"].without] == ["calibration", "threshold"]
    assert "labels are 0: no threshold can be told from another" in chosen["sold"].without[1]
    assert chosen["price"].span is not None
    assert {"sold", "sold P(yes)"} <= set(model.predict(make_rows(5)).columns)


def test_few_rows_promise_nothing_and_say_so(model, houses, tmp_path):
    model.tune(make_rows(5, seed=2), coverage=0.9)
    model.save(tmp_path)
    answers = pt.load(tmp_path).predict(make_rows(4))
    assert np.isinf(answers["price low"]).all()
    assert not [one for one in answers.attrs.get("remarks", []) if one["about"] == "not finite"]
    assert (answers["size set"] == "large | middle | small").all()


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        ({"thresholds": "f2"}, "unknown metric for a threshold 'f2'"),
        ({"thresholds": {"sold": (1.0,)}}, "two positive numbers"),
        ({"thresholds": {"prize": "f1"}}, "did you mean 'price'"),
        ({"thresholds": {"price": "f1"}}, "is of kind 'regression'"),
        ({"calibrate": "platt"}, "unknown calibration 'platt'"),
        ({"coverage": 1.0}, r"in \(0, 1\), found 1.0"),
    ],
)
def test_what_is_not_possible_is_refused_and_nothing_changes(model, houses, wishes, words):
    model.tune(houses, coverage=0.7)
    before = model.decisions
    with pytest.raises(ConfigError, match=words):
        model.tune(houses, **wishes)
    assert model.decisions is before


def test_rows_the_model_was_fitted_on_are_refused(houses, tmp_path):
    model = shaken(Blueprint.of(houses, encoder="tabular:8"))
    model.about.update(data="houses", fingerprint=houses.fingerprint, seed=0)
    model.tune(houses, coverage=0.8)
    with pytest.raises(ConfigError, match=r"another split.*data\.resplit\(0\)"):
        model.tune(houses.resplit(1), coverage=0.8)
    model.about["trained_on"] = "all rows with labels"
    with pytest.raises(ConfigError, match="trained again on all rows"):
        model.tune(houses, coverage=0.8)
    with pytest.raises(ConfigError, match="refit leaves none"):
        pt.compare(houses, methods=["ridge"], out=tmp_path, refit=True, decide={"coverage": 0.8})
    with pytest.raises(ConfigError, match="kept with the best model, and none is"):
        pt.compare(houses, methods=["ridge"], out=tmp_path, keep="none", decide={"coverage": 0.8})
    with pytest.raises(ConfigError, match="unknown key of decide 'cover'"):
        pt.compare(houses, methods=["ridge"], out=tmp_path, decide={"cover": 0.8})


def test_labels_of_a_frame_are_checked(model):
    rows = make_rows(30)
    with pytest.raises(DataError, match=r"none of the .* columns holds the labels"):
        model.tune(rows.drop(columns=list(KINDS)), coverage=0.8)
    with pytest.raises(DataError, match=r"'maybe' \(30 of 30 labels\) is none of the classes"):
        model.tune(rows.assign(sold="maybe"), coverage=0.8)


def test_plain_values_are_those_that_were_written():
    wishes = Wishes.of({"thresholds": {"a": (1, 2), "b": "f1"}, "coverage": 0.5})
    assert wishes.plain() == {"thresholds": {"a": [1.0, 2.0], "b": "f1"}, "coverage": 0.5}
    assert Decisions().plain() == {}
    assert Decisions.read({}) == Decisions()


def real_tables():
    diabetes = datasets.load_diabetes(as_frame=True, scaled=False).frame
    diabetes["sex"] = diabetes["sex"].map({1.0: "f", 2.0: "m"})
    wine = datasets.load_wine(as_frame=True).frame
    wine["target"] = wine["target"].map({0: "a", 1: "b", 2: "c"})
    cancer = datasets.load_breast_cancer(as_frame=True).frame
    cancer["target"] = cancer["target"].map({0: "malignant", 1: "benign"})
    return {
        "diabetes": (diabetes, ["target", "sex", "bmi"]),
        "wine": (wine, ["target", "alcohol", "color_intensity"]),
        "cancer": (cancer, ["target", "mean texture", "mean smoothness"]),
    }


@pytest.mark.parametrize("name", ["diabetes", "wine", "cancer"])
def test_coverage_on_real_tables_has_its_law_for_every_task(name, tmp_path):
    """Of m test rows the number inside is beta-binomial with k and n + 1 − k, k = ⌈(n + 1)·coverage⌉, or above it."""
    frame, targets = real_tables()[name]
    data = read_table(frame, targets, val=0.3, test=0.3)
    decide = {"coverage": 0.8, "calibrate": "temperature", "thresholds": "f1"}
    result = pt.compare(data, methods=["ridge"], seeds=1, out=tmp_path, progress=False, decide=decide)
    found = pt.load(result.best).decisions.test
    assert set(found) == set(targets)
    for task in targets:
        span = found[task]["interval"]
        n, m = span["chosen_on"], span["labels"]
        k = math.ceil((n + 1) * 0.8 - 1e-9)
        law = stats.betabinom(m, k, n + 1 - k)
        hits = round(span["covered"] * m)
        assert law.cdf(hits) > 1e-3
        if "width" in span:  # the likeliest class is in its set in any case: sets may hold more
            assert law.sf(hits - 1) > 1e-3
        assert span["low"] == pytest.approx(stats.binomtest(hits, m).proportion_ci(method="exact").low)
        assert span["high"] == pytest.approx(stats.binomtest(hits, m).proportion_ci(method="exact").high)


def test_a_model_made_in_python_needs_no_facts(model, houses):
    fresh = FinishedModel.of(model.blueprint, model.model)
    assert len(fresh.decisions) == 0
    assert fresh.tune(houses, coverage=0.8)["price"].span.coverage == 0.8
