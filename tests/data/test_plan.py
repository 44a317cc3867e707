"""Plans: which sources a step draws from. What joint and alternating steps do is tested with the loader.

A new plan adds one object of it to PLANS, and what every plan must do is tested of it.
"""

import dataclasses
import json

import pytest
import torch

from polytask.data import Alternating, Joint, MultiTaskLoader, Plan, TensorSource
from polytask.errors import CheckpointError, ConfigError

PLANS = [Joint(), Alternating(), Alternating("uniform", epoch=5), Joint("one pass of a"), Alternating(shuffle=False)]


@dataclasses.dataclass(frozen=True)
class Curriculum(Plan):
    """The first source alone for some epochs, then all of them."""

    alone: int = 1

    def steps(self, passes):
        return max(passes.values())

    def draw(self, passes, epoch, seed):
        active = tuple(passes)[:1] if epoch < self.alone else tuple(passes)
        return [active] * self.steps(passes)

    def shares(self, passes):
        return dict.fromkeys(passes, 1.0)

    def settings(self, passes):
        return {"plan": "curriculum", "alone": self.alone}


def sources(**rows):
    return {
        name: TensorSource(torch.arange(float(n))[:, None], {name: torch.arange(float(n))}) for name, n in rows.items()
    }


def seen(loader, epochs):
    return [[(b.sources, [p.inputs[:, 0].tolist() for p in b.parts]) for b in loader] for _ in range(epochs)]


def test_a_plan_decides_which_sources_a_step_draws_from():
    first, second = seen(MultiTaskLoader(sources(a=4, b=6), batch_size=2, plan=Curriculum()), 2)
    assert [names for names, _ in first] == [("a",)] * 3
    assert [names for names, _ in second] == [("a", "b")] * 3


def test_every_row_is_seen_equally_often_also_across_epochs_of_a_plan():
    """b starts in the second epoch with the first of its rows: nothing was drawn from it before."""
    drawn = seen(MultiTaskLoader(sources(a=4, b=6), batch_size=2, plan=Curriculum()), 3)
    rows = [row for epoch in drawn for _, parts in epoch for row in parts[0]]
    assert sorted(rows[:16]) == sorted([0.0, 1.0, 2.0, 3.0] * 4)
    rows = [row for epoch in drawn[1:] for _, parts in epoch for row in parts[1]]
    assert sorted(rows) == sorted([0.0, 1.0, 2.0, 3.0, 4.0, 5.0] * 2)


def test_a_position_in_a_plan_is_resumed_exactly():
    whole = seen(MultiTaskLoader(sources(a=4, b=6), batch_size=2, plan=Curriculum()), 3)
    loader = MultiTaskLoader(sources(a=4, b=6), batch_size=2, plan=Curriculum())
    seen(loader, 1)
    for _ in loader:
        break
    again = MultiTaskLoader(sources(a=4, b=6), batch_size=2, plan=Curriculum())
    again.load_state_dict(loader.state_dict())
    assert seen(again, 2) == [whole[1][1:], whole[2]]
    other = MultiTaskLoader(sources(a=4, b=6), batch_size=2, plan=Curriculum(alone=2))
    with pytest.raises(CheckpointError, match="alone: saved 1, here 2"):
        other.load_state_dict(loader.state_dict())


@pytest.mark.parametrize("shuffle", [True, False])
def test_options_of_the_loader_are_plans(shuffle):
    data = sources(a=12, b=4)
    by_words = MultiTaskLoader(data, batch_size=2, mode="alternating", mixing="uniform", epoch=7, shuffle=shuffle)
    by_plan = MultiTaskLoader(
        data, batch_size=2, mode="alternating", shuffle=shuffle, plan=Alternating("uniform", epoch=7, shuffle=shuffle)
    )
    assert seen(by_words, 2) == seen(by_plan, 2)
    by_plan.load_state_dict(by_words.state_dict())
    assert seen(MultiTaskLoader(data, epoch=3), 2) == seen(MultiTaskLoader(data, plan=Joint(3)), 2)


def test_every_plan_is_in_the_list():
    own = {plan for plan in Plan.__subclasses__() if plan.__module__.startswith("polytask.")}
    assert {type(plan) for plan in PLANS} == own


@pytest.mark.parametrize("plan", PLANS)
def test_a_plan_is_a_function_of_its_options_the_seed_and_the_epoch(plan):
    passes = {"a": 7, "b": 2, "c": 1}
    again = dataclasses.replace(plan)
    for epoch in (4, 0, 1):
        assert again.draw(passes, epoch, 3) == plan.draw(passes, epoch, 3)
    assert all(getattr(plan, field.name) == getattr(again, field.name) for field in dataclasses.fields(plan))
    assert json.loads(json.dumps(plan.settings(passes))) == again.settings(passes)
    shares = plan.shares(passes)
    assert shares.keys() == passes.keys()
    assert all(0 <= share <= 1 for share in shares.values())
    drawn = [plan.counts(passes, epoch, 3) for epoch in range(300)]
    for name, share in shares.items():  # 300 epochs of at least 5 steps, whose counts are off by less than one each
        assert sum(counts[name] for counts in drawn) / (300 * plan.steps(passes)) == pytest.approx(share, abs=0.03)
    assert plan.words().startswith("each ")


@pytest.mark.parametrize("plan", PLANS)
def test_counts_are_those_of_the_draw(plan):
    passes = {"a": 7, "b": 2, "c": 1}
    for epoch in range(5):
        drawn = plan.draw(passes, epoch, 3)
        assert len(drawn) == plan.steps(passes)
        assert plan.counts(passes, epoch, 3) == {name: sum(name in step for step in drawn) for name in passes}


def test_a_plan_and_options_that_say_the_same_otherwise_are_refused():
    with pytest.raises(ConfigError, match="leave mixing, temperature and epoch out"):
        MultiTaskLoader(sources(a=4), epoch=3, plan=Joint())


@pytest.mark.parametrize(
    ("draw", "message"),
    [(lambda n: [("zzz",)] * n, "unknown source 'zzz'"), (lambda n: [("a",)] * (n + 1), "2 steps and draws 3")],
)
def test_a_plan_that_is_wrong_is_refused(draw, message):
    class Wrong(Curriculum):
        def draw(self, passes, epoch, seed):
            return draw(self.steps(passes))

    with pytest.raises(ConfigError, match=message):
        next(iter(MultiTaskLoader(sources(a=4), batch_size=2, plan=Wrong())))
