"""What methods ask for besides the evidence of a step: declared, given, refused; and nothing else is used."""

import copy
import dataclasses
import warnings
from typing import ClassVar

import numpy as np
import pytest
import torch

from polytask.balance import METHODS, Ask, Balancer, Card, Evidence, GramianMethod, LossMethod, Method, get_method
from polytask.balance.compose.inner import resolve
from polytask.balance.compose.stages import stage_of
from polytask.balance.contract import asks as declared_asks
from polytask.balance.contract.asks import ASKS, JUDGE_BATCH, LOSSES_AFTER_STEP, TWIN_BATCH, VALIDATION_METRICS
from polytask.errors import ConfigError, MethodError
from polytask.tasks import Task, TaskSet
from polytask.train import check_metrics

from .drive import NAMES, make
from .entries import ENTRIES
from .entries_jacobian import JACOBIAN_ENTRIES
from .entries_penalty import PENALTY_ENTRIES

ALL = (*ENTRIES, *JACOBIAN_ENTRIES, *PENALTY_ENTRIES)
ASKING = [entry for entry in ALL if METHODS[entry.name].asks]
of_any_kind = pytest.mark.parametrize("entry", ALL, ids=str)
of_those_that_ask = pytest.mark.parametrize("entry", ASKING, ids=str)
CARD = Card("Toy", "nobody, 2030", "https://example.org", "Play.", "1", ("order of tasks",), ("by hand",))


class Uses(Exception):  # noqa: N818 - not an error
    """Something was looked at."""


@dataclasses.dataclass(frozen=True)
class Watched(Evidence):
    """Evidence in which a look at the second batch is noticed."""

    @property
    def across(self):
        raise Uses("the second batch")

    def __getattribute__(self, name):
        if name == "cross" and super().__getattribute__("cross") is not None:
            raise Uses("the second batch")
        return super().__getattribute__(name)


def watched(size=4, width=6, step=0):
    rng = np.random.default_rng(3)
    J = rng.standard_normal((size, width))
    return Watched(NAMES[:size], np.exp(rng.normal(size=size)), np.full(size, 1 / size), J @ J.T, step, 0, 7)


def used(method):
    """What ``solve`` looks at, and which hooks the class has, of all that can be asked for."""
    found = {ask.hook for ask in ASKS if ask.hook and getattr(type(method), ask.hook) is not getattr(Method, ask.hook)}
    try:
        method.solve(watched())
    except Uses:
        found.add("twin")
    return found


def promised(method):
    return {ask.hook for ask in method.asks if ask.hook} | ({"twin"} if TWIN_BATCH in method.asks else set())


@pytest.mark.parametrize("entry", ENTRIES, ids=str)
def test_a_method_uses_exactly_what_it_asks_for(entry):
    method = make(entry)
    assert used(method) == promised(method)


def test_what_the_suite_calls_a_use_is_one():
    """The suite fails for a method that looks at the second batch without a word."""

    class Sly(GramianMethod):
        card = CARD

        def solve(self, evidence):
            return np.diag(evidence.across)

    assert used(Sly()) == {"twin"} != promised(Sly())


@of_any_kind
def test_asks_are_among_those_that_are_known_and_documented(entry):
    method = METHODS[entry.name]
    assert method.asks <= set(ASKS) - {JUDGE_BATCH}
    for ask in method.asks:
        call = ask.give.partition("(")[0]
        assert f"{call}(" in method.__doc__, f"say how {ask.name} is given"


def test_every_ask_says_who_gives_it_how_and_what_works_without():
    assert len({ask.name for ask in ASKS}) == len(ASKS)
    for ask in ASKS:
        assert getattr(declared_asks, ask.name.upper()) is ask
        assert "caller" in ask.by
        assert ask.give.startswith("balancer.")
        assert ask.hook == "" or hasattr(Balancer, ask.hook)
        said = ask.refusal("Toy", "nobody gives")
        assert said.startswith("Toy asks for ")
        assert "a loop of your own gives it by balancer." in said
        assert "; or use " in said


@of_those_that_ask
def test_a_method_inside_another_one_gets_none_of_it(entry):
    method = make(entry)
    with pytest.raises(ConfigError, match=r"asks for .*part of another one does not get"):
        resolve(method) if isinstance(method, GramianMethod) else stage_of(method)


@of_those_that_ask
def test_training_gives_it_or_refuses(entry):
    method, tasks = make(entry), TaskSet([Task(name, "binary", metrics=["accuracy"]) for name in NAMES])
    (ask,) = method.asks
    if "trainer" in ask.by:
        check_metrics(method, tasks)
    else:
        with pytest.raises(ConfigError, match=r"asks for .*which training does not give; .*balancer\.observe_metrics"):
            check_metrics(method, tasks)
    if ask is VALIDATION_METRICS:
        with pytest.raises(ConfigError, match="the primary metric of 'age' is 'rmse'"):
            check_metrics(method, TaskSet([Task("age")]))


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = torch.nn.Linear(3, 5)
        self.heads = torch.nn.ModuleDict({name: torch.nn.Linear(5, 1) for name in NAMES})

    def losses(self, seed, part=slice(None)):
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(seed))[part]
        z = torch.tanh(self.trunk(x))
        return {n: (head(z) - i).square().mean() for i, (n, head) in enumerate(self.heads.items())}


@pytest.mark.parametrize("entry", [entry for entry in ASKING if entry.options.get("gamma") != 0], ids=str)
def test_what_is_given_has_its_effect_and_a_twin_that_is_missing_is_refused(entry):
    """Two balancers, one of which is told something else: then, and only then, they weigh the tasks differently."""
    torch.manual_seed(0)
    net, weights = Net(), []
    for told in (0, 0, 1):
        balancer = Balancer(make(entry), tasks=NAMES, announce=None)
        assert balancer.asks == METHODS[entry.name].asks
        for step in range(8):
            twin = net.losses(100 * told + step + 50) if TWIN_BATCH in balancer.asks else None
            if twin is not None and step == 0:
                with pytest.raises(MethodError, match=r"asks for .*second, independent batch.*twin=other_losses"):
                    balancer.backward(net.losses(step))
            record = balancer.backward(net.losses(step), twin=twin)
            hooks = {ask.hook for ask in balancer.asks}
            if "after_step" in hooks:
                balancer.after_step({n: v * (0.5 + told * i) for i, (n, v) in enumerate(net.losses(step).items())})
            if "observe_metrics" in hooks:
                falling = {
                    n: 0.9 - 0.02 * i * step - 0.3 * told * (i % 2) - told * 0.01 * step for i, n in enumerate(NAMES)
                }
                balancer.observe_metrics(falling)
        weights.append(record.weights)
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


def test_a_balancer_asks_for_what_its_method_and_its_evidence_need():
    assert Balancer("upgrad", grads="sub_batch", announce=None).asks == {JUDGE_BATCH}
    assert Balancer("uw", grads="sub_batch", announce=None).asks == frozenset()
    assert Balancer("famo", announce=None).asks == {LOSSES_AFTER_STEP}


def test_a_loop_that_forgets_the_losses_after_the_step_is_told_once():
    net, balancer = Net(), Balancer("famo", announce=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for step in range(100):
            balancer.backward(net.losses(step))
        heard = copy.deepcopy(balancer)
        heard.after_step(net.losses(99))
        heard.backward(net.losses(100))
    with pytest.warns(
        UserWarning, match=r"FAMO asks for the losses of the same batch .* 100 steps, and it learns nothing"
    ):
        balancer.backward(net.losses(100))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        balancer.backward(net.losses(101))


MINE = Ask(
    "mood", "each task's mood", "balancer.observe_metrics({task: mood})", frozenset({"caller"}), "uw", "observe_metrics"
)


def test_an_ask_of_ones_own():
    class Moody(LossMethod):
        """Weights are moods."""

        card = CARD
        asks: ClassVar = frozenset({MINE})

        def __init__(self):
            super().__init__()
            self.state.declare("mood", 1.0, reduce="same")

        def observe_metrics(self, values):
            self.state.remember(list(values), {"mood": np.array(list(values.values()))})

        def solve(self, evidence):
            return self.state.read("mood", evidence.tasks)

    p = torch.ones(2, requires_grad=True)
    balancer = Balancer(Moody(), announce=None)
    balancer.observe_metrics({"a": 3.0})
    assert balancer.backward({"a": p[0], "b": p[1]}).weights == {"a": 3.0, "b": 1.0}
    with pytest.raises(
        ConfigError, match=r"Moody asks for each task's mood, which training does not give; .*or use uw"
    ):
        check_metrics(Moody(), TaskSet([Task("a")]))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"observe": lambda *_: None}, r"Late.observe is not looked at any more: solve returns .*remember="),
        ({"needs_twin": True}, r"Late.needs_twin is not looked at any more: asks = frozenset\(\{TWIN_BATCH\}\)"),
        ({"needs_metrics": True}, "Late.needs_metrics is not looked at any more"),
        ({"after_step": lambda *_: None}, r"Late.after_step\(\) would never be called: .*LOSSES_AFTER_STEP"),
        ({"observe_metrics": lambda *_: None}, r"never be called: .*VALIDATION_METRICS, VALIDATION_LOSSES"),
        ({"asks": frozenset({LOSSES_AFTER_STEP})}, r"Late asks for .* and has no after_step\(\)"),
        ({"asks": frozenset({MINE})}, r"Late asks for each task's mood and has no observe_metrics\(\)"),
    ],
)
def test_a_class_that_would_wait_in_vain_is_refused_where_it_is_written(body, message):
    with pytest.raises(MethodError, match=message):
        type("Late", (LossMethod,), {"card": CARD, "solve": lambda self, evidence: evidence.preference, **body})


def test_the_twin_is_for_methods_on_gramians():
    assert all(issubclass(METHODS[e.name], GramianMethod) for e in ALL if TWIN_BATCH in METHODS[e.name].asks)
    assert get_method("modo").asks == {TWIN_BATCH}
