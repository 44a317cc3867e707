"""Nonsense in a task's arguments: an error that names task and argument, says what was found and what to write."""

import numpy as np
import pytest

from polytask.errors import TaskError
from polytask.tasks import Task, TaskSet, arguments

CASES = {
    "Task(3)": "name must be a text, found 3 (int); write",
    "Task('')": "without space around it, found ''; write",
    "Task('a', 3)": "kind must be a text, found 3 (int); choose from",
    "Task('a', 'regresion')": "did you mean 'regression'",
    "Task('a', weight='x')": "task 'a': weight must be a finite number, found 'x' (str); write",
    "Task('a', weight=None)": "found None (NoneType); write",
    "Task('a', weight=True)": "found True (bool); write",
    "Task('a', weight=float('nan'))": "found nan (float); write",
    "Task('a', weight=0)": "weight must be positive and finite, found 0.0; to drop",
    "Task('a', shift='q')": "shift must be a finite number, found 'q' (str); write",
    "Task('a', scale=-1)": "scale must be positive, found -1.0; it divides",
    "Task('a', 'multiclass', classes='3')": "classes must be a whole number, found '3' (str); write classes=3",
    "Task('a', 'multiclass', classes=2.5)": "found 2.5 (float); write classes=3",
    "Task('a', missing='x')": "missing must be the number that means 'no label', found 'x' (str); write missing=-1",
    "Task('a', missing=[1])": "found [1] (list); write missing=-1",
    "Task('a', 'multiclass', labels=['r', 'r'])": "labels must differ from one another, found 'r' twice; name each",
    "Task('a', 'multiclass', labels='red')": "labels must be a list of names, found 'red' (str); write labels=",
    "Task('a', 'multiclass', labels=[['r'], 'g'])": "every entry of labels must be a name, found ['r'] (list); write",
    "Task('a', metrics=['rmse', 'mae', 'rmse'])": "metrics must differ from one another, found 'rmse' twice; name each",
    "Task('a', metrics='rmse')": "metrics must be a list of names, found 'rmse' (str); write metrics=['rmse']",
    "Task('a', metrics=3)": "found 3 (int); write metrics=['rmse']",
    "Task('a', 'quantile', quantiles=0.5)": "quantiles must be a list of numbers, found 0.5 (float); write quantiles=",
    "Task('a', 'quantile', quantiles=['u'])": "every entry of quantiles must be a number, found 'u' (str); write",
    "Task('a', unit=3)": "unit must be a text, found 3 (int); put",
    "Task('a', options=[1])": "options must be a mapping from names to values, found [1] (list); write options={}",
    "Task('a', options={1: 2})": "options must be a mapping from names to values, found {1: 2} (dict); write",
    "Task('a', wieght=2.0)": "argument of a task of kind 'regression': 'wieght'; did you mean 'weight'",
    "Task.from_dict({})": "found {}; write at least",
    "TaskSet(3)": "expected several Task objects, found 3; put them in a list",
    "TaskSet('ab')": "found 'ab'; put them in a list",
}


@pytest.mark.usefixtures("no_type_checks")
@pytest.mark.parametrize("case", CASES)
def test_nonsense_is_answered_in_three_clauses(case):
    with pytest.raises(TaskError) as caught:
        eval(case, {"Task": Task, "TaskSet": TaskSet})
    assert CASES[case] in str(caught.value)


def test_numbers_of_numpy_are_numbers():
    task = Task("a", "multiclass", classes=int(np.int64(3)), weight=float(np.float32(2)))
    assert arguments.whole_number("a", "classes", np.int64(3)) == 3
    assert arguments.number("a", "weight", np.float32(2)) == 2.0
    assert arguments.missing_value("a", np.int8(-1)) == -1
    assert np.isnan(arguments.missing_value("a", float("nan")))
    assert Task.from_dict(task.to_dict()) == task


def test_numbers_will_do_as_labels_but_not_twice():
    assert Task("a", "multiclass", labels=("1", "2")).labels == ("1", "2")
    assert arguments.distinct("a", "labels", [1, 2], example="") == ("1", "2")
    with pytest.raises(TaskError, match="'1' twice"):
        arguments.distinct("a", "labels", [1, "1"], example="")
