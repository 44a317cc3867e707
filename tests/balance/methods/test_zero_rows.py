"""Tasks whose gradient is zero, through solving and learning, for every method on Gramians."""

import numpy as np
import pytest

from polytask.balance import METHODS, Evidence, GramianMethod

from .drive import NAMES, make
from .entries import ENTRIES

on_gramians = pytest.mark.parametrize(
    "entry", [entry for entry in ENTRIES if issubclass(METHODS[entry.name], GramianMethod)], ids=str
)


def stepped(method, J, step):
    given = Evidence(NAMES, np.linspace(0.5, 2.0, 5), np.full(5, 0.2), J @ J.T, step, step // 3, 7)
    solution = method.solve_present(given)
    method.remember(given, solution)
    return solution.weights


@on_gramians
def test_zero_gradients_are_survived_and_get_the_preference(entry):
    method, rng = make(entry), np.random.default_rng(0)
    for step, zero in enumerate(([], [3], [0, 3], [0, 1, 2, 3], [0, 1, 2, 3, 4], [2], [])):
        J = rng.standard_normal((5, 12))
        J[zero] = 0.0
        weights = stepped(method, J, step)
        assert np.isfinite(weights).all()
        np.testing.assert_allclose(weights[zero], 0.2)
        for values in method.state_dict().values():
            assert all(np.isfinite(value) for value in values.values() if isinstance(value, float))


@on_gramians
def test_losses_in_other_units_with_tiny_gradients_change_nothing_but_units(entry):
    """No absolute threshold: gradients of norm 1e-12 are judged like those of norm 1."""
    by_product = entry.name == "ol_aux" and "inner" in entry.options.get("similarity", "inner")
    if by_product or entry.name in ("modo", "pike"):
        pytest.skip("its step size is in the losses' units")
    usual, tiny = make(entry), make(entry)
    for step in range(4):
        J = np.random.default_rng(step).standard_normal((5, 12))
        one, two = stepped(usual, J, step), stepped(tiny, 1e-12 * J, step)
        np.testing.assert_allclose(two * 1e-12**-entry.power, one, rtol=1e-5, atol=1e-8)
