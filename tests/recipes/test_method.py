"""The recipe for a balancing method: one file with a class and its card, one line in METHODS."""

from typing import ClassVar, final

import numpy as np
import pytest
import torch
from torch import nn

from polytask.balance import METHODS, Balancer, Card, Evidence, LossMethod, Solution, get_method
from polytask.balance._params import Limits, Real
from polytask.errors import ConfigError
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


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(METHODS, "loudest", Loudest)


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


def test_a_study_and_the_configuration_take_it(study):
    page = '[data]\nsource = "people.csv"\n[tasks.income]\n[tasks.age]\n'
    result = study(page + '[method]\nname = "loudest"\nshare = 0.25\n', ["equal", "loudest:share=0.9"])
    assert [trial.method for trial in result.trials] == ["equal", "loudest:share=0.9"]
    with pytest.raises(ConfigError, match=r"\[method\] has no key 'shaer' \(did you mean 'share'\?\)"):
        Config.parse(page + '[method]\nname = "loudest"\nshaer = 0.25\n')
