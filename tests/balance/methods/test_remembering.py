"""What a solution remembers: for whom, when, once; and what several processes make of it."""

import numpy as np
import pytest
import torch
from torch import nn

from polytask.balance import (
    METHODS,
    Balancer,
    Card,
    Combined,
    GramianMethod,
    JacobianMethod,
    LossMethod,
    MethodState,
    Solution,
    get_method,
    merged_states,
)
from polytask.balance.contract.state import Lesson
from polytask.errors import MethodError, NonFiniteError

from .drive import NAMES, evidence, make
from .entries import ENTRIES
from .entries_jacobian import JACOBIAN_ENTRIES
from .entries_penalty import PENALTY_ENTRIES

ALL = (*ENTRIES, *JACOBIAN_ENTRIES, *PENALTY_ENTRIES)
of_any_kind = pytest.mark.parametrize("entry", ALL, ids=str)
CARD = Card("Toy", "nobody, 2030", "https://example.org", "Play.", "1", ("order of tasks",), ("by hand",))


class Counting(GramianMethod):
    """Equal weights; counts how often it solved, and remembers how many steps each task was solved for."""

    card = CARD

    def __init__(self):
        super().__init__()
        self.solved = 0
        self.state.declare("seen", 0.0, reduce="same")

    def solve(self, evidence):
        self.solved += 1
        return Solution(np.ones(evidence.size), remember={"seen": self.state.read("seen", evidence.tasks) + 1})


def seen(balancer):
    return balancer.method.state_dict()["seen"]


def test_exactly_the_tasks_solved_for_are_remembered_and_solve_runs_once():
    p = nn.Parameter(torch.linspace(-1, 1, 6, dtype=torch.float64))
    balancer = Balancer(Counting(), tasks=NAMES, shared=[p], announce=None)
    balancer.backward({"age": p.sum(), "sex": p.square().sum(), "tag": (p * 0).sum()})  # no gradient: not solved for
    assert seen(balancer) == {"age": 1.0, "sex": 1.0}
    assert balancer.method.solved == 1
    balancer.backward({"sex": p.sum(), "tag": p.square().sum()})
    assert seen(balancer) == {"age": 1.0, "sex": 2.0, "tag": 1.0}
    assert balancer.method.solved == 2


def test_weights_that_are_reused_and_steps_that_fail_teach_nothing():
    p = nn.Parameter(torch.linspace(-1, 1, 6, dtype=torch.float64))
    balancer = Balancer(Counting(), tasks=NAMES, shared=[p], every=3, announce=None)
    for _ in range(7):
        balancer.backward({"age": p.sum(), "sex": p.square().sum()})
    assert seen(balancer) == {"age": 3.0, "sex": 3.0}  # steps 0, 3 and 6
    for policy in ("raise", "skip"):
        balancer = Balancer(Counting(), tasks=NAMES, shared=[p], nonfinite=policy, announce=None)
        broken = {"age": p.sum(), "sex": p.sum() * torch.tensor(float("nan"))}
        if policy == "raise":
            with pytest.raises(NonFiniteError):
                balancer.backward(broken)
            assert seen(balancer) == {}
        else:
            balancer.backward(broken)
            assert seen(balancer) == {"age": 1.0}
            balancer.backward({"sex": p.sum() * torch.tensor(float("nan"))})  # nothing is left of this step
            assert seen(balancer) == {"age": 1.0}


@pytest.mark.parametrize("kind", ["array", "tensor", "solution"])
def test_solve_may_give_plain_numbers(kind):
    class Plain(LossMethod):
        card = CARD

        def solve(self, evidence):
            weights = np.arange(1.0, evidence.size + 1)
            return {"array": weights, "tensor": torch.tensor(weights), "solution": Solution(weights)}[kind]

    p = nn.Parameter(torch.ones(2))
    assert Balancer(Plain(), announce=None).backward({"a": p[0], "b": p[1]}).weights == {"a": 1.0, "b": 2.0}
    assert Plain().weights(torch.ones(3)).tolist() == [1.0, 2.0, 3.0]


def test_answers_of_a_wrong_shape_and_undeclared_names_are_refused_and_nothing_is_kept():
    class Wrong(LossMethod):
        card = CARD

        def __init__(self, answer):
            super().__init__()
            self.answer = answer
            self.state.declare("first", 0.0, reduce="same")

        def solve(self, evidence):
            return self.answer

    p = nn.Parameter(torch.ones(2))
    two = np.ones(2)
    for answer, message in (
        (np.ones(3), r"Wrong.solve must give one weight for each of a, b, shape \(2,\), found shape \(3,\)"),
        (Solution(two, remember={"first": np.ones(3)}), r"'first' needs one number per task of the 2 tasks a, b"),
        (
            Solution(two, remember={"first": two, "other": two}),
            r"'other' remembered, which the method has not declared",
        ),
        (Solution(two, remember={"first": two, "inner": Lesson(("a",), {})}), r"'inner' remembered, which the method"),
    ):
        balancer = Balancer(Wrong(answer), announce=None)
        with pytest.raises(MethodError, match=message):
            balancer.backward({"a": p[0], "b": p[1]})
        assert balancer.method.state_dict() == {"first": {}}
        assert p.grad is None


def test_memory_of_coordinates_that_was_not_declared_is_refused():
    class Forgetful(JacobianMethod):
        card = CARD

        def solve(self, evidence):
            return np.ones(evidence.size)

        def combine(self, block, evidence, solution):
            return Combined(block.rows.sum(0), {"past": block.rows})

    p = nn.Parameter(torch.ones(2))
    balancer = Balancer(Forgetful(), shared=[p], announce=None)
    with pytest.raises(
        MethodError, match=r"combine wants 'past' remembered, .*self.memory.declare\('past', reduce=…\)"
    ):
        balancer.backward({"a": p[0], "b": p[1]})
    assert p.grad is None


# ------------------------------------------------------------------------------------------------ processes


@of_any_kind
def test_every_quantity_says_how_processes_reduce_it(entry):
    method = make(entry)
    for name, quantity in [*method.state.declared.items(), *method.memory.declared.items()]:
        assert quantity.reduce in ("same", "mean", "sum"), name


def learned(entry, batches):
    """The state after these steps, each a draw of losses by task, with gradients that are proportional to nothing."""
    method = make(entry)
    for step, values in enumerate(batches):
        given = evidence(method, NAMES, step, losses=values)
        solution = method.solve_present(given) if isinstance(method, GramianMethod) else method.solution(given)
        method.remember(given, solution)
        if step % 3 == 2:
            method.end_epoch()
    return method


@pytest.mark.parametrize("entry", ENTRIES, ids=str)
def test_what_is_reduced_is_linear_in_the_losses(entry):
    """Two processes with losses of their own, merged, know what one process with the mean losses of both knows.

    Of a total, twice that: totals are divided by counts, which are added up in the same way.
    """
    rng = np.random.default_rng(1)
    first, second = np.exp(rng.normal(size=(2, 8, len(NAMES))))
    one, two, whole = (learned(entry, batches) for batches in (first, second, (first + second) / 2))
    linear = {name: q.reduce for name, q in one.state.declared.items() if q.reduce != "same"}
    states = [{name: m.state_dict()[name] for name in linear} for m in (one, two, whole)]
    merged = merged_states(one, states[:2])
    for name, way in linear.items():
        for task, value in states[2][name].items():
            factor = 2.0 if way == "sum" else 1.0
            assert merged[name][task] == pytest.approx(factor * value, rel=1e-9), (name, task)


@pytest.mark.parametrize("entry", ENTRIES, ids=str)
def test_processes_that_have_seen_the_same_merge_to_the_same(entry):
    states = [learned(entry, np.exp(np.random.default_rng(2).normal(size=(5, len(NAMES))))).state_dict() for _ in "12"]
    sums = {name for name, quantity in make(entry).state.declared.items() if quantity.reduce == "sum"}
    if METHODS[entry.name].__name__ == "IGBv2":
        states = [{name: value for name, value in state.items() if name != "agent"} for state in states]
    merged = merged_states(make(entry), states)
    assert {k: v for k, v in merged.items() if k not in sums} == {k: v for k, v in states[0].items() if k not in sums}


def test_coordinates_are_reduced_too_and_what_does_not_say_how_is_refused():
    method = get_method("moco")
    memories = [{"memory": {"tracked": {"b": {"a": torch.full((2,), value)}}}} for value in (1.0, 3.0)]
    assert merged_states(method, memories)["memory"]["tracked"]["b"]["a"].tolist() == [2.0, 2.0]
    method = get_method("uw")
    method.state.declare("mine", 0.0)
    with pytest.raises(MethodError, match="'mine' does not say how processes reduce it"):
        merged_states(method, [{"mine": {"a": 1.0}}])
    with pytest.raises(MethodError, match=r"different values of log_variance of a \(0.1, 0.2\)"):
        merged_states(method, [{"log_variance": {"a": 0.1}}, {"log_variance": {"a": 0.2}}])


def test_lessons_reach_the_states_inside_and_objects_come_last():
    class Log:
        def __init__(self):
            self.news = []

        def take(self, news):
            self.news.append(news)

        def state_dict(self):
            return {"news": list(self.news)}

        def load_state_dict(self, state):
            self.news = list(state["news"])

        def reset(self):
            self.news = []

    outer, inner, log = MethodState(), MethodState(), Log()
    inner.declare("mean", 0.0, reduce="mean")
    inner.attach("log", log)
    outer.adopt("inner", inner)
    outer.declare("own", 0.0, reduce="same")
    outer.remember(["a"], {"inner": Lesson(("b",), {"log": "hello", "mean": np.array([2.0])}), "own": np.ones(1)})
    assert outer.state_dict() == {"inner.mean": {"b": 2.0}, "own": {"a": 1.0}, "inner.log": {"news": ["hello"]}}
    with pytest.raises(NonFiniteError), outer.whole():
        outer.remember(["a"], {"inner": Lesson(("b",), {"log": "again"}), "own": np.array([np.inf])})
    assert log.news == ["hello"]
