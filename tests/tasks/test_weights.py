"""Weights of rows and classes: 2 is the row twice, 0 a missing label, 1 changes nothing."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from torch.nn import functional

from polytask.errors import TaskError
from polytask.tasks import Task, TaskSet

from .cases import CASES

KINDS = [name for name in CASES if name != "custom"]


def drawn(name, rows=40):
    task, prediction, target = CASES[name].draw(rows, dtype=torch.float64)
    weight = torch.randint(0, 4, (rows,), generator=torch.Generator().manual_seed(1))
    return task, prediction, target, weight


@pytest.mark.parametrize("name", CASES)
def test_a_loss_and_its_gradient_are_those_of_repeated_rows(name):
    task, z, y, w = drawn(name)
    ours, theirs = z.clone().requires_grad_(), z.clone().requires_grad_()
    value = task.loss(ours, y, weight=w.double())
    expected = task.loss(theirs.repeat_interleave(w, 0), y.repeat_interleave(w, 0))
    value.backward()
    expected.backward()
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(ours.grad, theirs.grad)
    assert (ours.grad[w == 0] == 0).all()


@pytest.mark.parametrize("name", CASES)
def test_weights_of_one_change_no_bit(name):
    task, z, y, w = drawn(name)
    assert torch.equal(task.loss(z.float(), y, weight=torch.ones(len(w))), task.loss(z.float(), y))


@pytest.mark.parametrize("name", KINDS)
def test_metrics_and_mean_losses_are_those_of_repeated_rows(name):
    task, z, y, w = drawn(name)
    tasks = TaskSet(
        [Task("t", task.kind, classes=task.classes, quantiles=task.quantiles, metrics=[*task.rule.scores()])]
    )
    ours, theirs, plain, ones = (tasks.meter() for _ in range(4))
    for rows in (slice(0, 25), slice(25, None)):
        ours.update({"t": z[rows]}, {"t": y[rows]}, weights={"t": w[rows]})
        ones.update({"t": z[rows]}, {"t": y[rows]}, weights={"t": torch.ones_like(w[rows])})
    plain.update({"t": z}, {"t": y})
    theirs.update({"t": z.repeat_interleave(w, 0)}, {"t": y.repeat_interleave(w, 0)})
    assert ours.compute()["t"] == pytest.approx(theirs.compute()["t"], rel=1e-6)
    assert ones.compute()["t"] == pytest.approx(plain.compute()["t"], rel=1e-6)
    assert ours.loss()["t"] == pytest.approx(theirs.loss()["t"])
    assert ours.counts["t"] == task.count(y[w > 0])


def test_a_metric_of_the_users_own_is_undefined_with_weights():
    from torchmetrics import MeanSquaredError

    meter = TaskSet([Task("t", metrics={"mine": MeanSquaredError()})]).meter()
    meter.update({"t": torch.zeros(3)}, {"t": torch.ones(3)}, weights={"t": torch.ones(3)})
    assert np.isnan(meter.compute()["t"]["mine"])
    assert "weights" in meter.undefined["t"]["mine"]


def test_batches_with_and_without_weights_do_not_mix_across_metrics():
    meter = TaskSet([Task("t")]).meter()
    meter.update({"t": torch.zeros(3)}, {"t": torch.ones(3)})
    meter.compute()
    meter.update({"t": torch.zeros(3)}, {"t": torch.ones(3)}, weights={"t": torch.ones(3)})
    with pytest.raises(TaskError, match="some batches have weights"):
        meter.compute()


@pytest.mark.parametrize("given", [[1.0, 4.0, 0.5], {"red": 1.0, "blue": 4.0, "sky": 0.5}])
def test_class_weights_are_those_of_pytorchs_cross_entropy(given):
    task = Task("c", "multiclass", labels=["red", "blue", "sky"], class_weight=given)
    z, y = torch.randn(20, 3), torch.randint(0, 3, (20,))
    torch.testing.assert_close(task.loss(z, y), functional.cross_entropy(z, y, weight=torch.tensor([1.0, 4.0, 0.5])))
    again = Task.from_dict(task.to_dict())
    assert again == task
    assert again != Task("c", "multiclass", labels=["red", "blue", "sky"])


@pytest.mark.parametrize(("kind", "classes"), [("binary", None), ("multiclass", 3), ("ordinal", 3)])
def test_balanced_weights_are_scikit_learns(kind, classes):
    y = torch.tensor([0, 1, 1, 1, 0, 1, -100, 1, 1] if classes is None else [0, 1, 2, 2, 2, 1, -100, 2, 2])
    tasks = TaskSet([Task("c", kind, classes=classes, class_weight="balanced"), Task("other")]).balanced({"c": y})
    known = y[y >= 0].numpy()
    expected = compute_class_weight("balanced", classes=np.unique(known), y=known)
    np.testing.assert_allclose(tasks["c"].class_weight, expected)


def test_balanced_weights_that_are_not_numbers_yet_say_what_to_do():
    with pytest.raises(TaskError, match=r"tasks\.balanced"):
        Task("c", "binary", class_weight="balanced").loss(torch.zeros(2), torch.tensor([0, 1]))
    with pytest.raises(TaskError, match="needs training labels"):
        TaskSet([Task("c", "binary", class_weight="balanced")]).balanced({"c": torch.tensor([-100])})


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        ("regression", "balanced", "labels that are classes"),
        ("binary", "equal", "balanced"),
        ("binary", [1.0], "2 positive numbers"),
        ("binary", [1.0, 0.0], "2 positive numbers"),
        ("binary", [1.0, float("nan")], "2 positive numbers"),
        ("binary", {"2": 1.0}, "class in class_weight"),
    ],
)
def test_class_weights_that_cannot_be_are_refused(kind, given, said):
    with pytest.raises(TaskError, match=said):
        Task("c", kind, class_weight=given)


def test_an_own_loop_takes_weights_by_task():
    tasks = TaskSet([Task("a"), Task("b", "binary")])
    z, y = {"a": torch.tensor([1.0, 2.0]), "b": torch.zeros(2)}, {"a": torch.zeros(2), "b": torch.tensor([0, 1])}
    losses = tasks.losses(z, y, weights={"a": torch.tensor([3.0, 1.0]), "b": torch.zeros(2)})
    assert {name: float(loss) for name, loss in losses.items()} == {"a": 7 / 4}
    with pytest.raises(TaskError, match="weights"):
        tasks.losses(z, y, weights={"c": torch.ones(2)})


@pytest.mark.parametrize("wrong", [[1.0, -1.0], [1.0, float("nan")], [1.0, float("inf")], [1.0, 1.0, 1.0]])
def test_weights_that_cannot_be_are_refused(wrong):
    with pytest.raises(TaskError, match="weights"):
        Task("a").loss(torch.zeros(2), torch.zeros(2), weight=torch.tensor(wrong))


def test_a_loss_that_gives_one_number_leaves_nothing_to_weigh():
    task = Task("a", loss=lambda z, y: nn.functional.mse_loss(z[:, 0], y))
    with pytest.raises(TaskError, match="nothing to weigh"):
        task.loss(torch.zeros(2, 1), torch.zeros(2), weight=torch.tensor([1.0, 2.0]))
