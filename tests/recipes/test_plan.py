"""The recipe for a plan: one file with a class; a loader takes an object of it, and nothing is registered."""

import dataclasses
from typing import final

import pytest
import torch
from torch import nn

from polytask.data import MultiTaskLoader, Plan, TensorSource
from polytask.errors import ConfigError
from polytask.share import HardSharing
from polytask.tasks import Task
from polytask.train import Trainer


@final
@dataclasses.dataclass(frozen=True)
class OneMoreEachEpoch(Plan):
    """The first source alone, then the first two, and so on."""

    steps_per_epoch: int = 4

    def __post_init__(self):
        if self.steps_per_epoch < 1:
            raise ConfigError(f"steps_per_epoch must be at least 1, found {self.steps_per_epoch}")

    def steps(self, passes):
        return self.steps_per_epoch

    def draw(self, passes, epoch, seed):
        return [tuple(passes)[: epoch + 1]] * self.steps_per_epoch

    def shares(self, passes):
        return dict.fromkeys(passes, 1.0)

    def words(self):
        return "each on one source more than in the epoch before"


def sources():
    return {name: TensorSource(torch.randn(12, 3), {name: torch.randn(12)}) for name in ("near", "far", "farther")}


def test_the_loader_draws_by_it():
    loader = MultiTaskLoader(sources(), batch_size=4, plan=OneMoreEachEpoch())
    drawn = [[batch.sources for batch in loader] for _ in range(3)]
    assert drawn == [[("near",)] * 4, [("near", "far")] * 4, [("near", "far", "farther")] * 4]
    assert "An epoch is 4 steps, each on one source more than in the epoch before." in loader.describe_epoch()


def test_the_trainer_learns_the_tasks_of_the_sources_drawn():
    tasks = [Task(name) for name in ("near", "far", "farther")]
    model = HardSharing(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), tasks)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    Trainer(model, tasks, epochs=2, restore="last").fit(
        MultiTaskLoader(sources(), batch_size=4, plan=OneMoreEachEpoch())
    )
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert {name for name in changed if "farther" in name} == set()
    assert {task for task in ("near", "far") if any(f".{task}." in name for name in changed)} == {"near", "far"}


def test_a_wrong_option_is_refused():
    with pytest.raises(ConfigError, match="at least 1, found 0"):
        OneMoreEachEpoch(0)
