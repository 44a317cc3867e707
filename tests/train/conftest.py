"""A small problem: eight inputs, a regression and a binary task that disagree a little, labels partly missing."""

import pytest
import torch
from torch import nn

from polytask.data import TensorSource
from polytask.tasks import Task, TaskSet


class Net(nn.Module):
    """Trunk and two heads; told which tasks to compute, as the house's own models are."""

    def __init__(self, dropout=0.0, norm=False):
        super().__init__()
        layers = [nn.Linear(8, 16), *([nn.BatchNorm1d(16)] if norm else []), nn.ReLU(), nn.Dropout(dropout)]
        self.trunk = nn.Sequential(*layers)
        self.heads = nn.ModuleDict({"a": nn.Linear(16, 1), "b": nn.Linear(16, 1)})

    def encode(self, x):
        return self.trunk(x)

    def decode(self, z, tasks=None):
        return {name: head(z) for name, head in self.heads.items() if tasks is None or name in tasks}

    def forward(self, x, tasks=None):
        return self.decode(self.encode(x), tasks)

    def task_parameters(self, name):
        return self.heads[name].parameters()


@pytest.fixture
def tasks():
    return TaskSet([Task("a"), Task("b", "binary")])


@pytest.fixture
def make_net():
    def make(seed=0, **options):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return Net(**options)

    return make


@pytest.fixture
def make_source():
    def make(rows=96, missing=(), seed=0):
        """``missing``: names of tasks whose labels are deleted in every second row."""
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(rows, 8, generator=generator)
        a = x[:, 0] - x[:, 1] + 0.1 * torch.randn(rows, generator=generator)
        b = (x[:, 0] + x[:, 2] > 0).long()
        if "a" in missing:
            a[::2] = float("nan")
        if "b" in missing:
            b[::2] = -100
        return TensorSource(x, {"a": a, "b": b})

    return make


def same_parameters(one, other):
    """Whether two modules' states are equal bit for bit."""
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items())


@pytest.fixture
def bitwise():
    return same_parameters
