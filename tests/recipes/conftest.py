"""A small table, and what a recipe's thing is tried in: a study by the configuration that a user would write."""

import numpy as np
import pandas as pd
import pytest

from polytask.study import Config, compare


@pytest.fixture
def folder(tmp_path):
    """A folder with people.csv: three inputs, two numbers and a yes or no to predict, labels missing here and there."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 3))
    income = 30 + 5 * x[:, 0] - 3 * x[:, 1] + rng.standard_t(2, size=120)
    age = 40 + 8 * x[:, 0] + 6 * rng.normal(size=120)
    age[rng.random(120) < 0.2] = np.nan
    sick = np.where(x[:, 2] + 0.5 * rng.normal(size=120) > 0, "yes", "no")
    frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "income": income, "age": age, "sick": sick})
    frame.to_csv(tmp_path / "people.csv", index=False)
    return tmp_path


@pytest.fixture
def study(folder):
    """Compare as ``polytask compare`` does, by a page of TOML: one seed, two epochs."""

    def run(page, methods, out="runs"):
        config = Config.parse(page + "\n[train]\nepochs = 2\nbatch_size = 32\n", where="polytask.toml", folder=folder)
        options = {**config.compare_options(), "methods": methods, "seeds": 1, "out": folder / out}
        return compare(config.build_data(), progress=False, **options)

    return run
