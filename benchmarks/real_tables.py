"""Chains, stacks and pools on ten real tables with mixed targets, and the baselines against scikit-learn by hand.

    python benchmarks/real_tables.py [--seeds N] [--only NAME] [--learner NAME] [--flights]

Every table is read as it is (``read_table``), every method is checked and compared on the same splits, one per seed.

*By hand*: the same learners in scikit-learn as one would write them, on the same rows: imputed and standardised numbers
beside one-hot categories for ``RidgeCV`` and ``LogisticRegressionCV``, ordinal codes for histogram gradient boosting.

*Together*: gain of each way over the same learner for each task alone.

Gains are lower RMSE in percent for numbers, and higher accuracy in points for classes; intervals are those of
``compare``, for repeated splits. With ``--flights`` only a study of 336,776 flights, judged by the last weeks of 2013.
"""

import argparse
import tempfile
import time
import warnings

import numpy as np
import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegressionCV, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from polytask.data import SplitRule, read_table
from polytask.data.datasets.rtables import r_table
from polytask.study import compare
from polytask.study.contenders import Setting, read_contenders
from polytask.study.outcome.statistics import paired_interval

TABLES = {
    "penguins": ("palmerpenguins", ["species", "sex", "body_mass_g"], ["year"]),
    "survey": ("MASS", ["Smoke", "Exer", "Pulse", "Height"], ["M.I"]),
    "Pima.tr2": ("MASS", ["type", "bmi", "skin"], []),
    "pbc": ("survival", ["ascites", "bili", "albumin"], ["id", "time", "status"]),
    "ncbirths": ("openintro", ["weight", "gained", "habit"], ["lowbirthweight", "premie"]),
    "Salaries": ("carData", ["rank", "salary"], []),
    "birthwt": ("MASS", ["smoke", "bwt", "lwt"], ["low"]),
    "Chile": ("carData", ["vote", "statusquo", "income"], []),
    "SLID": ("carData", ["language", "wages", "education"], []),
    "wine": ("scikit-learn", ["target", "alcohol", "proline"], []),
}
"""Where a table is from, its targets, and what gives them away or numbers the rows."""
ALONE = ("ridge", "boosting")
METHODS = {
    "ridge": ("ridge", "ridge:how=chain", "ridge:how=stack"),
    "boosting": ("boosting", "boosting:how=chain"),
}


def table(name):
    """A table without the columns to leave out, on the rows with some target."""
    package, targets, ignored = TABLES[name]
    if package == "scikit-learn":
        from sklearn.datasets import load_wine

        frame = load_wine(as_frame=True).frame
        frame["target"] = "kind " + frame["target"].astype(str)
    else:
        frame = r_table(package, name)
    frame = frame.drop(columns=ignored)
    return frame[frame[targets].notna().any(axis=1)].reset_index(drop=True), targets


def by_hand(frame, target, others, classify, learner, parts):
    """Test predictions of one learner as one would write it in scikit-learn, and the labels."""
    frame = frame.copy()
    text = frame.select_dtypes(exclude="number").columns
    frame[text] = frame[text].astype(object).where(frame[text].notna(), "none").astype(str)
    y = table_column(others["frame"], target)
    train = [row for row in parts["train"] if not pd.isna(y[row])]
    test = [row for row in parts["test"] if not pd.isna(y[row])]
    X = frame.drop(columns=others["targets"])
    numbers, words = make_column_selector(dtype_include="number"), make_column_selector(dtype_exclude="number")
    if learner == "ridge":
        columns = make_column_transformer(
            (make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()), numbers),
            (OneHotEncoder(handle_unknown="ignore"), words),
        )
        model = LogisticRegressionCV(
            Cs=8, l1_ratios=(0.0,), max_iter=2000, scoring="neg_log_loss", use_legacy_attributes=False
        )
        last = model if classify else RidgeCV(np.geomspace(1e-2, 1e4, 15))
    else:
        codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
        columns = make_column_transformer((codes, words), remainder="passthrough")
        made = HistGradientBoostingClassifier if classify else HistGradientBoostingRegressor
        last = made(random_state=0)
    model = make_pipeline(columns, last).fit(X.iloc[train], y[train].astype(str if classify else float))
    return model.predict(X.iloc[test]), y[test]


def table_column(frame, name):
    """A column as an array of objects."""
    return frame[name].to_numpy(dtype=object)


def scored(classify, found, truth):
    """Accuracy, or RMSE."""
    if classify:
        return float(np.mean(found.astype(str) == truth.astype(str)))
    return float(np.sqrt(np.mean((found - truth.astype(float)) ** 2)))


def gain(classify, mine, theirs):
    """Points of accuracy, or percent of RMSE; positive where the first is better."""
    return 100 * (mine - theirs) if classify else 100 * (theirs - mine) / theirs


def judged(name, seeds, methods):
    """Intervals of the gains on one table.

    Returns:
        One row per task and method: gain over the learner by hand (for those alone) or over the learner alone.
    """
    frame, targets = table(name)
    data = read_table(frame, targets)
    for row in read_contenders(methods, Setting()):
        row.check(data, data.tasks.names)
    with tempfile.TemporaryDirectory() as folder:
        comparison = compare(data, methods=methods, seeds=seeds, out=folder, progress=False, keep="none")
    assert not comparison.failures, [trial.error for trial in comparison.failures]
    values = comparison.frame.query("split == 'test' and metric in ('rmse', 'accuracy')")
    values = values.set_index(["method", "task", "metric", "seed"])["value"]
    splits = [SplitRule().split(frame, targets, seed) for seed in range(seeds)]
    overlap = len(splits[0]["test"]) / (len(splits[0]["train"]) + len(splits[0]["val"]))
    rows = []
    for task in data.tasks:
        classify = data.tasks[task].rule.nature.classes
        metric = "accuracy" if classify else "rmse"
        for method in comparison.methods:
            mine = [values[method, task, metric, seed] for seed in range(seeds)]
            alone = method.partition(":")[0]
            if method in ALONE:
                around = {"frame": frame, "targets": targets}
                hand = [by_hand(frame, task, around, classify, alone, parts) for parts in splits]
                theirs = [scored(classify, *pair) for pair in hand]
            else:
                theirs = [values[alone, task, metric, seed] for seed in range(seeds)]
            gains = [gain(classify, *pair) for pair in zip(mine, theirs, strict=True)]
            rows.append((name, task, metric, method, paired_interval(gains, overlap=overlap), np.mean(mine)))
    return rows


def flights():
    """One study of all flights, learned from the past and judged by the last weeks."""
    frame = r_table("nycflights13", "flights")
    targets = ["dep_delay", "arr_delay", "air_time"]
    frame["date"] = pd.to_datetime(frame[["year", "month", "day"]])
    gone = ["dep_time", "arr_time", "flight", "tailnum", "hour", "minute", "time_hour", "year", "month", "day"]
    begin = time.perf_counter(), time.process_time()
    data = read_table(frame.drop(columns=gone), targets, time="date", val=0.1, test=0.1)
    methods = ["ridge", "boosting", "ridge:how=chain"]
    with tempfile.TemporaryDirectory() as folder:
        comparison = compare(data, methods=methods, seeds=1, out=folder, progress=False, keep="none")
    spent = time.perf_counter() - begin[0], time.process_time() - begin[1]
    print(data.notes)
    print({split: len(source) for split, source in data.splits.items()}, len(frame), "rows")
    found = comparison.frame.query("split == 'test' and metric == 'r2'")
    print(found.pivot(index="task", columns="method", values="value").round(3).to_string())
    for trial in comparison.trials:
        print(trial.method, trial.tasks, f"{trial.timing['seconds']:.0f} s", trial.error or "")
    print(f"wall {spent[0]:.0f} s, CPU {spent[1]:.0f} s")


def main():
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", choices=TABLES)
    parser.add_argument("--learner", choices=METHODS)
    parser.add_argument("--flights", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.flights:
        flights()
        return
    methods = [one for learner, found in METHODS.items() if options.learner in (None, learner) for one in found]
    begin = time.perf_counter(), time.process_time()
    for name in [options.only] if options.only else TABLES:
        for _, task, metric, method, interval, mean in judged(name, options.seeds, methods):
            print(
                f"| {name} | {task} | {metric} {mean:.3g} | {method} | {interval.mean:+.1f} "
                f"[{interval.low:+.1f}, {interval.high:+.1f}] | {interval.verdict} |",
                flush=True,
            )
    print(f"wall {time.perf_counter() - begin[0]:.0f} s, CPU {time.process_time() - begin[1]:.0f} s")


if __name__ == "__main__":
    main()
