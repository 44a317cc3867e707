"""What every schedule promises, over the list in ``cases.py``."""

import copy
import io
import math
import pickle

import numpy as np
import pytest
import torch

from polytask.errors import ConfigError
from polytask.schedule import SCHEDULES, Standing, get_schedule

from .cases import CASES

EPOCHS, STEPS = 6, 5
NAMES = ("a", "b.c", "type")


def test_every_schedule_is_in_the_list_under_its_name():
    assert {SCHEDULES[name] for name in SCHEDULES.own} <= {case.made for case in CASES}
    for name in SCHEDULES.own:
        words = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in SCHEDULES[name].__name__)
        assert name == words.lstrip("_")
        assert type(get_schedule(name)) is SCHEDULES[name]


def make(case, tasks=NAMES, seed=0):
    schedule = case.made(**case.options)
    schedule.begin(tasks, seed)
    return schedule


def standing(epoch, tasks=NAMES, seed=0):
    """Losses that rest and metrics that stall, at a pace of each task's own place."""
    rng = np.random.default_rng([seed, epoch])
    pace = {name: place + 1 for place, name in enumerate(tasks)}
    return Standing(
        epoch,
        {name: 1.0 + 0.5 ** (pace[name] * epoch) for name in tasks},
        {name: 1.5 + 0.1 * rng.random() for name in tasks},
        {name: (0.8 - 0.3 ** (pace[name] * epoch), +1) for name in tasks},
    )


def run(schedule, epochs=range(1, EPOCHS + 1), tasks=NAMES):
    found = []
    for epoch in epochs:
        found += [schedule.next() for _ in range(STEPS)]
        schedule.follow(standing(epoch, tasks))
    return found


pytestmark = pytest.mark.filterwarnings("error")
every_case = pytest.mark.parametrize("case", CASES, ids=str)


@every_case
def test_all_tasks_count_at_first_and_a_schedule_does_something(case):
    found = run(make(case))
    assert found[0] == frozenset(NAMES)
    assert any(step != frozenset(NAMES) for step in found)
    assert all(step <= set(NAMES) for step in found)


@every_case
def test_it_goes_on_from_plain_values(case):
    whole = make(case)
    expected = run(whole)
    first = make(case)
    found = run(first, range(1, 3))
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    again = make(case)
    again.load_state_dict(torch.load(buffer, weights_only=True))
    found += run(again, range(3, EPOCHS + 1))
    assert found == expected
    assert again.state_dict() == whole.state_dict()


@every_case
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda schedule: pickle.loads(pickle.dumps(schedule))])
def test_a_copy_goes_its_own_way(case, copied):
    first = make(case)
    run(first, range(1, 3))
    before = first.state_dict()
    other = copied(first)
    ahead = run(other, range(3, EPOCHS + 1))
    assert first.state_dict() == before
    assert run(first, range(3, EPOCHS + 1)) == ahead
    state = first.state_dict()
    state["memory"]["a"].clear()
    assert first.memory["a"]  # what was handed out is not what is kept


@every_case
def test_it_begins_anew(case):
    schedule = make(case)
    found = run(schedule)
    schedule.begin(NAMES)
    assert run(schedule) == found


@every_case
def test_names_are_names(case):
    """Called otherwise, or in another order, the same tasks count."""
    if case.by_names:
        pytest.skip(case.by_names)
    expected = run(make(case))
    other = dict(zip(NAMES, ("x", "y", "z"), strict=True))
    renamed = make(case, tuple(other.values()))
    assert run(renamed, tasks=tuple(other.values())) == [frozenset(map(other.get, step)) for step in expected]
    assert run(make(case, NAMES[::-1])) == expected


@every_case
@pytest.mark.parametrize("missing", [None, math.nan])
def test_the_memory_of_a_task_without_numbers_stays(case, missing):
    schedule = make(case)
    run(schedule, range(1, 3))
    kept = copy.deepcopy(schedule.memory["a"])
    whole = standing(3)
    parts = []
    for values in (whole.train_losses, whole.val_losses, whole.values):
        gone = () if missing is None else (missing if values is not whole.values else (missing, 1),)
        parts.append({name: value for name, value in values.items() if name != "a"} | dict(zip("a", gone)))  # noqa: B905
    schedule.follow(Standing(3, *parts))
    assert schedule.memory["a"] == kept
    assert schedule.memory["type"] != make(case).memory["type"]


@every_case
def test_one_task_and_five_hundred(case):
    one = make(case, ("a",))
    assert one.next() == {"a"}
    names = (*(f"t{place}" for place in range(500)), "a")
    assert run(make(case, names), range(1, 3), names)[0] == frozenset(names)


@every_case
def test_a_task_that_is_new_in_a_later_run_is_as_at_the_beginning(case):
    schedule = make(case)
    run(schedule)
    later = make(case, (*NAMES[1:], "new", "a"))
    later.load_state_dict(schedule.state_dict())
    assert later.memory["new"] == make(case).fresh()
    assert {name: later.memory[name] for name in NAMES} == schedule.memory


@every_case
def test_shares_are_those_of_the_steps(case):
    schedule = make(case)
    for epoch in range(1, EPOCHS + 1):
        steps = [schedule.next() for _ in range(STEPS)]
        assert schedule.end_epoch() == {name: sum(name in step for step in steps) / STEPS for name in NAMES}
        schedule.follow(standing(epoch))


@every_case
def test_options_are_checked(case):
    if case.bad:
        assert set(case.bad) == set(case.made.declared), "every option needs a value that is refused"
    for name, value in case.bad.items():
        with pytest.raises(ConfigError, match=rf"{case.made.__name__}\({name}=…\) must be .*, found"):
            case.made(**{name: value})
    with pytest.raises(ConfigError, match=f"unknown option of {case.made.__name__}: 'nothing'"):
        case.made(nothing=1)
    assert "Raises:" in case.made.__doc__
    assert all(f"{name}: " in case.made.__doc__ for name in case.made.declared)
    assert repr(case.made()).startswith(f"{case.made.__name__}(")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("stop_and_gp", "unknown schedule 'stop_and_gp'; did you mean 'stop_and_go'"),
        ({"every": 3}, "a name, or a table with a name and options"),
        ({"name": "stop_and_go", "evry": 3}, "did you mean 'every'"),
        ({"name": "stop_and_go", "every": 0.5}, "must be a whole number ≥ 0, found 0.5"),
    ],
)
def test_what_is_no_schedule_is_told(given, message):
    with pytest.raises(ConfigError, match=message):
        get_schedule(given)


def test_no_schedule_is_none_and_an_object_itself():
    assert get_schedule(None) is None
    made = get_schedule({"name": "stop_and_go", "every": 7})
    assert get_schedule(made) is made
    assert made.describe() == {"schedule": "StopAndGo", "improvement": 0.001, "patience": 1, "fall": 0.005, "every": 7}


def test_an_option_that_names_another_task_is_refused():
    for options in ({"main": "agee"}, {"importance": {"agee": 2.0}}):
        schedule = get_schedule({"name": "task_wise_stopping", **options})
        with pytest.raises(ConfigError, match=r"unknown task in TaskWiseStopping\((main|importance)=….*'age'"):
            schedule.begin(["age", "sex"])


def test_what_a_checkpoint_cannot_hold_is_refused_when_it_is_to_be_saved():
    schedule = make(CASES[0])
    schedule.memory["a"] |= {"best": np.float32(0.5), "few": (1, np.int64(2))}
    saved = schedule.state_dict()["memory"]["a"]
    assert (saved["best"], saved["few"]) == (0.5, [1, 2])
    assert [type(value) for value in (saved["best"], *saved["few"])] == [float, int, int]
    schedule.memory["a"]["rows"] = torch.ones(2)
    with pytest.raises(ConfigError, match="found Tensor in the memory of task 'a'"):
        schedule.state_dict()
