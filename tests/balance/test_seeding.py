"""Generators by seed and step: repeatable, unrelated, and their draws have the right distribution."""

import itertools

import numpy as np
import pytest
import torch

from polytask.balance import Evidence, get_method
from polytask.balance.contract.seeding import by_name, generator
from polytask.balance.toolbox.draws import partners, shuffled

STEPS = 4000


def evidence(tasks, step, seed=0):
    size = len(tasks)
    return Evidence(tuple(tasks), np.ones(size), np.full(size, 1 / size), np.eye(size), step, 0, seed)


def test_seed_and_step_decide_and_every_bit_of_them_counts():
    keys = [(0, 0), (0, 1), (1, 0), (5, 3), (3, 5), (2**63, 0), (0, 2**40), (2**32, 7), (0, 7)]
    drawn = {key: generator(*key).integers(2**63, size=4).tolist() for key in keys}
    assert drawn == {key: generator(*key).integers(2**63, size=4).tolist() for key in keys}
    assert len({tuple(values) for values in drawn.values()}) == len(keys)
    assert generator(-1, 0).integers(9) == generator(2**64 - 1, 0).integers(9)


def test_it_is_numpys_philox_with_this_key():
    ours = generator(11, 13).standard_normal(50)
    theirs = np.random.Generator(np.random.Philox(key=np.array([11, 13], dtype=np.uint64))).standard_normal(50)
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("along", ["step", "seed"])
def test_neighbouring_streams_are_unrelated(along):
    """First draws over consecutive steps, or seeds, are as independent as draws of one stream."""
    rows = np.array([generator(*((9, i) if along == "step" else (i, 9))).standard_normal(3) for i in range(STEPS)])
    se = 1 / np.sqrt(STEPS)
    assert abs(rows.mean(0)).max() < 4 * se
    assert abs(rows.var(0) - 1).max() < 4 * np.sqrt(2) * se
    assert abs(np.corrcoef(rows.T) - np.eye(3)).max() < 4 * se
    for lag in (1, 2, 64, 256):
        assert abs((rows[lag:] * rows[:-lag]).mean(0)).max() < 4.5 * se


@pytest.mark.parametrize("name", ["rlw", "rgw"])
def test_random_weights_have_mean_1_over_k_and_standard_normal_logits(name):
    method = get_method(name)
    tasks = ["c", "a", "b", "d"]
    weights = np.array([method.solve(evidence(tasks, step)).weights for step in range(STEPS)])
    np.testing.assert_allclose(weights.sum(1), 1)
    assert abs(weights.mean(0) - 0.25).max() < 4 * weights.std() / np.sqrt(STEPS)
    # log w_i − log w_j = z_i − z_j, which has variance 2 and kurtosis 3.
    for i, j in itertools.combinations(range(4), 2):
        gap = np.log(weights[:, i] / weights[:, j])
        assert abs(gap.mean()) < 4 * np.sqrt(2 / STEPS)
        assert gap.var() == pytest.approx(2, rel=4 * np.sqrt(2 / STEPS))
        assert (gap**4).mean() / gap.var() ** 2 == pytest.approx(3, abs=4 * np.sqrt(24 / STEPS))


def test_random_weights_follow_the_names():
    one = get_method("rgw").weights(torch.eye(3), tasks=["x", "y", "z"], step=4)
    other = get_method("rgw").weights(torch.eye(3), tasks=["z", "x", "y"], step=4)
    torch.testing.assert_close(other, one[[2, 0, 1]], rtol=0, atol=0)


def test_every_order_is_equally_likely():
    counts = dict.fromkeys(itertools.permutations(range(3)), 0)
    first = np.zeros((4, 4))
    for step in range(STEPS):
        counts[tuple(shuffled(evidence("cab", step)).tolist())] += 1
        first[np.arange(4), partners(evidence("badc", step))[:, 0]] += 1
    expected = STEPS / 6
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < 25  # χ² with 5 degrees: p < 1.4e-4
    assert (np.diag(first) == 0).all()
    off = first[~np.eye(4, dtype=bool)]
    assert abs(off - STEPS / 3).max() < 4.5 * np.sqrt(STEPS * 2 / 9)


def test_the_shared_order_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        by_name(("b", "a"))[0] = 5
