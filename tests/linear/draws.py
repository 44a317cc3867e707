"""Data for the tests: drawn, with degenerate cases on purpose."""

import numpy as np

from polytask.linear import Huber, Logistic, Squared, SquaredHinge, shared_problem, stacked_problem


def regression(n=40, d=12, T=4, active=3, seed=0, noise=0.5):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) + rng.normal(size=d)
    W = np.zeros((d, T))
    W[:active] = rng.normal(size=(active, T)) + np.sign(rng.normal(size=(active, T)))
    Y = X @ W + noise * rng.normal(size=(n, T)) + rng.normal(size=T)
    return X, Y, W


def stacked(sizes=(30, 1, 12, 25), d=9, seed=0, loss=None, intercept=True):
    """Unbalanced tasks, one of them with a single row; a constant feature and a duplicated one."""
    classes = loss is not None and not isinstance(loss, Squared | Huber)
    sizes = tuple(max(size, 2) for size in sizes) if classes else sizes
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(sum(sizes), d))
    X[:, 1] = 1.0
    X[:, 2] = X[:, 3]
    codes = np.repeat(np.arange(len(sizes)), sizes)
    W = rng.normal(size=(d, len(sizes)))
    y = np.einsum("ij,ji->i", X, W[:, codes]) + 0.5 * rng.normal(size=len(X))
    loss = Squared() if loss is None else loss
    if classes:
        y = np.where(y > np.median(y), 1.0, -1.0)
        first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        y[first], y[first + 1] = 1.0, -1.0  # a likelihood of one class has no maximiser
    return stacked_problem(X, y, codes, len(sizes), None, loss, intercept=intercept)


def shared(loss=None, missing=0.0, intercept=True, seed=0, **shape):
    X, Y, _ = regression(seed=seed, **shape)
    loss = Squared() if loss is None else loss
    if isinstance(loss, Logistic | SquaredHinge):
        Y = np.where(np.median(Y, axis=0) < Y, 1.0, -1.0)
    if missing:
        Y[np.random.default_rng(seed + 1).random(Y.shape) < missing] = np.nan
    return shared_problem(X, Y, None, loss, intercept=intercept)
