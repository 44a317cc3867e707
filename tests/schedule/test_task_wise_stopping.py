"""Task-wise early stopping: the criterion, computed by hand and by its formula."""

import numpy as np
import pytest

from polytask.schedule import Standing, TaskWiseStopping


def ends(train, val, **options):
    schedule = TaskWiseStopping(**options)
    schedule.begin(["a", "b"])
    for epoch, (loss, other) in enumerate(zip(train, val, strict=True), start=1):
        schedule.follow(Standing(epoch, {"a": loss}, {"a": other}))
    return "a" in schedule.retired()


def criterion(train, val, k):
    """As published."""
    last = np.array(train[-k:])
    trend = k * np.median(last) / (last.sum() - k * np.median(last))
    return trend * (val - min(train)) / min(train)


def test_halving_losses_give_four():
    train = [8.0, 4.0, 2.0, 1.0]
    assert criterion(train, 2.0, 4) == 4.0
    for threshold, ended in ((3.99, True), (4.01, False)):
        assert ends(train, [9, 9, 9, 2.0], window=4, threshold=threshold) is ended
    assert ends(train, [9, 9, 9, 2.0], window=4, threshold=2.01, importance=2.0) is False
    assert ends(train, [9, 9, 9, 2.0], window=4, threshold=1.99, importance={"a": 2.0}) is True


@pytest.mark.parametrize("seed", range(20))
def test_the_first_epoch_at_which_the_formula_exceeds_the_threshold(seed):
    rng = np.random.default_rng(seed)
    train = 1 + 3 * 0.7 ** np.arange(12) + rng.exponential(0.1, 12)  # skewed, so that means exceed medians
    val = train + rng.uniform(0, 0.5, 12)
    k, threshold = 4, 3.0
    values = [criterion(list(train[: e + 1]), val[e], k) if e + 1 >= k else -np.inf for e in range(12)]
    falls = [e + 1 < k or train[e + 1 - k : e + 1].sum() > k * np.median(train[e + 1 - k : e + 1]) for e in range(12)]
    if not all(falls):
        values = [v if good else np.sign(val[e] - min(train[: e + 1])) * np.inf
                  for e, (v, good) in enumerate(zip(values, falls, strict=True))]  # fmt: skip
    first = next((e for e, value in enumerate(values) if value > threshold), None)
    for end in range(12):
        expected = first is not None and first <= end
        assert ends(train[: end + 1], val[: end + 1], window=k, threshold=threshold) is expected


def test_a_loss_at_rest_ends_once_validation_is_behind():
    assert ends([1.0] * 5, [1.1] * 5)
    assert not ends([1.0] * 5, [0.9] * 5)  # validation is ahead
    assert not ends([1.0] * 4, [1.1] * 4)  # not a whole window yet
    assert not ends([-1.0] * 9, [1.1] * 9)  # the formula is for losses ≥ 0


def test_no_training_loss_left_and_ends_of_all():
    assert ends([1.0, 0.5, 0.1, 0.0, 0.0], [1.0] * 5)
    schedule = TaskWiseStopping(window=2)
    schedule.begin(["a"])
    for epoch in (1, 2):
        schedule.follow(Standing(epoch, {"a": 1.0}, {"a": 2.0}))
    assert schedule.ended


def test_the_main_task_never_ends():
    schedule = TaskWiseStopping(main="a", window=2)
    schedule.begin(["a", "b"])
    for epoch in range(1, 6):
        both = {"a": 1.0, "b": 1.0}
        schedule.follow(Standing(epoch, both, {"a": 2.0, "b": 2.0}))
    assert schedule.next() == {"a"}
    assert not schedule.ended
