"""Krum against distances between rows, and what an arbitrary row can do."""

import numpy as np
import pytest
import torch
import torchjd.aggregation as jd

from polytask.balance import get_method
from tests.solvers.draws import jacobian


def by_rows(J, byzantine, selected):
    """Scores from the rows themselves."""
    scores = []
    for i in range(len(J)):
        squared = sorted(float(((J[i] - J[j]) ** 2).sum()) for j in range(len(J)) if j != i)
        scores.append(sum(squared[: len(J) - byzantine - 2]))
    weights = np.zeros(len(J))
    weights[np.argsort(scores)[:selected]] = 1 / selected
    return weights


@pytest.mark.parametrize(("size", "byzantine", "selected"), [(3, 0, 1), (5, 1, 1), (7, 2, 3), (40, 10, 5)])
def test_scores_are_sums_of_squared_distances(size, byzantine, selected):
    for seed in range(10):
        J = jacobian("plain", size, 0.3, seed)
        w = get_method("krum", byzantine=byzantine, selected=selected).weights(torch.tensor(J @ J.T))
        np.testing.assert_allclose(w, by_rows(J, byzantine, selected))


def test_public_code_that_adds_distances_selects_another_row():
    """TorchJD adds distances where the paper adds their squares."""
    differ = 0
    for seed in range(200):
        J = jacobian("plain", 7, 0.5, seed)
        G = torch.tensor(J @ J.T)
        expected = by_rows(J, 2, 1)
        np.testing.assert_allclose(get_method("krum", byzantine=2).weights(G), expected)
        differ += not np.allclose(jd.KrumWeighting(n_byzantine=2)(G), expected)
    assert differ > 3


def test_an_arbitrary_row_is_never_followed():
    rng = np.random.default_rng(0)
    J = np.ones(20) + 0.1 * rng.standard_normal((6, 20))
    for attack in (-1e6 * np.ones(20), 1e3 * rng.standard_normal(20), np.full(20, -1.0)):
        rows = np.vstack([J, attack])
        w = get_method("krum", byzantine=1, selected=3).weights(torch.tensor(rows @ rows.T))
        assert float(w[-1]) == 0


def test_with_too_few_tasks_all_are_averaged():
    _, w = None, get_method("krum", byzantine=2).weights(torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0])))
    np.testing.assert_allclose(w, 0.25)
