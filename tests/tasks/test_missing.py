"""Missing labels: the loss is that of the present rows, absent rows have exactly no gradient, nothing becomes NaN."""

import math

import pytest
import torch

from polytask.errors import TaskError
from polytask.tasks import Task, TaskSet

from .cases import CASES

kinds = pytest.mark.parametrize("kind", CASES)
NAN = float("nan")


def absent(target, rows):
    """The target with the label of ``rows`` missing by dtype."""
    return target.masked_fill(rows.view(-1, *[1] * (target.ndim - 1)), -100 if not target.is_floating_point() else NAN)


@kinds
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("as_float", [False, True])
def test_loss_and_gradient_are_those_of_the_present_rows(kind, seed, as_float):
    rows = 3 + 7 * seed
    task, prediction, target = CASES[kind].draw(rows, seed=seed, dtype=torch.float64)
    target = target.double() if as_float else target
    gone = torch.rand(rows) < 0.5
    gone[0], gone[1] = True, False

    alone = prediction[~gone].clone().requires_grad_()
    expected = task.loss(alone, target[~gone])
    (gradient,) = torch.autograd.grad(expected, alone)

    prediction.requires_grad_()
    loss = task.loss(prediction, absent(target, gone))
    (found,) = torch.autograd.grad(loss, prediction)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(found[~gone], gradient)
    assert (found[gone] == 0).all()

    masked = task.loss(prediction, target, ~gone)
    torch.testing.assert_close(masked, expected)
    assert task.loss_sum(prediction, absent(target, gone))[1] == task.count(absent(target, gone))


@kinds
@pytest.mark.parametrize("junk", [NAN, float("inf"), 1e38])
def test_what_absent_rows_predict_never_matters(kind, junk):
    """0·NaN is NaN: a mask that multiplies would spoil every gradient here."""
    task, prediction, target = CASES[kind].draw(4)
    gone = torch.tensor([False, True, False, True])
    clean = task.loss(prediction, absent(target, gone))
    prediction[gone] = junk
    prediction.requires_grad_()
    loss = task.loss(prediction, absent(target, gone))
    loss.backward()
    torch.testing.assert_close(loss, clean)
    assert prediction.grad.isfinite().all()
    assert (prediction.grad[gone] == 0).all()


@kinds
@pytest.mark.parametrize("rows", [0, 1, 4])
def test_no_label_is_no_loss_and_a_zero_sum_in_the_graph(kind, rows):
    task, prediction, target = CASES[kind].draw(rows)
    prediction.requires_grad_()
    target = absent(target, torch.ones(rows, dtype=torch.bool))
    assert task.loss(prediction, target) is None
    total, count = task.loss_sum(prediction, target)
    assert (total.item(), count) == (0.0, 0)
    total.backward()
    assert (prediction.grad == 0).all()


@kinds
def test_sums_and_counts_of_parts_give_the_mean_of_the_whole(kind):
    task, prediction, target = CASES[kind].draw(30, dtype=torch.float64)
    target = absent(target, torch.arange(30) % 3 == 0)
    parts = [task.loss_sum(prediction[a:b], target[a:b]) for a, b in ((0, 1), (1, 2), (2, 25), (25, 30))]
    mean = sum(total for total, _ in parts) / sum(count for _, count in parts)
    torch.testing.assert_close(mean, task.loss(prediction, target))


@kinds
def test_mean_over_random_missing_is_unbiased(kind):
    """Half of the labels deleted at random: the mean of the loss over many deletions is the complete loss."""
    task, prediction, target = CASES[kind].draw(8, dtype=torch.float64)
    complete = float(task.loss(prediction, target))
    subsets = [torch.tensor([(code >> bit) & 1 for bit in range(8)], dtype=torch.bool) for code in range(256)]
    half = [float(task.loss(prediction, absent(target, gone))) for gone in subsets if int(gone.sum()) == 4]
    assert math.isclose(sum(half) / len(half), complete, rel_tol=1e-9)


def test_explicit_sentinel_replaces_the_rule_by_dtype():
    task = Task("age", missing=-1)
    prediction, target = torch.zeros(3, 1), torch.tensor([2.0, -1.0, 4.0])
    assert float(task.loss(prediction, target)) == 10.0
    assert task.present(target).tolist() == [True, False, True]
    with pytest.raises(TaskError, match=r"'age'.*found nan"):
        task.loss(prediction, torch.tensor([2.0, NAN, 4.0]))
    labels = Task("sex", "binary", missing=9)
    assert float(labels.loss(prediction, torch.tensor([1, 9, 0]))) == pytest.approx(math.log(2))
    with pytest.raises(TaskError, match="found -100"):
        labels.loss(prediction, torch.tensor([1, -100, 0]))


def test_mask_and_missing_value_both_count():
    task = Task("age")
    target = torch.tensor([1.0, NAN, 3.0])
    mask = torch.tensor([False, True, True])
    assert task.present(target, mask).tolist() == [False, False, True]
    assert float(task.loss(torch.zeros(3), target, mask)) == 9.0
    assert float(task.loss(torch.zeros(3), target[:, None], mask[:, None])) == 9.0


def test_masks_are_checked():
    task, target = Task("age"), torch.zeros(3)
    with pytest.raises(TaskError, match=r"'age': expected a mask of dtype bool, found torch.float32; use mask.bool"):
        task.present(target, torch.ones(3))
    with pytest.raises(TaskError, match=r"shape \(3,\).*found \(2,\)"):
        task.present(target, torch.ones(2, dtype=torch.bool))


class TestPartialRows:
    """Several labels per row of which some are missing."""

    task = Task("tox", "multilabel", classes=3)
    target = torch.tensor([[1.0, NAN, 0.0], [NAN, NAN, NAN], [NAN, 1.0, NAN]])

    def test_row_is_present_with_any_label(self):
        assert self.task.present(self.target).tolist() == [True, False, True]
        assert self.task.count(self.target) == 3

    def test_loss_is_the_mean_over_present_labels(self):
        prediction = torch.randn(3, 3, requires_grad=True)
        known = ~self.target.isnan()
        expected = torch.nn.functional.binary_cross_entropy_with_logits(prediction[known], self.target[known])
        loss = self.task.loss(prediction, self.target)
        torch.testing.assert_close(loss, expected)
        loss.backward()
        assert (prediction.grad[~known] == 0).all()
        assert (prediction.grad[known] != 0).all()

    def test_row_mask_drops_rows(self):
        mask = torch.tensor([True, True, False])
        assert self.task.count(self.target, mask) == 2
        assert self.task.count(self.target, mask[:, None].expand(3, 3)) == 2

    def test_own_loss_sees_complete_rows_only(self):
        task = Task("tox", "multilabel", classes=3, loss=lambda z, y: ((z - y) ** 2).mean())
        target = torch.cat([self.target, torch.ones(1, 3)])
        assert task.present(target).tolist() == [False, False, False, True]
        assert float(task.loss(torch.zeros(4, 3), target)) == 1.0


def test_task_set_leaves_out_tasks_without_labels():
    tasks = TaskSet([Task("a"), Task("b"), Task("c")])
    predictions = {name: torch.zeros(2, 1) for name in "abc"}
    targets = {"a": torch.tensor([1.0, NAN]), "b": torch.tensor([NAN, NAN])}
    losses = tasks.losses(predictions, targets)
    assert list(losses) == ["a"]
    assert tasks.counts(targets) == {"a": 1, "b": 0, "c": 0}


def test_a_negative_label_is_told_how_it_can_mean_no_label():
    with pytest.raises(TaskError, match=r"found -1 .*missing=-1 if it means 'no label'"):
        Task("a", "multiclass", classes=3).loss(torch.zeros(2, 3), torch.tensor([0, -1]))
    assert Task("a", "multiclass", classes=3, missing=-1).loss(torch.zeros(2, 3), torch.tensor([0, -1])).isfinite()
