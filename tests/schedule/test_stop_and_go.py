"""Stop-and-go: the rule, replayed with values whose course is known."""

import pytest

from polytask.schedule import Standing, StopAndGo


def follow(schedule, values, direction=+1):
    """Whether the task is stopped after each validation."""
    schedule.begin(["a"])
    found = []
    for epoch, value in enumerate(values, start=1):
        schedule.follow(Standing(epoch, values={"a": (value, direction)}))
        found.append(schedule.memory["a"]["stopped"])
    return found


def test_the_third_equal_value_stops_and_a_fall_of_more_than_half_a_percent_starts_again():
    assert follow(StopAndGo(), [1.0, 1.0, 1.0, 0.996, 0.994]) == [False, False, True, True, False]


@pytest.mark.parametrize("best", [2.0, 1e-10, 1e10])
@pytest.mark.parametrize(("sign", "direction"), [(+1, +1), (-1, -1), (+1, -1), (-1, +1)])
def test_signs_and_units_change_nothing(best, sign, direction):
    """Errors, negative metrics, any unit: gains are relative to the size of the best value and in its direction."""
    better, worse = (sign * best + direction * best * change for change in (0.0011, -0.0051))
    still = sign * best + direction * best * 0.0009
    start = sign * best
    assert follow(StopAndGo(), [start, still, still], direction) == [False, False, True]
    assert follow(StopAndGo(), [start, still, better], direction) == [False, False, False]
    assert follow(StopAndGo(), [start, still, still, worse], direction)[-1] is False


def test_a_stopped_task_that_gets_better_raises_the_mark_for_a_fall():
    assert follow(StopAndGo(), [1.0, 1.0, 1.0, 2.0, 1.992, 1.98]) == [False, False, True, True, True, False]


def test_a_stopped_task_takes_every_fourth_step():
    schedule = StopAndGo()
    schedule.begin(["a", "b"])
    for epoch in range(1, 4):
        schedule.follow(Standing(epoch, values={"a": (1.0, +1), "b": (float(epoch), +1)}))
    assert [sorted(schedule.next()) for _ in range(9)] == [["a", "b"] if i % 4 == 0 else ["b"] for i in range(9)]


def test_a_task_can_rest_altogether():
    schedule = StopAndGo(every=0)
    follow(schedule, [1.0, 1.0, 1.0])
    assert [schedule.next() for _ in range(4)] == [frozenset()] * 4
    assert not schedule.ended  # it goes on when it falls back
