"""Declaring a task: defaults, custom losses and metrics, plain values, and errors that name the remedy."""

import dataclasses
import json
import pickle

import pytest
import torch
import torchmetrics
from torch import nn
from torch.nn import functional

from polytask.errors import TaskError
from polytask.tasks import Score, Task, TaskSet
from polytask.tasks.losses import row_losses

from .cases import CASES


def test_defaults():
    task = Task("age")
    assert (task.kind, task.primary, task.weight, task.out_features) == ("regression", "rmse", 1.0, 1)
    assert task.directions == {"rmse": -1, "mae": -1, "r2": 1}
    assert Task("mine", loss=torch.nn.functional.l1_loss).kind == "custom"
    assert Task("age", "regression", loss=torch.nn.functional.l1_loss).kind == "regression"


def test_class_names_give_the_number_of_classes():
    task = Task("colour", "multiclass", labels=["red", "green", "blue"])
    assert (task.classes, task.out_features) == (3, 3)
    assert Task("sex", "binary", labels=["f", "m"]).out_features == 1
    with pytest.raises(TaskError, match="expected 4 labels, one per class, found 2"):
        Task("colour", "multiclass", classes=4, labels=["red", "green"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": ""}, "needs a name"),
        ({"name": " age"}, "without space around it, found ' age'"),
        ({"name": "a", "kind": "binray"}, "did you mean 'binary'"),
        ({"name": "a", "kind": "multiclass"}, "'multiclass' needs classes=.*found None"),
        ({"name": "a", "kind": "multiclass", "classes": 1}, "at least 2, found 1"),
        ({"name": "a", "kind": "multilabel"}, "number of labels, found None"),
        ({"name": "a", "kind": "ordinal"}, "needs classes="),
        ({"name": "a", "kind": "regression", "classes": 3}, "takes no classes=, found 3"),
        ({"name": "a", "kind": "binary", "quantiles": (0.5,)}, "takes no quantiles="),
        ({"name": "a", "kind": "custom"}, "needs loss="),
        ({"name": "a", "weight": 0.0}, "weight must be positive.*leave it out"),
        ({"name": "a", "weight": float("nan")}, "weight must be a finite number"),
        ({"name": "a", "metrics": ["rmes"]}, "did you mean 'rmse'"),
        ({"name": "a", "metrics": "rmse"}, "must be a list of names, found 'rmse'"),
        ({"name": "a", "metrics": {"f": torchmetrics.SumMetric()}}, "whether higher is better; write Score.SumMetric"),
    ],
)
def test_wrong_declarations_are_refused(arguments, message):
    with pytest.raises(TaskError, match=message):
        Task(**arguments)


@pytest.mark.usefixtures("no_type_checks")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss": "mse"}, "'a': loss must be a function of predictions and targets, found 'mse'"),
        ({"metrics": {"f": max}}, "'a': metric 'f' must be a torchmetrics object, found builtin_function"),
    ],
)
def test_things_of_the_wrong_type_are_refused(arguments, message):
    with pytest.raises(TaskError, match=message):
        Task("a", **arguments)


def test_metrics_by_name_keep_their_order_and_the_first_is_primary():
    task = Task("sex", "binary", metrics=["f1", "auroc"])
    assert list(task.make_metrics()) == ["f1", "auroc"]
    assert task.primary == "f1"


class TestOwnLoss:
    @pytest.mark.parametrize(
        "loss",
        [
            lambda z, y: (z - y).abs().mean(),
            lambda z, y: (z - y).abs(),
            lambda z, y: torch.stack([(z - y).abs(), (z - y).abs()], dim=1),
        ],
    )
    def test_mean_or_one_value_per_row(self, loss):
        task = Task("t", "regression", loss=loss)
        target = torch.tensor([1.0, float("nan"), 4.0])
        assert float(task.loss(torch.zeros(3, 1), target)) == 2.5
        total, count = task.loss_sum(torch.zeros(3, 1), target)
        assert (float(total), count) == (5.0, 2)

    def test_sees_only_present_rows_of_any_shape(self):
        seen = []

        def loss(z, y):
            seen.append((z.shape, y.shape))
            return ((z - y) ** 2).mean()

        task = Task("t", loss=loss, classes=2)
        target = torch.zeros(4, 2, 3)
        target[1, 0, 0] = float("nan")
        task.loss(torch.zeros(4, 2, 3), target)
        assert seen == [((3, 2, 3), (3, 2, 3))]
        assert task.out_features == 2

    def test_is_not_called_without_labels(self):
        task = Task("t", loss=lambda z, y: pytest.fail("called"))
        assert task.loss(torch.zeros(2, 1), torch.tensor([float("nan")] * 2)) is None

    @pytest.mark.parametrize("value", [1.0, torch.zeros(3), None])
    def test_other_results_are_refused(self, value):
        task = Task("t", loss=lambda z, y: value)
        with pytest.raises(TaskError, match=r"'t': loss= must return a tensor .* each of the 2 rows"):
            task.loss(torch.zeros(2, 1), torch.zeros(2))

    @pytest.mark.parametrize(
        ("task", "by_hand"),
        [
            (
                lambda: Task("t", "binary", loss=nn.BCEWithLogitsLoss(pos_weight=torch.tensor(9.0))),
                lambda z, y: (
                    -(9 * y * functional.logsigmoid(z[:, 0]) + (1 - y) * functional.logsigmoid(-z[:, 0])).mean()
                ),
            ),
            (
                lambda: Task("t", loss=nn.BCEWithLogitsLoss(reduction="none")),
                lambda z, y: -(y * functional.logsigmoid(z[:, 0]) + (1 - y) * functional.logsigmoid(-z[:, 0])).mean(),
            ),
            (lambda: Task("t", "binary", loss=nn.MSELoss()), lambda z, y: (z[:, 0] - y).square().mean()),
            (lambda: Task("t", "count", loss=nn.PoissonNLLLoss()), lambda z, y: (z[:, 0].exp() - y * z[:, 0]).mean()),
            (
                lambda: Task("t", "regression", loss=nn.HuberLoss()),
                lambda z, y: functional.huber_loss(z[:, 0], y.float()),
            ),
        ],
    )
    def test_modules_of_torch_get_the_targets_they_want(self, task, by_hand):
        z, y = torch.tensor([[0.3], [-0.2], [1.5], [0.1]]), torch.tensor([0, 1, -100, 1])
        known = y != -100
        if task().kind == "custom":
            z_given = z[:, 0]
        else:
            z_given = z
        assert torch.allclose(task().loss(z_given, y), by_hand(z[known], y[known]))

    @pytest.mark.parametrize(
        "options", [{"weight": torch.tensor([1.0, 2.0, 3.0])}, {"label_smoothing": 0.1}, {"reduction": "none"}]
    )
    def test_cross_entropy_of_torch(self, options):
        task = Task("t", "multiclass", classes=3, loss=nn.CrossEntropyLoss(**options))
        z, y = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 2, -100, 1, 1])
        expected = functional.cross_entropy(z[y >= 0], y[y >= 0], **options).mean()
        assert torch.allclose(task.loss(z, y), expected)
        meter = TaskSet([task]).meter()
        meter.update({"t": z}, {"t": y})
        assert meter.loss()["t"] == pytest.approx(float(expected))

    def test_modules_are_moved_to_the_predictions(self):
        loss = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(2.0))
        task = Task("t", "binary", loss=loss)
        elsewhere = row_losses(task, torch.zeros(2, device="meta"), torch.ones(2, device="meta"))
        assert (elsewhere.device.type, loss.pos_weight.device.type) == ("meta", "meta")
        loss.pos_weight = torch.tensor(2.0)
        assert torch.allclose(task.loss(torch.zeros(2, 1), torch.ones(2).long()), torch.tensor(2.0).log() * 2)

    @pytest.mark.parametrize(
        ("loss", "message"),
        [
            (nn.BCELoss(), r"wants probabilities.*use nn.BCEWithLogitsLoss"),
            (nn.SoftMarginLoss(), r"labels of −1 and 1"),
            (nn.BCEWithLogitsLoss(reduction="sum"), r"sums over the rows.*reduction='mean'"),
            (nn.BCEWithLogitsLoss, r"found a class; write BCEWithLogitsLoss\(…\)"),
        ],
    )
    def test_modules_that_would_misread_labels_are_refused(self, loss, message):
        with pytest.raises(TaskError, match=message):
            Task("t", "binary", loss=loss)

    def test_its_own_error_is_named(self):
        task = Task("t", "binary", loss=functional.binary_cross_entropy_with_logits)
        with pytest.raises(TaskError, match=r"'t': loss= \(binary_cross.*\(2,\) of float32.*of int64.*y.float\(\)"):
            task.loss(torch.zeros(2, 1), torch.tensor([0, 1]))
        full = Task("t", loss=lambda z, y: torch.empty(2**60))
        with pytest.raises(RuntimeError, match="allocate memory"):
            full.loss(torch.zeros(2, 1), torch.zeros(2, 1))

    def test_survives_replace(self):
        task = Task("t", loss=torch.nn.functional.l1_loss)
        assert dataclasses.replace(task, weight=2.0).loss_function is torch.nn.functional.l1_loss


class TestOwnMetrics:
    def test_direction_comes_from_the_metric(self):
        task = Task("t", metrics={"r2": torchmetrics.R2Score(), "mape": torchmetrics.MeanAbsolutePercentageError()})
        assert task.directions == {"r2": 1, "mape": -1}
        assert task.primary == "r2"

    def test_direction_is_told_where_the_metric_is_silent(self):
        pearson = Score(torchmetrics.PearsonCorrCoef, higher_is_better=True)
        assert Task("t", metrics={"pearson": pearson}).directions == {"pearson": 1}

    def test_users_object_is_not_written_to(self):
        own = torchmetrics.MeanAbsoluteError()
        task = Task("t", metrics={"mae": own})
        task.make_metrics()["mae"].update(torch.ones(2), torch.zeros(2))
        assert own.update_count == 0


class TestPlainValues:
    @pytest.mark.parametrize("kind", [kind for kind in CASES if kind != "custom"])
    def test_round_trip_through_json(self, kind):
        more = {"shift": 2.0, "scale": 3.0} if kind in ("regression", "quantile") else {}
        task = CASES[kind].task(weight=2.5, missing=-1, unit="m", **more)
        again = Task.from_dict(json.loads(json.dumps(task.to_dict())))
        assert again == task
        assert again.to_dict() == task.to_dict()
        assert pickle.loads(pickle.dumps(task)) == task

    def test_code_is_refused(self):
        with pytest.raises(TaskError, match="custom loss is code"):
            Task("t", loss=torch.nn.functional.l1_loss).to_dict()
        with pytest.raises(TaskError, match="custom metrics is code"):
            Task("t", metrics={"m": torchmetrics.MeanAbsoluteError()}).to_dict()

    def test_unknown_key_names_the_nearest(self):
        with pytest.raises(TaskError, match="did you mean 'weight'"):
            Task.from_dict({"name": "t", "wieght": 2})

    def test_equality_looks_at_every_setting(self):
        task = Task("t", metrics=["rmse"])
        assert task == Task("t", metrics=["rmse"])
        assert hash(task) == hash(Task("t", metrics=["rmse"]))
        for change in ({"weight": 2.0}, {"metrics": ["mae"]}, {"missing": 0.0}, {"shift": 1.0}, {"name": "u"}):
            assert dataclasses.replace(task, **change) != task

    def test_is_frozen(self):
        with pytest.raises(dataclasses.FrozenInstanceError):
            Task("t").weight = 2.0
