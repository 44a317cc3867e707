"""Task sets: order, names, errors, and many tasks at once."""

import pytest
import torch

from polytask.errors import TaskError
from polytask.tasks import Task, TaskSet


def test_is_an_ordered_mapping():
    tasks = TaskSet([Task("b"), Task("a", "binary", weight=2.0)])
    assert tasks.names == ("b", "a")
    assert list(tasks) == ["b", "a"]
    assert tasks["a"].kind == "binary"
    assert tasks.weights() == {"b": 1.0, "a": 2.0}
    assert tasks.subset(["a"]).names == ("a",)
    assert tasks.subset(["a", "b"]).names == ("b", "a")
    with pytest.raises(KeyError, match="unknown task 'c'"):
        tasks["c"]


def test_accepts_whatever_describes_tasks():
    a, b = Task("a"), Task("b", "binary")
    expected = TaskSet([a, b])
    assert TaskSet.of(expected) is expected
    assert TaskSet.of({"a": a, "b": b}) == expected
    assert TaskSet.of({"a": "regression", "b": "binary"}) == expected
    assert TaskSet.of(t for t in (a, b)) == expected
    assert TaskSet.of(a).names == ("a",)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([Task("a"), Task("a", "binary")], "two tasks are named 'a'"),
        ([], "at least one task"),
        ({"a": Task("b")}, "key 'a' holds a task named 'b'"),
    ],
)
def test_wrong_descriptions_are_refused(given, message):
    with pytest.raises(TaskError, match=message):
        TaskSet(given)


@pytest.mark.usefixtures("no_type_checks")
def test_names_are_no_tasks():
    with pytest.raises(TaskError, match="expected Task objects, found 'a'"):
        TaskSet(["a"])


@pytest.mark.parametrize("what", ["predictions", "targets", "masks"])
def test_unknown_key_names_the_nearest_and_says_how_to_skip(what):
    tasks = TaskSet([Task("age"), Task("sex", "binary")])
    given = {"predictions": {}, "targets": {}, "masks": {}}
    given[what] = {"sexx": torch.zeros(2, dtype=torch.bool) if what == "masks" else torch.zeros(2)}
    with pytest.raises(TaskError, match=rf"{what}: unknown task 'sexx'; did you mean 'sex'\?.*To skip a task leave it"):
        tasks.losses(**given)


def test_losses_come_in_the_sets_order_and_only_for_the_tasks_asked_for():
    tasks = TaskSet([Task(name) for name in "cab"])
    values = {name: torch.zeros(2) for name in "abc"}
    assert list(tasks.losses(values, values)) == ["c", "a", "b"]
    assert list(tasks.losses(values, values, tasks=["b", "c"])) == ["c", "b"]
    assert list(tasks.losses({"a": values["a"]}, values)) == ["a"]
    with pytest.raises(TaskError, match="tasks: unknown task 'd'"):
        tasks.losses(values, values, tasks=["d"])


@pytest.mark.parametrize("size", [1, 100])
def test_losses_of_many_tasks_are_each_their_own(size):
    tasks = TaskSet([Task(f"t{i}") for i in range(size)])
    prediction, target = torch.randn(16, size), torch.randn(16, size)
    target[torch.rand(16, size) < 0.7] = float("nan")
    losses = tasks.losses(
        {f"t{i}": prediction[:, i : i + 1] for i in range(size)}, {f"t{i}": target[:, i] for i in range(size)}
    )
    for i in range(size):
        known = ~target[:, i].isnan()
        if known.any():
            torch.testing.assert_close(losses[f"t{i}"], ((prediction - target)[known, i] ** 2).mean())
        else:
            assert f"t{i}" not in losses
