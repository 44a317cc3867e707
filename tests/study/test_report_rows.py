"""Figures of single rows: their numbers against scikit-learn and plain arrays; what is kept beside a trial."""

import dataclasses
import re
import time

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, r2_score, roc_auc_score

from polytask.data import InputSpec, MultiTaskData, TensorSource, read_table
from polytask.study import Comparison, compare
from polytask.study.outcome import answers as answering
from polytask.study.outcome.answers import ANSWERS, Answers, read_answers, write_answers
from polytask.study.outcome.comparison import TaskInfo
from polytask.study.outcome.figures import OF_ROWS, Omitted
from polytask.study.outcome.figures.changes import changes, disagreements, paired
from polytask.study.outcome.figures.confusion import confusion, counted
from polytask.study.outcome.figures.predicted import predicted, r2
from polytask.study.outcome.report import render
from polytask.tasks import Nature, Task, TaskSet

TRAIN = {"epochs": 2, "batch_size": 32}


def table(rows=150):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(rows, 4))
    frame = pd.DataFrame(x, columns=list("pqrs"))
    frame["size"] = 50 + 10 * x[:, 0] + 10 * rng.normal(size=rows)
    frame["ill"] = np.where(x[:, 1] + 0.5 * rng.normal(size=rows) > 0, "yes", "no")
    frame["kind"] = np.array(["red", "green", "blue"])[np.clip((x[:, 2] + 1 + rng.normal(size=rows)).astype(int), 0, 2)]
    frame.loc[::7, "size"] = np.nan
    return frame


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    frame = table()
    data = read_table(frame, ["size", "ill", "kind"])
    found = compare(
        data, methods=["stl", "uw", "ridge"], seeds=2, train=TRAIN, encoder="tabular:8", progress=False,
        out=tmp_path_factory.mktemp("study"),
    )  # fmt: skip
    return frame, data, found


def test_kept_answers_reproduce_the_metrics_of_the_study(study):
    _, _, found = study
    values = found.frame[found.frame["split"] == "test"].set_index(["method", "seed", "task", "metric"])["value"]
    assert len(found.answers) == 3 * 3 * 2
    for (task, method, seed), kept in found.answers.items():
        known = np.isfinite(kept.target)
        if task == "size":
            rmse = np.sqrt(np.mean((kept.target - kept.point)[known] ** 2))
            assert rmse == pytest.approx(values[method, seed, task, "rmse"], rel=1e-5)
            assert r2_score(kept.target[known], kept.point[known]) == pytest.approx(
                values[method, seed, task, "r2"], abs=1e-5
            )
        elif task == "ill":
            assert roc_auc_score(kept.target, kept.decoded) == pytest.approx(values[method, seed, task, "auroc"])
        else:
            assert accuracy_score(kept.target, kept.point) == pytest.approx(values[method, seed, task, "accuracy"])


def test_kept_rows_are_those_of_the_table_that_was_read(study):
    frame, data, found = study
    for seed in (0, 1):
        kept = found.answers["size", "uw", seed]
        np.testing.assert_allclose(kept.target, frame["size"].to_numpy()[kept.rows], rtol=1e-6)
        ill = found.answers["ill", "ridge", seed]
        assert [ill.named(value) for value in ill.target] == frame["ill"].to_numpy()[ill.rows].tolist()
        assert len(kept.rows) == len(data.resplit(seed).test)
    assert not np.array_equal(found.answers["size", "uw", 0].rows, found.answers["size", "uw", 1].rows)


def test_the_report_of_a_real_study_shows_them_and_can_be_made_again_from_the_folder(study):
    _, _, found = study
    page = found.report(found.out).read_text()
    for anchor in ("predicted", "confusion", "changes", "disagreements"):
        assert f'<section id="{anchor}"' in page
    assert Comparison.load(found.out).report(found.out / "again.html").read_text() == page


def test_a_study_of_an_earlier_version_reports_without_rows(study, tmp_path):
    _, _, found = study
    old = Comparison(found.protocol, found.trials, tmp_path)
    page = old.report(tmp_path).read_text()
    assert 'id="predicted"' not in page
    assert "Predicted against true: no answers of single rows were kept" in page


def test_damaged_answers_are_left_out_and_told(study, tmp_path, caplog):
    _, _, found = study
    place = next((found.out / "trials").glob("uw-*"))
    whole = (place / ANSWERS).read_bytes()
    for content in (b"", b"junk", whole[: len(whole) // 2], whole[:-4]):
        (tmp_path / ANSWERS).write_bytes(content)
        caplog.clear()
        assert read_answers(tmp_path) == {}
        assert f"{tmp_path / ANSWERS} cannot be read" in caplog.text


def test_keeping_answers_changes_no_identity_and_no_second_run(study):
    _, data, found = study
    again = compare(
        data, methods=["stl", "uw", "ridge"], seeds=2, train=TRAIN, encoder="tabular:8", progress=False, out=found.out
    )
    assert [trial.id for trial in again.trials] == [trial.id for trial in found.trials]
    assert all((found.out / "trials" / trial.id / ANSWERS).is_file() for trial in found.trials)


def source(tasks, rows):
    x = torch.arange(float(rows))[:, None]
    targets = {"a": x[:, 0].clone(), "b": (x[:, 0].long() % 3), "m": torch.stack([x[:, 0] > 3, x[:, 0] < 0], 1).long()}
    targets["a"][1], targets["b"][2], targets["m"][0, 1] = float("nan"), -100, -100
    return TensorSource(x, {name: targets[name] for name in tasks})


def data_of(rows):
    tasks = TaskSet(
        [Task("a", scale=2.0, shift=1.0), Task("b", "multiclass", classes=3), Task("m", "multilabel", classes=2)]
    )
    part = source(tasks, rows)
    return MultiTaskData("d", tasks, part, part, part, InputSpec("vector", (1,)), "mlp:4")


def heads(inputs):
    x = inputs[:, :1]
    return {"a": x, "b": torch.cat([x, -x, 0 * x], 1), "m": torch.cat([x - 3, -x], 1)}


def test_what_is_kept_is_decoded_and_missing_labels_are_nan(tmp_path):
    write_answers(tmp_path, heads, data_of(5), ("a", "b", "m"))
    kept = read_answers(tmp_path)
    x = np.arange(5.0)
    np.testing.assert_allclose(kept["a"].decoded.ravel(), 2 * x + 1)  # in natural units
    np.testing.assert_array_equal(kept["a"].target, [0, np.nan, 2, 3, 4])
    np.testing.assert_array_equal(kept["b"].target, [0, 1, np.nan, 0, 1])
    np.testing.assert_array_equal(kept["b"].point, [0, 0, 0, 0, 0])
    np.testing.assert_allclose(kept["b"].decoded.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(kept["m"].target, [[0, np.nan], [0, 0], [0, 0], [0, 0], [1, 0]])
    np.testing.assert_allclose(kept["m"].decoded[:, 0], 1 / (1 + np.exp(3 - x)), rtol=1e-6)


def test_many_rows_are_kept_in_part_the_same_for_all_models(tmp_path, monkeypatch):
    monkeypatch.setattr(answering, "ROWS", 7)
    alone, joint = tmp_path / "alone", tmp_path / "joint"
    write_answers(alone, heads, data_of(100), ("a",))
    write_answers(joint, heads, data_of(100), ("a", "b", "m"))
    one, other = read_answers(alone)["a"], read_answers(joint)["a"]
    assert one.rows[0] == 0
    assert one.rows[-1] == 99
    assert len(one.rows) == 7
    np.testing.assert_array_equal(one.rows, other.rows)
    np.testing.assert_array_equal(one.target, other.target)
    monkeypatch.setattr(answering, "CELLS", 3 * 10)  # 10 columns of answers and labels a row
    write_answers(joint, heads, data_of(100), ("a",))
    assert len(read_answers(joint)["a"].rows) == 3


def test_points_of_ordered_classes_and_quantiles():
    chances = np.array([[0.6, 0.3, 0.1], [0.2, 0.25, 0.55], [0.3, 0.4, 0.3], [np.nan, 0.5, 0.5]])
    ordered = Answers(Nature.ORDERED, (), np.arange(4), np.zeros(4), chances)
    np.testing.assert_array_equal(ordered.point, [0, 2, 1, np.nan])  # the class where the half is reached
    quantiles = Answers(
        Nature.QUANTILES, (), np.arange(2), np.zeros(2), np.array([[1.0, 2, 9], [3, 4, 5]]), (0.1, 0.5, 0.9)
    )
    np.testing.assert_array_equal(quantiles.point, [2, 4])


def test_confusion_matrices_are_those_of_scikit_learn(comparison, answered):
    kept, truth = answered(comparison)
    seeds = comparison.protocol.seeds
    for method in comparison.methods:
        expected = sum(
            confusion_matrix(truth["sex", seed][known], kept["sex", method, seed].decoded[known] > 0.5, labels=[0, 1])
            for seed in seeds
            if (known := np.isfinite(truth["sex", seed])).any()
        )
        np.testing.assert_array_equal(counted(kept, "sex", method, seeds), expected)
    figure = confusion(comparison, kept)
    drawn = figure.data[figure.data["method"] == "fairgrad"].set_index(["true", "predicted"])["rows"]
    wrong = int(drawn["yes", "no"]), int(drawn["no", "yes"])
    shares = {
        f"{100 * wrong[0] / drawn['yes'].sum():.0f} % of the rows with sex = yes for no": wrong[0] / drawn["yes"].sum(),
        f"{100 * wrong[1] / drawn['no'].sum():.0f} % of the rows with sex = no for yes": wrong[1] / drawn["no"].sum(),
    }
    assert figure.title == f"fairgrad takes {max(shares, key=shares.get)}"
    right = 100 * (drawn["yes", "yes"] + drawn["no", "no"]) / drawn.sum()
    assert f"sex, fairgrad: {right:.0f} % right" in [panel.alt for panel in figure.panels]
    for count in drawn:
        assert f"{count}" in figure.panels[1].svg


def test_r2_is_that_of_scikit_learn_and_stands_in_table_and_panels(comparison, answered):
    kept, truth = answered(comparison)
    figure = predicted(comparison, kept)
    for row in figure.data.itertuples():
        known = np.isfinite(truth[row.task, row.seed])
        said = kept[row.task, row.method, row.seed].decoded
        assert row.r2 == pytest.approx(r2_score(truth[row.task, row.seed][known], said[known]), abs=1e-6)
    means = figure.data.groupby(["task", "method"])["r2"].mean()
    assert f"age, fairgrad: R² {means['age', 'fairgrad']:.2f}" in [panel.alt for panel in figure.panels]
    best = means["age"].idxmax()
    assert f"{100 * means['age', best]:.0f} % of the variance of age ({best})" in figure.title
    assert figure.table[1][0] == "age"
    assert {row[0] for row in figure.table[1:]} == {"age", "bmi"}  # sex has classes


def test_r2_of_constant_single_and_missing_labels_is_undefined():
    assert np.isnan(r2(np.ones(4), np.arange(4.0)))
    assert np.isnan(r2(np.ones(1), np.ones(1)))
    assert np.isnan(r2(np.full(3, np.nan), np.ones(3)))
    assert r2(np.array([1.0, 2, np.nan]), np.array([1.0, 2, 3])) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda true: true + 4, "predicts too much, by 4"),
        (lambda true: true - 4, "predicts too little, by 4"),
        (lambda true: true, "no residuals"),
    ],
)
def test_residuals_say_what_is_wrong_with_them(comparison, answered, change, words):
    kept, _ = answered(comparison)
    for (task, method, seed), one in kept.items():
        if task == "age" and method == "fairgrad":
            kept[task, method, seed] = dataclasses.replace(one, decoded=change(one.target))
    assert f"age, fairgrad: {words}" in [panel.alt for panel in predicted(comparison, kept).panels]


def test_better_and_worse_rows_are_counted_from_the_arrays(comparison, answered):
    kept, truth = answered(comparison)
    seeds = comparison.protocol.seeds
    near = [
        np.abs(kept["age", "uw", s].decoded - truth["age", s]) - np.abs(kept["age", "stl", s].decoded - truth["age", s])
        for s in seeds
    ]
    known = np.concatenate(near)
    known = known[np.isfinite(known)]
    assert paired(kept, "age", "uw", "stl", seeds) == (len(known), (known < 0).sum(), (known > 0).sum())
    right = {
        m: np.concatenate([(kept["sex", m, s].decoded > 0.5) == truth["sex", s] for s in seeds]) for m in ("uw", "stl")
    }
    there = np.isfinite(np.concatenate([truth["sex", s] for s in seeds]))
    gained, lost = (right["uw"] & ~right["stl"])[there].sum(), (right["stl"] & ~right["uw"])[there].sum()
    assert paired(kept, "sex", "uw", "stl", seeds) == (there.sum(), gained, lost)
    assert paired(kept, "age", "stl", "stl", seeds)[1:] == (0, 0)
    figure = changes(comparison, kept)
    row = next(row for row in figure.table if row[0] == "sex")
    cell = f"{100 * gained / there.sum():.0f} % / {100 * lost / there.sum():.0f} %"
    assert row[figure.table[0].index("uw")] == cell


def test_the_row_that_methods_disagree_on_most_comes_first(comparison, answered):
    kept, _ = answered(comparison)
    odd = kept["age", "uw", 2].decoded.copy()
    odd[17] += 500
    kept["age", "uw", 2] = dataclasses.replace(kept["age", "uw", 2], decoded=odd)
    figure = disagreements(comparison, kept)
    first = next(row for row in figure.table[1:] if row[0] == "age")
    assert first[1:3] == ("17", "2")
    assert first[figure.table[0].index("uw")] == f"{odd[17]:.4g}"
    answers = [kept["age", m, 2].decoded[17] for m in comparison.methods]
    apart = (max(answers) - min(answers)) / np.nanstd(kept["age", "uw", 2].target)
    assert figure.data["apart"].max() == pytest.approx(apart, rel=1e-5)


def test_equal_answers_disagree_nowhere(comparison, answered):
    kept, _ = answered(comparison)
    same = {(task, m, s): kept[task, "stl", s] for task, m, s in kept}
    assert isinstance(disagreements(comparison, same), Omitted)
    assert "as many rows worse" in changes(comparison, same).title


def test_without_answers_every_figure_of_rows_says_so(comparison):
    for section in OF_ROWS:
        assert "no answers of single rows were kept" in section(comparison, {}).why


def test_other_rows_are_not_compared(comparison, answered):
    kept, _ = answered(comparison)
    for (task, method, seed), one in list(kept.items()):
        if method == "uw":
            kept[task, method, seed] = dataclasses.replace(one, rows=one.rows + 1)
    assert paired(kept, "age", "uw", "stl", comparison.protocol.seeds) == (0, 0, 0)


@pytest.mark.slow
def test_a_large_report_takes_seconds(comparison, answered):
    names = [f"t{i}" for i in range(10)]
    infos = [
        TaskInfo("regression", "mae", {"mae": -1}, "", {}),
        TaskInfo("multiclass", "accuracy", {"accuracy": 1}, "", {}),
    ]
    rng = np.random.default_rng(0)
    methods = ("stl", "equal", "uw", "fairgrad", "ridge", "boosting")
    tasks = {name: infos[place % 2] for place, name in enumerate(names)}
    trials = []
    for method in methods:
        source = next(
            t
            for t in comparison.trials
            if t.method == (method if method in comparison.methods else "uw") and (len(t.tasks) > 1 or method == "stl")
        )
        for seed in range(5):
            values = {n: {tasks[n].primary: float(rng.uniform(0.5, 0.9))} for n in names}
            curves = {"val": {n: {tasks[n].primary: rng.uniform(size=8).tolist()} for n in names}}
            weights = dict(zip(names, rng.uniform(size=10).tolist(), strict=True))
            shares = [{"weights": weights, "shares": {n: rng.uniform() * v for n, v in weights.items()}}] * 4
            shares += [{"weights": {n: 2 * v for n, v in weights.items()}, "shares": weights}] * 4
            trials.append(
                dataclasses.replace(
                    source,
                    id=f"{method}-{seed}",
                    method=method,
                    seed=seed,
                    tasks=tuple(names),
                    metrics={"test": values},
                    curves=curves,
                    balance=shares,
                )
            )
    protocol = dataclasses.replace(comparison.protocol, tasks=tasks, methods=methods)
    wide = Comparison(protocol, trials)
    kept, _ = answered(wide, rows=300)
    render(comparison)  # brings matplotlib and its fonts
    start = time.process_time()
    page = render(wide, kept=kept)
    assert time.process_time() - start < 5
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert len(page) < 4e6
