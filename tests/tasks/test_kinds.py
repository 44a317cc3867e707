"""Every kind: loss against a hand-written row loss, gradients, checks, decoding; then what is special to each."""

import math

import pytest
import torch
from torch.nn import functional

from polytask.errors import TaskError
from polytask.share import build_head
from polytask.tasks import KINDS, Task

from .cases import CASES

kinds = pytest.mark.parametrize("kind", CASES)


def test_every_kind_is_in_the_conformance_list():
    assert set(CASES) == set(KINDS)


@kinds
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_loss_is_the_mean_of_the_rows_losses(kind, dtype):
    case = CASES[kind]
    for rows in (1, 2, 17):
        task, prediction, target = case.draw(rows, seed=rows, dtype=dtype)
        expected = torch.stack([case.row_loss(z, y) for z, y in zip(prediction, target, strict=True)]).mean()
        loss = task.loss(prediction, target)
        assert loss.dtype == dtype
        assert loss.shape == ()
        torch.testing.assert_close(loss, expected.to(dtype))


@kinds
def test_gradient_is_the_derivative(kind):
    task, prediction, target = CASES[kind].draw(6, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda z: task.loss(z, target), prediction.requires_grad_())


@kinds
def test_losses_are_not_negative(kind):
    task, prediction, target = CASES[kind].draw(50)
    assert (task.entry_losses(3 * prediction, target) >= 0).all()


@kinds
def test_half_precision_predictions_are_scored_in_float32(kind):
    task, prediction, target = CASES[kind].draw(8)
    half = prediction.bfloat16()
    loss = task.loss(half, target)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, task.loss(half.float(), target))


@kinds
def test_impossible_label_is_refused_by_name_and_value(kind):
    case = CASES[kind]
    task, prediction, target = case.draw(4)
    if case.impossible is None:
        return
    target.view(-1)[1] = case.impossible
    with pytest.raises(TaskError, match=rf"'t'.*{abs(case.impossible)}") as caught:
        task.loss(prediction, target)
    assert ";" in str(caught.value)  # what to do comes after what was found


@kinds
def test_decode_has_one_row_each_and_is_on_the_natural_scale(kind):
    case = CASES[kind]
    task, prediction, _ = case.draw(7)
    decoded = task.decode(prediction)
    assert decoded.shape == (7, *case.decoded)
    if kind in ("binary", "multilabel", "multiclass", "ordinal"):
        assert ((decoded >= 0) & (decoded <= 1)).all()
    if kind in ("multiclass", "ordinal"):
        torch.testing.assert_close(decoded.sum(1), torch.ones(7))


@kinds
def test_head_fits_the_kind(kind):
    case = CASES[kind]
    task, _, target = case.draw(5)
    output = build_head(task, 6, (4,))(torch.randn(5, 6))
    assert output.shape == (5, task.out_features)
    assert task.loss(output, target).isfinite()


@kinds
def test_primary_metric_has_a_direction(kind):
    task = CASES[kind].task()
    if kind == "custom":
        assert (task.primary, task.directions) == ("", {})
        return
    metrics = task.make_metrics()
    assert task.primary == next(iter(metrics))
    assert set(task.directions) == set(metrics)
    for name, metric in metrics.items():
        if metric.higher_is_better is not None:
            assert task.directions[name] == (1 if metric.higher_is_better else -1)


@kinds
def test_squeezed_predictions_and_targets_do_not_broadcast(kind):
    """(B, 1) against (B,) would silently give a B×B loss in plain PyTorch."""
    task, prediction, target = CASES[kind].draw(5)
    if task.out_features != 1 or kind == "custom":
        return
    expected = task.loss(prediction, target)
    for z in (prediction, prediction[:, 0]):
        for y in (target, target[:, None]):
            torch.testing.assert_close(task.loss(z, y), expected)


@kinds
def test_wrong_shapes_name_task_expected_and_found(kind):
    task, prediction, target = CASES[kind].draw(5)
    with pytest.raises(TaskError, match=r"'t'.*\(5,.*found \(4,"):
        task.loss(prediction, target[:4])
    if kind != "custom":
        wrong = torch.zeros(5, task.out_features + 1)
        with pytest.raises(TaskError, match=rf"'t'.*found \(5, {task.out_features + 1}\)"):
            task.loss(wrong, target)
    with pytest.raises(TaskError, match=r"floating-point prediction, found torch\.int64"):
        task.loss(prediction.long(), target)


def test_losses_equal_pytorchs_own():
    for kind, expected in {
        "regression": lambda z, y: functional.mse_loss(z[:, 0], y),
        "binary": lambda z, y: functional.binary_cross_entropy_with_logits(z[:, 0], y.float()),
        "multiclass": functional.cross_entropy,
        "multilabel": lambda z, y: functional.binary_cross_entropy_with_logits(z, y.float()),
    }.items():
        task, prediction, target = CASES[kind].draw(33)
        torch.testing.assert_close(task.loss(prediction, target), expected(prediction, target))


@pytest.mark.parametrize("kind", ["multiclass", "binary", "ordinal", "count", "multilabel"])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8, torch.float32, torch.float64])
def test_class_labels_of_any_dtype_mean_the_same(kind, dtype):
    task, prediction, target = CASES[kind].draw(9)
    torch.testing.assert_close(task.loss(prediction, target.to(dtype)), task.loss(prediction, target))


def test_yes_or_no_labels_may_be_booleans_and_numbers_may_not():
    task, prediction, target = CASES["binary"].draw(9)
    torch.testing.assert_close(task.loss(prediction, target.bool()), task.loss(prediction, target))
    with pytest.raises(TaskError, match=r"dtype torch.bool; convert them with .float"):
        Task("age").loss(prediction, target.bool())


def test_large_labels_whose_sum_overflows_are_finite():
    target = torch.full((3,), 3e38)
    assert float(Task("t", shift=3e38, scale=1e30).loss(torch.zeros(3, 1), target)) == 0.0


def test_infinities_of_both_signs_do_not_cancel():
    with pytest.raises(TaskError, match=r"found inf \(2 of 3\)"):
        Task("t").loss(torch.zeros(3, 1), torch.tensor([float("inf"), 1.0, float("-inf")]))


def test_integer_targets_of_a_regression_are_numbers():
    task = Task("age")
    prediction = torch.zeros(3, 1)
    assert float(task.loss(prediction, torch.tensor([1, -100, 3]))) == 5.0


@pytest.mark.parametrize("kind", ["binary", "multiclass", "ordinal", "count"])
def test_fractions_are_no_classes(kind):
    task, prediction, target = CASES[kind].draw(4)
    target = target.float()
    target[2] = 0.5
    with pytest.raises(TaskError, match=r"whole numbers.*found 0.5"):
        task.loss(prediction, target)


def test_unsigned_labels_of_156_are_not_taken_for_minus_100():
    task = Task("t", "multiclass", classes=200)
    target = torch.tensor([156, 3], dtype=torch.uint8)
    assert task.present(target).tolist() == [True, True]
    assert Task("t", "multiclass", classes=200, missing=156).present(target).tolist() == [False, True]


class TestAffine:
    """shift and scale normalise the target for the loss only."""

    @pytest.mark.parametrize("kind", ["regression", "quantile"])
    def test_loss_is_on_the_normalised_and_decode_on_the_natural_scale(self, kind):
        case = CASES[kind]
        _, prediction, target = case.draw(20, dtype=torch.float64)
        plain, affine = case.task(), case.task(shift=1000.0, scale=50.0)
        natural = target.double() * 50 + 1000
        torch.testing.assert_close(affine.loss(prediction, natural), plain.loss(prediction, target.double()))
        torch.testing.assert_close(affine.decode(prediction), plain.decode(prediction) * 50 + 1000)

    def test_shift_is_subtracted_in_the_targets_own_precision(self):
        """In float32, 1e9 + 0.25 would lose its fraction before the shift could be taken off."""
        task = Task("t", shift=1e9)
        target = torch.tensor([1e9 + 0.25], dtype=torch.float64)
        assert float(task.loss(torch.zeros(1, 1), target)) == 0.0625

    def test_other_kinds_refuse_it(self):
        with pytest.raises(TaskError, match="shift and scale are for"):
            Task("t", "binary", shift=1.0)
        with pytest.raises(TaskError, match="scale must be positive"):
            Task("t", scale=0.0)


class TestOrdinal:
    def test_decode_is_the_difference_of_cumulative_probabilities(self):
        task = Task("t", "ordinal", classes=4)
        above = torch.tensor([[0.9, 0.6, 0.2]])
        expected = torch.tensor([[0.1, 0.3, 0.4, 0.2]])
        torch.testing.assert_close(task.decode(above.logit()), expected)
        assert task.rule.point(expected).tolist() == [2]

    def test_crossed_thresholds_still_give_probabilities(self):
        decoded = Task("t", "ordinal", classes=4).decode(torch.tensor([[0.0, 5.0, -1.0], [-9.0, 0.0, 9.0]]))
        assert (decoded >= 0).all()
        torch.testing.assert_close(decoded.sum(1), torch.ones(2))

    def test_built_head_is_rank_consistent_and_starts_uniform(self):
        task = Task("t", "ordinal", classes=5)
        head = build_head(task, 3)
        torch.testing.assert_close(task.decode(head(torch.zeros(1, 3))), torch.full((1, 5), 0.2))
        logits = head(10 * torch.randn(100, 3))
        assert (logits.diff(dim=1) < 0).all()

    def test_two_classes_are_a_binary_task(self):
        _, prediction, target = CASES["binary"].draw(20)
        ordinal = Task("t", "ordinal", classes=2)
        torch.testing.assert_close(ordinal.loss(prediction, target), Task("t", "binary").loss(prediction, target))
        torch.testing.assert_close(ordinal.decode(prediction)[:, 1], prediction[:, 0].sigmoid())


class TestCount:
    def test_minimum_is_at_the_mean_count(self):
        target = torch.tensor([0, 3, 6, 7])
        z = torch.full((4,), 4.0, dtype=torch.float64).log().requires_grad_()
        (gradient,) = torch.autograd.grad(Task("t", "count").loss(z, target), z)
        torch.testing.assert_close(gradient.sum(), torch.zeros((), dtype=torch.float64))
        torch.testing.assert_close(Task("t", "count").decode(z), torch.full_like(z, 4.0))


class TestQuantile:
    def test_best_constant_is_the_empirical_quantile(self):
        task = Task("t", "quantile", quantiles=[0.25])
        target = torch.arange(101.0)
        loss = {q: float(task.loss(torch.full((101, 1), float(q)), target)) for q in range(101)}
        assert min(loss, key=loss.get) == 25

    def test_median_is_half_the_absolute_error(self):
        _, prediction, target = CASES["regression"].draw(30)
        task = Task("t", "quantile", quantiles=[0.5])
        torch.testing.assert_close(task.loss(prediction, target), functional.l1_loss(prediction[:, 0], target) / 2)

    def test_decoding_sorts_and_never_raises_the_loss(self):
        task, prediction, target = CASES["quantile"].draw(500)
        decoded = task.decode(prediction)
        assert (decoded.diff(dim=1) >= 0).all()
        assert (task.entry_losses(decoded, target) <= task.entry_losses(prediction, target) + 1e-6).all()

    @pytest.mark.parametrize("levels", [(), (0.5, 0.5), (0.9, 0.1), (0.0, 0.5), (0.5, 1.0), (0.5, 1.5), (math.nan,)])
    def test_levels_must_increase_between_0_and_1(self, levels):
        with pytest.raises(TaskError, match="increasing levels between 0 and 1"):
            Task("t", "quantile", quantiles=levels)


@kinds
def test_directions_are_those_of_torchmetrics(kind):
    """The catalogue declares them, so that nothing has to be built to know them."""
    task = CASES[kind].draw(2)[0]
    for name, score in task.rule.scores().items():
        declared, said = score.higher_is_better, score.build().higher_is_better
        assert declared is not None
        assert said is None or declared == said, name
