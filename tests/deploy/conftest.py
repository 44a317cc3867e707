"""Data of every kind, and models of it that were trained for a moment or not at all: numbers, not quality, count."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from polytask.data import InputSpec, MultiTaskData, TensorSource, read_table
from polytask.deploy import FinishedModel
from polytask.share import Blueprint
from polytask.tasks import Task, TaskSet

KINDS = {"sold": "binary", "size": "multiclass", "grade": "ordinal", "price": "regression", "rooms": "count"}
KINDS |= {"rent": "quantile"}


def make_rows(rows=200, seed=0):
    """A table with one target per kind of target column, and inputs of every role, some of them missing."""
    rng = np.random.default_rng(seed)
    x, age = rng.normal(size=rows), rng.normal(30, 5, size=rows)
    age[rng.random(rows) < 0.1] = np.nan
    days = pd.to_timedelta(rng.integers(0, 900, rows), "D")
    return pd.DataFrame(
        {
            "x": x,
            "age": age,
            "place": rng.choice(["north", "south", "west"], rows),
            "garden": rng.choice([True, False], rows),
            "when": (pd.Timestamp("2020-01-01") + days).strftime("%d.%m.%Y"),
            "price": 1e5 + 3e4 * x + 2e4 * rng.normal(size=rows),
            "sold": np.where(x + rng.normal(size=rows) > 0, "yes", "no"),
            "size": rng.choice(["small", "middle", "large"], rows),
            "grade": rng.integers(1, 5, rows),
            "rooms": rng.poisson(3, rows),
            "rent": 500 + 100 * x + 90 * rng.normal(size=rows),
        }
    )


def shaken(blueprint, seed=1):
    """A model whose parameters and buffers are far from their initial values."""
    model = blueprint.build()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value += 0.3 * torch.rand(value.shape, generator=generator)
    return FinishedModel.of(blueprint, model)


def image_data(kind="image", shape=(1, 8, 8)):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(40, *shape, generator=generator)
    tasks = TaskSet([Task("digit", "multiclass", classes=3), Task("marks", "multilabel", labels=["dot", "bar"])])
    targets = {"digit": torch.arange(40) % 3, "marks": (torch.rand(40, 2, generator=generator) > 0.5).long()}
    rows = TensorSource(x, targets)
    return MultiTaskData("pictures", tasks, rows, rows, rows, InputSpec(kind, shape), "mlp:8")


@pytest.fixture
def rows():
    return make_rows()


@pytest.fixture
def houses(rows):
    return read_table(rows, list(KINDS), kinds=KINDS)


@pytest.fixture
def model(houses):
    """A model of all kinds that a column can be."""
    return shaken(Blueprint.of(houses, encoder="tabular:8"))


ELSEWHERE = """
import sys, warnings
import numpy as np, pandas as pd
import polytask as pt
warnings.simplefilter("ignore")
folder, source, target = sys.argv[1:]
rows = np.load(source) if source.endswith(".npy") else pd.read_parquet(source)
pt.load(folder).predict(rows).to_parquet(target)
"""


@pytest.fixture
def elsewhere(tmp_path):
    """Predict with the model of a folder in another process."""

    def predict(folder, rows):
        source = tmp_path / ("rows.npy" if isinstance(rows, np.ndarray) else "rows.parquet")
        if isinstance(rows, np.ndarray):
            np.save(source, rows)
        else:
            rows.to_parquet(source)
        target = tmp_path / "answers.parquet"
        command = [sys.executable, "-c", ELSEWHERE, str(folder), str(source), str(target)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return pd.read_parquet(target)

    return predict
