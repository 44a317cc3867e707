"""A table as a user would have it, and the command line run inside this process."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from polytask.cli import app


class Outcome:
    """What one call of the command line gave."""

    def __init__(self, result):
        self.code = result.exit_code
        self.out = result.stdout
        self.err = result.stderr

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def polytask():
    """Call the command line with the given words."""

    def call(*words):
        return Outcome(CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False))

    return call


def make_table(rows=240):
    """A small table: two targets, one of them half missing, with an identifier, a category and a leak of a target."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 3))
    price = 3 * x[:, 0] + x[:, 1] + 0.1 * rng.normal(size=rows)
    sold = np.where(x[:, 0] + 0.5 * rng.normal(size=rows) > 0, "yes", "no").astype(object)
    sold[rng.random(rows) < 0.5] = None
    return pd.DataFrame(
        {
            "id": [f"case-{i:04d}" for i in rng.permutation(rows)],
            "size": x[:, 0],
            "age": x[:, 1],
            "place": rng.choice(["north", "south", "west"], rows),
            "price": price,
            "sold": sold,
        }
    )


@pytest.fixture
def table(tmp_path):
    """The table in a CSV file."""
    path = tmp_path / "houses.csv"
    make_table().to_csv(path, index=False)
    return path


@pytest.fixture
def config(tmp_path, table):
    """A configuration that trains in a moment."""
    path = tmp_path / "polytask.toml"
    path.write_text(
        """
[data]
source = "houses.csv"
ignore = ["id"]

[tasks.price]
kind = "regression"

[tasks.sold]
kind = "binary"

[model]
encoder = "tabular:8"

[train]
epochs = 1

[protocol]
methods = ["stl", "equal"]
seeds = 1
out = "runs/houses"
"""
    )
    return path
