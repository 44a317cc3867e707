"""A second fit starts from the model's parameters and nothing else; copies are trainers of their own."""

import copy
import pickle

import pytest
import torch

from polytask.balance import Balancer
from polytask.train import Trainer

OPTIONS = {"epochs": 2, "batch_size": 16, "progress": False}


@pytest.mark.parametrize("method", ["uw", "dwa", "famo", "nash_mtl", "moco", "gradnorm", "pcgrad"])
def test_a_used_balancer_is_a_fresh_one(method, make_net, make_source, tasks, bitwise):
    source = make_source(missing=("b",))
    used = Balancer(method, tasks=tasks, announce=None)
    first, second, fresh = make_net(), make_net(), make_net()
    Trainer(first, tasks, used, **OPTIONS).fit(make_source(seed=3))
    trainer = Trainer(second, tasks, used, **OPTIONS)
    trainer.fit(source)
    other = Trainer(fresh, tasks, Balancer(method, tasks=tasks, announce=None), **OPTIONS)
    other.fit(source)
    assert bitwise(second, fresh)
    assert trainer.history.rows == other.history.rows
    assert len(used.partition.shared) == len(other.balancer.partition.shared)


@pytest.mark.parametrize("method", ["uw", "nash_mtl"])
def test_a_second_fit_starts_the_method_afresh(method, make_net, make_source, tasks, bitwise):
    source, one, other = make_source(), make_net(), make_net()
    trainer = Trainer(one, tasks, method, **OPTIONS)
    trainer.fit(make_source(seed=5))
    other.load_state_dict(one.state_dict())
    trainer.fit(source, val=source)
    again = Trainer(other, tasks, method, **OPTIONS)
    again.fit(source, val=source)
    assert bitwise(one, other)
    assert trainer.history.rows == again.history.rows


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("way", [copy.deepcopy, lambda trainer: pickle.loads(pickle.dumps(trainer))])
def test_copies_are_trainers_of_their_own(way, used, make_net, make_source, tasks, bitwise):
    source, net, twin = make_source(), make_net(), make_net()
    trainer, other = Trainer(net, tasks, "nash_mtl", **OPTIONS), Trainer(twin, tasks, "nash_mtl", **OPTIONS)
    if used:
        trainer.fit(source)
        other.fit(source)
        trainer.evaluate(source)
    before = copy.deepcopy(net)
    copied = way(trainer)
    copied.fit(source)
    other.fit(source)
    assert bitwise(net, before)  # the original has not moved
    assert bitwise(copied.model, twin)
    assert len(copied.balancer.partition.shared) == len(other.balancer.partition.shared)
    assert copied.predict(source.inputs)["a"].equal(other.predict(source.inputs)["a"])
    assert all(torch.isfinite(p).all() for p in copied.model.parameters())
