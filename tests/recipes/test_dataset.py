"""The recipe for a dataset: one file with a function that returns a MultiTaskData, one line in DATASETS."""

import pytest
import torch

from polytask.data import DATASETS, InputSpec, MultiTaskData, TensorSource, load
from polytask.errors import ConfigError
from polytask.tasks import Task, TaskSet


def waves(*, n: int = 60, seed: int = 0) -> MultiTaskData:
    """Height and sign of a wave at a point of the plane.

    Args:
        n: Number of points.
        seed: Of the points.
    """
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, 2, generator=generator)
    height = torch.sin(6 * x[:, 0]) * torch.cos(6 * x[:, 1])
    parts = [slice(0, n // 2), slice(n // 2, 3 * n // 4), slice(3 * n // 4, n)]
    sources = [TensorSource(x[part], {"height": height[part], "up": (height[part] > 0).long()}) for part in parts]
    tasks = TaskSet([Task("height"), Task("up", "binary")])
    return MultiTaskData("waves", tasks, *sources, InputSpec("vector", (2,)), "mlp:8", f"Drawn with seed {seed}.")


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(DATASETS, "waves", waves)


def test_it_is_loaded_by_name_with_its_options():
    data = load("waves", n=40)
    assert [len(source) for source in data.splits.values()] == [20, 10, 10]
    assert load("waves", n=40).fingerprint == data.fingerprint != load("waves", n=40, seed=1).fingerprint
    with pytest.raises(ConfigError, match="unknown option of dataset 'waves': 'm'"):
        load("waves", m=40)


def test_the_configuration_takes_it(study):
    result = study('[data]\nsource = "waves"\n[data.options]\nn = 80\n', ["stl", "equal", "ridge"])
    assert {trial.method for trial in result.trials} == {"stl", "equal", "ridge"}
    assert result.protocol.name == "waves"
