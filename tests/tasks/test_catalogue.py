"""Metrics of probabilities and shares beyond the table of ``test_meter``, and the names by which others know them."""

import numpy as np
import pytest
import torch
from sklearn import metrics

from polytask.errors import ConfigError, TaskError
from polytask.study import Config
from polytask.tasks import KINDS, Task, TaskSet
from polytask.tasks.naming import canonical


def measured(task, prediction, target):
    meter = TaskSet([task]).meter()
    for part in (slice(0, 7), slice(7, None)):  # in two batches
        meter.update({task.name: prediction[part]}, {task.name: target[part]})
    return meter.compute()[task.name], meter.undefined.get(task.name, {})


def draw(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_two_classes_have_the_same_penalties_as_a_yes_or_no(kind):
    z, y = draw(60), (draw(60, 1) > 0).long()
    head, options = (z, {}) if kind == "binary" else (torch.stack([0 * z, z], 1), {"classes": 2})
    found, _ = measured(Task("t", kind, metrics=["log_loss", "brier"], **options), head, y)
    assert found["log_loss"] == pytest.approx(metrics.log_loss(y.numpy(), z.sigmoid().numpy()))
    assert found["brier"] == pytest.approx(metrics.brier_score_loss(y.numpy(), z.sigmoid().numpy()))


def test_several_labels_count_those_that_are_there():
    z, y = draw((40, 3)), (draw((40, 3), 1) > 0).long()
    y[::3, 1] = -100
    found, _ = measured(Task("t", "multilabel", classes=3, metrics=["log_loss", "brier"]), z, y)
    there = (y >= 0).numpy()
    truth, chance = y.numpy()[there], z.sigmoid().numpy()[there]
    assert found["log_loss"] == pytest.approx(metrics.log_loss(truth, chance))
    assert found["brier"] == pytest.approx(metrics.brier_score_loss(truth, chance))


@pytest.mark.parametrize("unit", [1.0, 1e-9, 1e9])
def test_errors_as_shares_do_not_depend_on_the_unit(unit):
    y, z = unit * (draw(50) + 5), unit * (draw(50, 1) + 5)
    found, _ = measured(Task("t", metrics=["mape"]), z, y)
    assert found["mape"] == pytest.approx(metrics.mean_absolute_percentage_error(y.numpy(), z.numpy()), rel=1e-6)


def test_what_is_no_share_is_said():
    y = torch.tensor([0.0, 1.0, 2.0] * 4)
    found, why = measured(Task("t", metrics=["mape", "mae"]), y + 1, y)
    assert np.isnan(found["mape"])
    assert found["mae"] == 1.0
    assert "4 of 12 labels are 0" in why["mape"]


def test_a_certain_mistake_costs_a_finite_loss_as_in_scikit_learn():
    found, _ = measured(Task("t", "binary", metrics=["log_loss"]), torch.full((8,), 800.0).double(), torch.zeros(8))
    assert found["log_loss"] == pytest.approx(metrics.log_loss(np.zeros(8), np.ones(8), labels=[0, 1]), rel=1e-6)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "custom"])
def test_names_of_the_catalogue_stay_what_they_are(kind):
    options = {"classes": 3} if "classes" in KINDS[kind].takes else {}
    names = list(Task("t", kind, **options).rule.scores())
    assert [canonical(name, names) for name in names] == names


@pytest.mark.parametrize(
    ("kind", "name", "ours"),
    [
        ("binary", "roc_auc", "auroc"),
        ("binary", "BinaryAUROC", "auroc"),
        ("binary", "matthews_corrcoef", "mcc"),
        ("binary", "neg_log_loss", "log_loss"),
        ("binary", "brier_score_loss", "brier"),
        ("binary", "balanced_accuracy_score", "balanced_accuracy"),
        ("regression", "neg_mean_absolute_percentage_error", "mape"),
        ("regression", "MeanSquaredError", "mse"),
        ("regression", "r2_score", "r2"),
        ("count", "mean_poisson_deviance", "deviance"),
        ("quantile", "mean_pinball_loss", "pinball"),
        ("quantile", "quantile_loss", "pinball"),
    ],
)
def test_other_houses_names(kind, name, ours):
    assert Task("t", kind, metrics=[name]).primary == ours


def test_an_unknown_name_is_still_an_error():
    with pytest.raises(TaskError, match="unknown metric of kind 'binary' 'roc_auk'"):
        Task("t", "binary", metrics=["roc_auk"])


@pytest.mark.parametrize(("written", "primary"), [("matthews_corrcoef", "mcc"), ("log_loss", "log_loss")])
def test_metrics_in_the_configuration(written, primary):
    head = '[data]\nsource = "multidigits"\noptions = {n = 60}\n[tasks.parity]\nmetric = '
    task = Config.parse(f'{head}"{written}"\n').build_data().tasks["parity"]
    assert task.primary == primary
    assert "auroc" in task.directions
    with pytest.raises(ConfigError, match=r"\[tasks.parity\] unknown metric 'mccc'"):
        Config.parse(f'{head}"mccc"\n').build_data()
