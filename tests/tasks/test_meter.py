"""The meter: values of scikit-learn and NumPy, any batch sizes, undefined metrics with a reason."""

import math
import time

import numpy as np
import pytest
import torch
import torchmetrics
from sklearn import metrics as sk

from polytask.errors import TaskError
from polytask.tasks import Score, Task, TaskMeter, TaskSet

from .cases import CASES

NAN = float("nan")


def drawn(kind, rows=400, missing=0.3, **options):
    task = CASES[kind].task(**options)
    _, prediction, target = CASES[kind].draw(rows)
    return task, prediction, target.double().masked_fill(torch.rand(target.shape) < missing, NAN)


def metered(task, prediction, target, sizes=(400,)):
    meter = TaskSet([task]).meter()
    for z, y in zip(prediction.split(list(sizes)), target.split(list(sizes)), strict=True):
        meter.update({"t": z}, {"t": y})
    return meter


def reference(kind, decoded, y):
    """Metrics of complete rows by scikit-learn, written out where it has none."""
    p = decoded.double().numpy()
    y = y.numpy()
    if kind == "regression":
        mse = sk.mean_squared_error(y, p)
        return {
            "mse": mse,
            "rmse": mse**0.5,
            "mae": sk.mean_absolute_error(y, p),
            "mape": sk.mean_absolute_percentage_error(y, p),
            "r2": sk.r2_score(y, p),
        }
    if kind == "binary":
        return {
            "auroc": sk.roc_auc_score(y, p),
            "accuracy": sk.accuracy_score(y, p > 0.5),
            "f1": sk.f1_score(y, p > 0.5),
            "average_precision": sk.average_precision_score(y, p),
            "balanced_accuracy": sk.balanced_accuracy_score(y, p > 0.5),
            "mcc": sk.matthews_corrcoef(y, p > 0.5),
            "precision": sk.precision_score(y, p > 0.5),
            "recall": sk.recall_score(y, p > 0.5),
            "log_loss": sk.log_loss(y, p),
            "brier": sk.brier_score_loss(y, p),
        }
    if kind == "multiclass":
        best = p.argmax(1)
        return {
            "accuracy": sk.accuracy_score(y, best),
            "f1": sk.f1_score(y, best, average="macro"),
            "balanced_accuracy": sk.balanced_accuracy_score(y, best),
            "auroc": sk.roc_auc_score(y, p, multi_class="ovr", average="macro"),
            "mcc": sk.matthews_corrcoef(y, best),
            "log_loss": sk.log_loss(y, p),
            "brier": ((p - np.eye(p.shape[1])[y.astype(int)]) ** 2).sum(1).mean(),
        }
    if kind == "ordinal":
        median = (p.cumsum(1) < 0.5).sum(1)
        return {
            "mae": np.abs(median - y).mean(),
            "accuracy": sk.accuracy_score(y, median),
            "qwk": sk.cohen_kappa_score(y, median, weights="quadratic", labels=range(4)),
        }
    if kind == "count":
        return {
            "deviance": sk.mean_poisson_deviance(y, p),
            "mae": sk.mean_absolute_error(y, p),
            "rmse": sk.mean_squared_error(y, p) ** 0.5,
        }
    assert kind == "quantile"
    levels = (0.1, 0.5, 0.8)
    return {
        "pinball": np.mean([sk.mean_pinball_loss(y, p[:, i], alpha=level) for i, level in enumerate(levels)]),
        "coverage_error": np.mean([abs((y <= p[:, i]).mean() - level) for i, level in enumerate(levels)]),
    }


@pytest.mark.parametrize("kind", ["regression", "binary", "multiclass", "ordinal", "count", "quantile"])
def test_values_are_those_of_scikit_learn_on_the_present_rows(kind):
    names = list(CASES[kind].task().rule.scores())
    task, prediction, target = drawn(kind, metrics=names)
    known = ~target.isnan()
    expected = reference(kind, task.decode(prediction.double()[known]), target[known])
    assert set(expected) == set(names)
    found = metered(task, prediction, target, (1, 2, 0, 64, 200, 133)).compute()["t"]
    assert found == pytest.approx(expected, rel=1e-6)


def test_values_of_several_labels_are_means_over_labels():
    task, prediction, target = drawn("multilabel")
    known = ~target.isnan()
    p, y = prediction.double().sigmoid().numpy(), target.numpy()
    columns = [(y[known[:, i], i], p[known[:, i], i]) for i in range(3)]
    expected = {
        "auroc": np.mean([sk.roc_auc_score(*column) for column in columns]),
        "average_precision": np.mean([sk.average_precision_score(*column) for column in columns]),
        "accuracy": np.concatenate([y_ == (p_ > 0.5) for y_, p_ in columns]).mean(),
        "f1": np.mean([sk.f1_score(y_, p_ > 0.5) for y_, p_ in columns]),
    }
    assert metered(task, prediction, target, (1, 399)).compute()["t"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", [kind for kind in CASES if kind != "custom"])
def test_batch_sizes_do_not_matter(kind):
    task, prediction, target = drawn(kind)
    whole = metered(task, prediction, target)
    parts = metered(task, prediction, target, (1, 0, 9, 390))
    assert parts.compute() == {"t": pytest.approx(whole.compute()["t"], rel=1e-9)}
    assert parts.counts == whole.counts == {"t": task.count(target)}
    assert parts.loss()["t"] == pytest.approx(float(task.loss(prediction.double(), target)), rel=1e-5)


def test_mean_loss_is_over_labels_not_over_batches():
    meter = TaskSet([Task("a")]).meter()
    meter.update({"a": torch.zeros(1, 1)}, {"a": torch.tensor([3.0])})
    meter.update({"a": torch.zeros(3, 1)}, {"a": torch.tensor([1.0, 1.0, NAN])})
    assert meter.loss() == {"a": 11 / 3}


def test_metrics_are_in_natural_units():
    task = Task("t", shift=100.0, scale=10.0, metrics=["mae"])
    meter = metered(task, torch.tensor([[0.0], [1.0]]), torch.tensor([100.0, 115.0]), (2,))
    assert meter.compute() == {"t": {"mae": 2.5}}
    assert meter.loss() == {"t": 0.125}


def test_explained_variance_survives_a_large_offset():
    """In float32, sums of squares of values around 1e5 leave nothing of a variance of 1."""
    target = 1e5 + torch.randn(5000, dtype=torch.float64)
    prediction = target + 0.5 * torch.randn(5000, dtype=torch.float64)
    meter = metered(Task("t", metrics=["r2"]), prediction, target, (5000,))
    assert meter.compute()["t"]["r2"] == pytest.approx(sk.r2_score(target, prediction), abs=1e-6)


class TestUndefined:
    """NaN with a reason, no warning (warnings are errors here)."""

    @pytest.mark.parametrize(
        ("options", "target", "undefined"),
        [
            ({"kind": "binary"}, [1, 1, 1], {"auroc": "one class only: all 3 labels are 1"}),
            (
                {"kind": "binary"},
                [0, 0, 0],
                {
                    "auroc": "one class only: all 3 labels are 0",
                    "f1": "no positive label in 3 rows",
                    "average_precision": "no positive label in 3 rows",
                },
            ),
            ({"kind": "regression"}, [1.0, NAN, NAN], {"r2": "needs two rows, found 1"}),
            ({"kind": "regression"}, [2.0, 2.0, NAN], {"r2": "the target is constant"}),
            ({"kind": "ordinal", "classes": 2}, [1, 1, 1], {"qwk": "one class only: all 3 labels are 1"}),
            (
                {"kind": "multiclass", "classes": 2, "metrics": ["accuracy", "auroc"]},
                [1, 1, 1],
                {"auroc": "one class only: all 3 labels are 1"},
            ),
        ],
    )
    def test_is_nan_and_says_why(self, options, target, undefined):
        task = Task("t", **options)
        meter = metered(task, torch.randn(3, task.out_features), torch.tensor(target), (1, 2))
        values = meter.compute()["t"]
        assert meter.undefined == {"t": undefined}
        assert {name for name, value in values.items() if math.isnan(value)} == set(undefined)

    @pytest.mark.parametrize("kind", [kind for kind in CASES if kind != "custom"])
    def test_no_labels(self, kind):
        task, prediction, target = drawn(kind, missing=2.0)
        for meter in (metered(task, prediction, target), TaskSet([task]).meter()):
            values = meter.compute()["t"]
            assert all(math.isnan(value) for value in values.values())
            assert meter.undefined == {"t": dict.fromkeys(values, "no labels")}
            assert (meter.counts, meter.loss()) == ({"t": 0}, {})

    def test_class_that_is_absent_is_left_out_of_the_mean_and_named(self):
        task = Task("t", "multiclass", classes=3, metrics=["auroc"])
        prediction, target = torch.randn(40, 3), torch.arange(40) % 2
        meter = metered(task, prediction, target, (40,))
        probabilities = prediction.double().softmax(1)
        expected = np.mean([sk.roc_auc_score(target == c, probabilities[:, c]) for c in (0, 1)])
        assert meter.compute()["t"]["auroc"] == pytest.approx(expected)
        assert meter.undefined == {"t": {"auroc": "no row in class 2; mean over the other 2"}}

    def test_labels_with_one_class_are_left_out_of_the_mean_and_named(self):
        task = Task("t", "multilabel", classes=3)
        target = torch.tensor([[0, 1, 1], [1, 1, -100], [0, 1, 1]])
        meter = metered(task, torch.tensor([[0.0, 1, 2], [3, 4, 5], [6, 7, 8]]), target, (3,))
        assert meter.compute()["t"]["auroc"] == 0.5
        assert meter.undefined["t"] == {"auroc": "one class only in label 1, 2; mean over the other 1"}

    @pytest.mark.parametrize("bad", [NAN, float("inf")])
    @pytest.mark.parametrize("kind", [kind for kind in CASES if kind != "custom"])
    def test_diverged_predictions_do_not_look_like_a_value(self, kind, bad):
        task, prediction, target = drawn(kind, missing=0.0)
        prediction[3] = bad
        meter = metered(task, prediction, target, (400,))
        values = meter.compute()["t"]
        broken = {"t": dict.fromkeys(values, "the prediction is not finite in 1 of 400 rows")}
        if kind in ("binary", "multilabel", "ordinal") and bad == float("inf"):
            assert meter.undefined == {}  # a certain answer is an answer
        else:
            assert meter.undefined == broken

    def test_diverged_predictions_of_absent_rows_do_not_matter(self):
        meter = metered(Task("t"), torch.tensor([0.0, NAN, 1.0]), torch.tensor([0.0, NAN, 3.0]), (3,))
        assert meter.compute()["t"]["mae"] == 1.0
        assert meter.undefined == {}

    def test_users_metric_that_gives_nan(self):
        task = Task("t", metrics={"pearson": Score(torchmetrics.PearsonCorrCoef, higher_is_better=True)})
        meter = metered(task, torch.ones(5), torch.arange(5.0), (5,))
        assert math.isnan(meter.compute()["t"]["pearson"])
        assert "pearson" in meter.undefined["t"]


def test_users_metrics_are_measured():
    tau = Score(torchmetrics.KendallRankCorrCoef, higher_is_better=True)
    task = Task("t", metrics={"tau": tau, "mae": torchmetrics.MeanAbsoluteError()})
    values = metered(task, torch.tensor([1.0, 2.0, 5.0]), torch.tensor([1.0, 2.0, 3.0]), (3,)).compute()["t"]
    assert values == pytest.approx({"tau": 1.0, "mae": 2 / 3})


def test_users_metric_must_be_one_number():
    per_class = torchmetrics.classification.MulticlassAccuracy(num_classes=2, average=None)
    meter = metered(
        Task("t", "multiclass", classes=2, metrics={"acc": per_class}), torch.randn(4, 2), torch.arange(4) % 2, (4,)
    )
    with pytest.raises(TaskError, match=r"MulticlassAccuracy must give a single number, found shape \(2,\)"):
        meter.compute()


def test_custom_task_without_metrics_has_losses_and_counts():
    task, prediction, target = CASES["custom"].draw(6)
    meter = metered(task, prediction, target, (2, 4))
    assert meter.compute() == {"t": {}}
    assert meter.counts == {"t": 6}
    assert meter.loss()["t"] == pytest.approx(float(task.loss(prediction, target)), rel=1e-6)


def test_memory_of_a_batch_may_be_reused():
    meter = TaskSet([Task("t", metrics=["mae"])]).meter()
    prediction, target = torch.zeros(2, 1), torch.ones(2)
    meter.update({"t": prediction}, {"t": target})
    prediction.fill_(7.0), target.fill_(-7.0)
    assert meter.compute() == {"t": {"mae": 1.0}}


def test_compute_in_between_and_reset():
    meter = TaskSet([Task("t", metrics=["mae"])]).meter()
    for value, expected in ((1.0, 1.0), (3.0, 2.0)):
        meter.update({"t": torch.zeros(1, 1)}, {"t": torch.tensor([value])})
        assert meter.compute() == {"t": {"mae": expected}}
    meter.reset()
    assert meter.counts == {"t": 0}
    meter.update({"t": torch.zeros(1, 1)}, {"t": torch.tensor([5.0])})
    assert meter.compute() == {"t": {"mae": 5.0}}


def test_masks_and_absent_tasks():
    meter = TaskMeter(TaskSet([Task("a", metrics=["mae"]), Task("b", metrics=["mae"])]))
    meter.update({"a": torch.zeros(2), "b": torch.zeros(2)}, {"a": torch.ones(2)}, {"a": torch.tensor([True, False])})
    assert meter.counts == {"a": 1, "b": 0}
    with pytest.raises(TaskError, match="targets: unknown task 'c'"):
        meter.update({}, {"c": torch.ones(2)})


def test_large_evaluations_take_seconds():
    """336,000 rows in batches of 256, three tasks with all their default metrics."""
    tasks = TaskSet([Task("delay"), Task("late", "binary"), Task("carrier", "multiclass", classes=10)])
    rows, size = 336_000, 256
    predictions = {"delay": torch.randn(rows, 1), "late": torch.randn(rows, 1), "carrier": torch.randn(rows, 10)}
    targets = {"delay": torch.randn(rows), "late": torch.randint(2, (rows,)), "carrier": torch.randint(10, (rows,))}
    meter = tasks.meter()
    start = time.perf_counter()
    for low in range(0, rows, size):
        part = slice(low, low + size)
        meter.update({k: v[part] for k, v in predictions.items()}, {k: v[part] for k, v in targets.items()})
    values = meter.compute()
    assert time.perf_counter() - start < 10
    assert meter.counts == dict.fromkeys(tasks, rows)
    assert values["late"]["auroc"] == pytest.approx(sk.roc_auc_score(targets["late"], predictions["late"]), abs=1e-7)


def test_a_reset_meter_is_a_new_one_and_makes_no_metric_again(monkeypatch):
    tasks = TaskSet([Task("a"), Task("b", "binary"), Task("c", "multiclass", classes=3, metrics=["auroc", "f1"])])
    generator = torch.Generator().manual_seed(0)

    def rows(count):
        outputs = {name: torch.randn(count, task.out_features, generator=generator) for name, task in tasks.items()}
        a, b, c = torch.randn(count), torch.arange(count) % 2, torch.arange(count) % 3
        return outputs, {"a": a, "b": b, "c": c}

    used, first, second = tasks.meter(), rows(7), rows(11)
    used.update(*first)
    used.compute()
    used.update(*first)  # still waiting when the meter is emptied
    fresh = tasks.meter()
    monkeypatch.setattr(Task, "make_metrics", lambda self: pytest.fail("made again"))
    used.reset()
    assert used.counts == {"a": 0, "b": 0, "c": 0}
    for meter in (used, fresh):
        meter.update(*second)
    assert used.compute() == fresh.compute()
    assert (used.loss(), used.counts, used.undefined) == (fresh.loss(), fresh.counts, fresh.undefined)
