"""What a finished model looks at: against shuffles by hand, straight lines of linear models, and scikit-learn."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import root_mean_squared_error

import polytask as pt
from polytask.data import read_table
from polytask.errors import ConfigError, DataError

pytestmark = pytest.mark.filterwarnings("ignore::polytask.deploy.PredictionWarning")


def rows(n=300, seed=0):
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=n), rng.normal(size=n)
    return pd.DataFrame(
        {
            "x": x,
            "z": z,
            "place": rng.choice(["north", "south"], n),
            "price": 3 * x + rng.normal(size=n),
            "sold": np.where(z + 0.5 * rng.normal(size=n) > 0, "yes", "no"),
        }
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    data = read_table(rows(), ["price", "sold"])
    result = pt.compare(data, methods=["ridge"], seeds=1, out=tmp_path_factory.mktemp("run"), progress=False)
    return pt.load(result.best)


def test_importance_is_the_rise_of_the_error_under_shuffles_by_hand(model):
    new = rows(120, seed=1)
    found = model.importance(new, repeats=3, seed=7)
    assert found.attrs["metrics"] == {"price": "rmse", "sold": "auroc"}
    random = np.random.default_rng(7)
    base = root_mean_squared_error(new["price"], model.predict(new)["price"])
    rises = []
    for order in [random.permutation(len(new)) for _ in range(3)]:
        shuffled = new.assign(x=new["x"].to_numpy()[order])
        rises.append(root_mean_squared_error(new["price"], model.predict(shuffled)["price"]) - base)
    assert found.loc["x", "price"] == pytest.approx(np.mean(rises), rel=1e-9)
    assert found["price"].idxmax() == "x"
    assert found["sold"].idxmax() == "z"
    assert found["shared"].sum() == pytest.approx(1)
    assert set(found.index) == {"x", "z", "place"}


def test_the_effect_in_a_linear_model_is_a_line_and_its_predictions_are_by_task(model):
    table = model.partial_dependence(rows(50, seed=2), "x", values=[-1.0, 0.0, 1.0, 2.0])
    steps = np.diff(table["price"])
    np.testing.assert_allclose(steps, steps[0], rtol=1e-6)
    assert steps[0] == pytest.approx(3, rel=0.1)
    assert "sold P(yes)" in table
    assert model.partial_dependence(rows(50, seed=2), "place").index.tolist() == ["north", "south"]


def test_groups_are_judged_as_scikit_learn_judges_them(model):
    new = rows(200, seed=3)
    table = model.by_group(new.assign(school=np.repeat(["a", "b"], 100)), "school", draws=50)
    said = model.predict(new)["price"]
    for name, part in (("a", slice(0, 100)), ("b", slice(100, 200))):
        value = root_mean_squared_error(new["price"][part], said[part])
        assert table.loc[("price", name), "value"] == pytest.approx(value)
    assert table.loc[("sold", "a"), "metric"] == "auroc"
    assert (table["low"] <= table["difference"]).all()
    assert (table["difference"] <= table["high"]).all()


def test_decisions_do_not_change_what_is_explained(model):
    new = rows(100, seed=4)
    before = model.importance(new, repeats=1)
    model.tune(rows(80, seed=5), thresholds="f1", coverage=0.8)
    try:
        pd.testing.assert_frame_equal(model.importance(new, repeats=1), before)
        assert {"price low", "price high"} <= set(model.partial_dependence(new, "x", points=3))
    finally:
        model.tune(rows(80, seed=5))


def test_what_is_not_there_is_named(model):
    with pytest.raises(ConfigError, match="did you mean 'place'"):
        model.partial_dependence(rows(30), "plaice")
    with pytest.raises(ConfigError, match="column 'school'"):
        model.by_group(rows(30), "school")
    with pytest.raises(DataError, match="holds the labels of a task"):
        model.importance(rows(30)[["x", "z", "place"]])
