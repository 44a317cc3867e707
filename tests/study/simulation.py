"""Gains of ridge regression on tables of a known law, over repeated splits: what coverage is counted on."""

import numpy as np

from polytask.data import SplitRule
from polytask.study.statistics import paired_interval, transfer_gain


def fit(x, y, alpha):
    """Ridge regression with an intercept, in closed form; the mean for an infinite penalty."""
    middle, level = x.mean(0), y.mean()
    if np.isinf(alpha):
        return lambda z: np.full(len(z), level)
    centred = x - middle
    weights = np.linalg.solve(centred.T @ centred + alpha * np.eye(x.shape[1]), centred.T @ (y - level))
    return lambda z: (z - middle) @ weights + level


def table(rng, n, d=8, signal=0.7):
    """Rows of a linear law with unit noise."""
    x = rng.normal(size=(n, d))
    return x, x @ np.full(d, signal / np.sqrt(d)) + rng.normal(size=n)


def gains(x, y, parts, alphas):
    """Gain in RMSE of the first penalty over the second, by split."""
    found = []
    for part in parts:
        rest = [y[part["test"]] - fit(x[part["train"]], y[part["train"]], a)(x[part["test"]]) for a in alphas]
        mine, base = (np.sqrt(np.mean(r**2)) for r in rest)
        found.append(transfer_gain(mine, base, -1))
    return found


def splits_of(n, number, folds=None, seed=0):
    import pandas as pd

    rule, rows = SplitRule(folds=folds, seed=seed), pd.DataFrame({"y": np.zeros(n)})
    return [rule.split(rows, ["y"], s) for s in range(number)]


def coverage(n, number, *, alphas, folds=None, corrected=True, tables=400, seed=0):
    """How often the interval over ``number`` splits holds the mean gain over all tables, and how often it is off 0.

    Returns:
        Share of tables whose interval covers the truth; share whose verdict is a winner.
    """
    rng = np.random.default_rng(seed)
    found = np.array([gains(*table(rng, n), splits_of(n, number, folds, 1000 * i), alphas) for i in range(tables)])
    part = splits_of(n, 1, folds)[0]
    overlap = len(part["test"]) / (len(part["train"]) + len(part["val"])) if corrected else 0.0
    intervals = [paired_interval(row.tolist(), overlap=overlap) for row in found]
    truth = found.mean()
    return (
        float(np.mean([i.low <= truth <= i.high for i in intervals])),
        float(np.mean([i.verdict in ("better", "worse") for i in intervals])),
    )
