import math

import pytest
import torch

from polytask.errors import ConfigError
from polytask.train import EarlyStopping

NAN = math.nan


def play(curves, rule, patience, min_delta=0.0, directions=None):
    """Feed curves of a metric per task until the stopper says stop; returns it and the epoch it stopped after."""
    stopper = EarlyStopping(list(curves), rule, patience=patience, min_delta=min_delta)
    directions = directions or dict.fromkeys(curves, 1)
    for epoch, values in enumerate(zip(*curves.values(), strict=True), start=1):
        found = {task: (value, directions[task]) for task, value in zip(curves, values, strict=True)}
        if stopper.update(epoch, found).stop:
            return stopper, epoch
    return stopper, None


RISES = [1.0, 1.125, 1.25, 1.375, 1.5, 1.625]  # eighths are exact, so that gains can cancel
PEAKS = [1.0, 1.25, 1.125, 1.125, 1.125, 1.125]
FLAT = [1.0] * 6
DROPS = [1.0, 0.875, 0.75, 0.625, 0.5, 0.375]

# rule, patience, curves of a and b, epoch it stops after, best epoch
TABLE = [
    ("mean_delta", 2, RISES, RISES, None, 6),
    ("mean_delta", 2, PEAKS, PEAKS, 4, 2),
    ("mean_delta", 2, RISES, DROPS, 3, 1),  # gains cancel: the mean never rises
    ("mean_delta", 2, RISES, FLAT, None, 6),
    ("all", 2, RISES, FLAT, None, 6),
    ("all", 2, PEAKS, FLAT, 4, 2),  # waits for the slower one
    ("all", 2, FLAT, FLAT, 3, 1),
    ("any", 2, RISES, FLAT, 3, 3),
    ("any", 2, RISES, RISES, None, 6),
    ("any", 2, PEAKS, RISES, 4, 4),
    ("a", 2, PEAKS, RISES, 4, 2),
    ("b", 2, PEAKS, RISES, None, 6),
    (None, 2, FLAT, FLAT, None, 1),
    ("mean_delta", None, FLAT, FLAT, None, 1),
    ("a", 1, FLAT, RISES, 2, 1),
    # a metric that is not defined neither helps nor holds up
    ("all", 2, [NAN] * 6, FLAT, 3, 1),
    ("any", 2, [NAN] * 6, RISES, None, 6),
    ("mean_delta", 2, [NAN] * 6, PEAKS, 4, 2),
]


@pytest.mark.parametrize(("rule", "patience", "a", "b", "stops", "best"), TABLE)
def test_rules(rule, patience, a, b, stops, best):
    stopper, stopped = play({"a": a, "b": b}, rule, patience)
    assert stopped == stops
    assert stopper.best_epoch == best
    assert bool(stopper.stopped) == (stops is not None)


def test_lower_is_better_is_the_mirror_image():
    up, _ = play({"a": RISES}, "a", None)
    down, _ = play({"a": [2 - value for value in RISES]}, "a", None, directions={"a": -1})
    assert down.best_epoch == up.best_epoch == 6
    assert down.best_score == pytest.approx(up.best_score)


def test_score_is_the_mean_relative_gain():
    stopper = EarlyStopping(["a", "b"])
    assert stopper.update(1, {"a": (4.0, -1), "b": (0.5, 1)}).score == 0.0
    verdict = stopper.update(2, {"a": (3.0, -1), "b": (0.6, 1)})
    assert verdict.gains == pytest.approx({"a": 0.25, "b": 0.2})
    assert verdict.score == pytest.approx(0.225)


def test_best_epochs_are_kept_per_task():
    stopper, _ = play({"a": PEAKS, "b": RISES, "c": DROPS}, "mean_delta", None)
    assert stopper.best_epochs == {"a": 2, "b": 6, "c": 1}


def test_small_gains_are_no_progress_but_can_still_be_best():
    creeping = [1.0 + 0.001 * epoch for epoch in range(6)]
    stopper, stopped = play({"a": creeping}, "mean_delta", 3, min_delta=0.01)
    assert (stopped, stopper.best_epoch) == (4, 4)
    # many small steps add up to one large one
    _, stopped = play({"a": creeping}, "mean_delta", 3, min_delta=0.0019)
    assert stopped is None


def test_reference_of_zero_counts_as_one():
    stopper = EarlyStopping(["a"])
    stopper.update(1, {"a": (0.0, 1)})
    assert stopper.update(2, {"a": (0.25, 1)}).score == 0.25


def test_nothing_defined_has_no_score_and_no_best_epoch():
    stopper = EarlyStopping(["a"], patience=1)
    verdict = stopper.update(1, {"a": (NAN, 1)})
    assert math.isnan(verdict.score)
    assert not verdict.best
    assert stopper.best_epoch is None


def test_unknown_rule_is_named():
    with pytest.raises(ConfigError, match="unknown stopping rule 'aeg'; did you mean 'age'"):
        EarlyStopping(["age", "sex"], "aeg")


@pytest.mark.parametrize("rule", ["mean_delta", "all", "any", "a"])
@pytest.mark.parametrize("cut", [1, 2, 3])
def test_state_round_trips_in_the_middle(rule, cut, tmp_path):
    curves = {"a": PEAKS, "b": [1.0, 1.1, 1.3, 1.2, 1.2, 1.2]}
    whole, whole_epoch = play(curves, rule, 2)
    first = EarlyStopping(["a", "b"], rule, patience=2)
    second = EarlyStopping(["a", "b"], rule, patience=2)
    stopped = None
    for epoch in range(1, 7):
        stopper = first if epoch <= cut else second
        if stopper.update(epoch, {task: (curve[epoch - 1], 1) for task, curve in curves.items()}).stop:
            stopped = epoch
            break
        if epoch == cut:
            torch.save(first.state_dict(), tmp_path / "state")
            second.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    assert stopped == whole_epoch
    assert second.state_dict() == whole.state_dict()
