"""The recipe for a balancing method: one file with a class and its card, one line in METHODS."""

from typing import ClassVar, final

import numpy as np
import pytest
import torch
from torch import nn

from polytask.balance import METHODS, Balancer, Card, Evidence, LossMethod, Solution, get_method
from polytask.balance.contract.asks import VALIDATION_METRICS
from polytask.balance.contract.options import Limits, Real
from polytask.errors import ConfigError, MethodError, NonFiniteError
from polytask.study import Config


@final
class Loudest(LossMethod):
    """The task of the largest loss gets ``share``, all tasks divide the rest.

    Args:
        share: In [0, 1].
    """

    limits: ClassVar[Limits] = {"share": Real(0, 1)}
    card = Card(
        title="Loudest",
        paper="nobody, 2030",
        url="https://example.org",
        idea="Listen to who shouts.",
        cost="1",
        invariances=("order of tasks",),
        verified=("by hand",),
    )

    def __init__(self, share: float = 0.5) -> None:
        super().__init__()
        self.share = share

    def solve(self, evidence: Evidence) -> Solution:
        """As said."""
        weights = np.full(evidence.size, (1 - self.share) / evidence.size)
        weights[np.argmax(evidence.losses)] += self.share
        return Solution(weights)


@final
class Steady(LossMethod):
    """Weights 1/m, m the mean of a task's losses so far: what is learned is remembered with the weights."""

    card = Loudest.card

    def __init__(self) -> None:
        super().__init__()
        self.state.declare("total", 0.0, reduce="sum")
        self.state.declare("count", 0.0, reduce="sum")

    def solve(self, evidence: Evidence) -> Solution:
        """As said."""
        total = self.state.read("total", evidence.tasks) + evidence.losses
        count = self.state.read("count", evidence.tasks) + 1
        return Solution(count / total, remember={"total": total, "count": count})


@final
class Worst(LossMethod):
    """All weight on the task that does worst in validation, which it asks for."""

    asks: ClassVar = frozenset({VALIDATION_METRICS})
    card = Loudest.card

    def __init__(self) -> None:
        super().__init__()
        self.state.declare("skill", 0.0, reduce="same")

    def observe_metrics(self, values):
        """Keep them."""
        self.state.remember(list(values), {"skill": np.array(list(values.values()))})

    def solve(self, evidence: Evidence) -> np.ndarray:
        """Weights may be plain numbers."""
        skill = self.state.read("skill", evidence.tasks)
        return (skill == skill.min()).astype(float)


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(METHODS, "loudest", Loudest)
    monkeypatch.setitem(METHODS, "steady", Steady)
    monkeypatch.setitem(METHODS, "worst", Worst)


def test_the_balancer_takes_it_by_name_with_its_option():
    layer = nn.Linear(1, 2, bias=False)
    nn.init.ones_(layer.weight)
    out = layer(torch.tensor([[1.0]]))
    Balancer("loudest").backward({"a": out[0, 0] * 3, "b": out[0, 1] * 1})
    torch.testing.assert_close(layer.weight.grad, torch.tensor([[3 * 0.75], [1 * 0.25]]))
    assert get_method("loudest", share=0.0).share == 0.0


@pytest.mark.parametrize("share", [-0.1, 1.1, "1", True, None])
def test_a_value_outside_the_limits_is_refused_before_the_constructor_runs(share):
    with pytest.raises(ConfigError, match=r"Loudest\(share=…\) must be a number in \[0, 1\]"):
        Loudest(share)


def test_what_it_remembers_is_stored_where_the_step_succeeds_for_the_tasks_in_it():
    p = torch.ones(2, requires_grad=True)
    balancer = Balancer("steady", announce=None)
    balancer.backward({"a": 1 * p[0], "b": 4 * p[1]})
    record = balancer.backward({"a": 3 * p[0]})
    assert record.weights == {"a": 0.5}
    expected = {"total": {"a": 4.0, "b": 4.0}, "count": {"a": 2.0, "b": 1.0}}
    assert balancer.method.state_dict() == expected
    with pytest.raises(NonFiniteError):
        balancer.backward({"a": p[0] * float("nan"), "b": p[1]})
    assert balancer.method.state_dict() == expected


def test_what_it_asks_for_is_given_by_training_or_refused(study):
    page = '[data]\nsource = "people.csv"\n[tasks.income]\n[tasks.age]\n'
    with pytest.raises(ConfigError, match="Worst weighs tasks by their validation metrics, which must lie in"):
        study(page, ["worst"])
    p = torch.ones(2, requires_grad=True)
    balancer = Balancer("worst", announce=None)
    balancer.observe_metrics({"a": 0.9, "b": 0.4})
    assert balancer.asks == {VALIDATION_METRICS}
    assert balancer.backward({"a": p[0], "b": p[1]}).weights == {"a": 0.0, "b": 1.0}


def test_the_former_way_to_remember_is_one_error_that_says_what_to_change():
    with pytest.raises(MethodError, match=r"Old.observe is not looked at any more: .*Solution\(weights, remember="):

        class Old(LossMethod):
            def observe(self, evidence, solution):
                """As it was."""


def test_a_study_and_the_configuration_take_it(study):
    page = '[data]\nsource = "people.csv"\n[tasks.income]\n[tasks.age]\n'
    result = study(page + '[method]\nname = "loudest"\nshare = 0.25\n', ["equal", "loudest:share=0.9"])
    assert [trial.method for trial in result.trials] == ["equal", "loudest:share=0.9"]
    with pytest.raises(ConfigError, match=r"\[method\] has no key 'shaer' \(did you mean 'share'\?\)"):
        Config.parse(page + '[method]\nname = "loudest"\nshaer = 0.25\n')
