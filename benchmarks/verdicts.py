"""How often intervals hold the truth, and how often methods that are equal are told apart.

    python benchmarks/verdicts.py [--tables N] [--real]

*Coverage*: gain in RMSE of least squares over the mean, and of a strong ridge penalty over none, on tables drawn from a
linear law. The truth is the mean gain over all tables; a nominal 95 % interval should hold it in 95 % of them.

*False winners*: two methods that see half of the features each. The halves carry the same signal, so that neither is
better on rows to come; each seed fits them on a bootstrap sample of the training rows, as networks depend on a seed.

*Real tables* (``--real``, needs ``polytask[data]``): one and the same study, repeated with ten outer seeds. Studies
contradict each other when one finds a method better and another finds it worse.
"""

import argparse
import tempfile
import warnings
from collections import Counter

import numpy as np
import pandas as pd

from polytask.data import SplitRule
from polytask.study.outcome.statistics import Interval, paired_interval, transfer_gain

MEAN, PLAIN, STRONG = np.inf, 1e-6, 30.0
BOOSTING = "boosting:max_iter=20"


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


def rmse(x, y, part, alpha):
    """Test error of one fit."""
    predict = fit(x[part["train"]], y[part["train"]], alpha)
    return np.sqrt(np.mean((predict(x[part["test"]]) - y[part["test"]]) ** 2))


def splits_of(n, number, folds=None, seed=0):
    """The splits that the seeds 0 … number − 1 of a study have."""
    rule, rows = SplitRule(folds=folds, seed=seed), pd.DataFrame({"y": np.zeros(n)})
    return [rule.split(rows, ["y"], s) for s in range(number)]


def overlap_of(part):
    """n_test/n_train as studies count it."""
    return len(part["test"]) / (len(part["train"]) + len(part["val"]))


def coverage(n, number, *, alphas, folds=None, corrected=True, tables=400, seed=0):
    """How often the interval over ``number`` splits holds the mean gain over all tables, and how often it is off 0.

    Returns:
        Share of tables whose interval covers the truth; share whose verdict is a winner.
    """
    rng = np.random.default_rng(seed)
    found = []
    for place in range(tables):
        x, y = table(rng, n)
        parts = splits_of(n, number, folds, 1000 * place)
        found.append([transfer_gain(*(rmse(x, y, part, alpha) for alpha in alphas), -1) for part in parts])
    overlap = overlap_of(parts[0]) if corrected else 0.0
    intervals = [paired_interval(row, overlap=overlap) for row in found]
    truth = np.mean(found)
    return float(np.mean([i.low <= truth <= i.high for i in intervals])), won(intervals)


def won(intervals: list[Interval]) -> float:
    """Share of intervals with a winner."""
    return float(np.mean([i.verdict in ("better", "worse") for i in intervals]))


def false_winners(n, number, *, tables=400, seed=0):
    """Share of tables on which one of two equal methods wins, by how seeds and splits are used.

    Returns:
        ``"one split"`` (seeds only), ``"splits, uncorrected"`` and ``"splits"``.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, list[Interval]] = {"one split": [], "splits, uncorrected": [], "splits": []}
    for place in range(tables):
        x, y = table(rng, n)
        parts = splits_of(n, number, seed=1000 * place)
        one, many = (halves(rng, x, y, several) for several in ([parts[0]] * number, parts))
        found["one split"].append(paired_interval(one))
        found["splits, uncorrected"].append(paired_interval(many))
        found["splits"].append(paired_interval(many, overlap=overlap_of(parts[0])))
    return {name: won(intervals) for name, intervals in found.items()}


def halves(rng, x, y, parts):
    """Gain of the first half of the features over the second, each part with a bootstrap sample of its own."""
    gains = []
    for part in parts:
        drawn = {**part, "train": rng.choice(part["train"], len(part["train"]))}
        gains.append(transfer_gain(rmse(x[:, ::2], y, drawn, PLAIN), rmse(x[:, 1::2], y, drawn, PLAIN), -1))
    return gains


def contradictions(tables=("warpbreaks", "LifeCycleSavings", "Cars93", "crabs", "airquality", "birthwt"), outer=10):
    """Verdicts of the same study over outer seeds, with one split and with a split for each seed."""
    import polytask as pt
    from polytask.data.datasets.rtables import r_table

    targets = {
        "warpbreaks": ("datasets", ["breaks", "wool"]),
        "LifeCycleSavings": ("datasets", ["sr", "ddpi"]),
        "Cars93": ("MASS", ["Price", "MPG.city", "Horsepower"]),
        "crabs": ("MASS", ["FL", "RW", "BD"]),
        "airquality": ("datasets", ["Ozone", "Solar.R", "Temp"]),
        "birthwt": ("MASS", ["bwt", "lwt"]),
    }
    ignored = {
        "Cars93": ["Min.Price", "Max.Price", "MPG.highway", "Cylinders"],
        "airquality": ["Month", "Day"],
        "birthwt": ["low"],
    }
    for name in tables:
        package, wanted = targets[name]
        frame = r_table(package, name)
        counts = {}
        for vary in (False, True):
            verdicts, means = [], []
            for seed in range(0, 10 * outer, 10):
                data = pt.data.read_table(frame, wanted, seed=seed, ignore=ignored.get(name, ()))
                with tempfile.TemporaryDirectory() as folder:
                    study = pt.compare(
                        data, methods=["ridge", BOOSTING], seeds=5, split_seeds=vary, out=folder, progress=False,
                        keep="none",
                    )  # fmt: skip
                verdicts.append(study.verdict_of(BOOSTING))
                means.append(study.interval(BOOSTING).mean)
            counts[vary] = f"{said(Counter(verdicts))}, Δm {min(means):+.1f} to {max(means):+.1f} %"
        print(f"{name:<18}{len(frame):>5} rows  one split: {counts[False]:<46} splits: {counts[True]}")


def said(counts):
    """Counts of verdicts in words."""
    return ", ".join(f"{number} {verdict}" for verdict, number in sorted(counts.items()))


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=1000)
    parser.add_argument("--real", action="store_true")
    options = parser.parse_args()
    print("coverage of nominal 95 % intervals, and share of winners found")
    for words, alphas in (("least squares over mean", (PLAIN, MEAN)), ("penalty 30 over none", (STRONG, PLAIN))):
        for n in (60, 300):
            for number, folds in ((3, None), (5, None), (10, None), (5, 5), (10, 5)):
                held, winners = coverage(n, number, alphas=alphas, folds=folds, tables=options.tables)
                what = f"{number} hold-outs" if folds is None else f"{number // folds} x {folds} folds"
                print(f"  {words:<25}{n:>5} rows  {what:<13}{held:7.1%}   winners {winners:6.1%}")
    print("\nfalse winners among equal methods, nominal 5 %")
    for n in (60, 300, 1000):
        for number in (3, 5, 10):
            found = false_winners(n, number, tables=options.tables)
            print(f"  {n:>5} rows, {number:>2} seeds  " + "  ".join(f"{k} {v:6.1%}" for k, v in found.items()))
    if options.real:
        print("\nboosting against ridge, ten outer seeds of five seeds each")
        warnings.simplefilter("ignore")
        contradictions()


if __name__ == "__main__":
    main()
