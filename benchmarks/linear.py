"""Time of the linear estimators to a true relative error of 1e-6, against scikit-learn, skglm and a plain FISTA.

    python benchmarks/linear.py [specific] [families] [shared] [scaling] [memory] [--repeats 3] [--quick]

``specific``: every task has rows of its own (joint feature selection, ℓ2,1). Peers: skglm's group coordinate descent on
the sparse block-diagonal design, and a plain FISTA (step 1/L, no restart, two passes per iteration). Each peer is
stopped by its own tolerance, tightened until the objective is within 1e-6 of the optimum; the time of that run counts.
The time of the plain FISTA is given with and without the singular values it needs for its step.
``families``: low rank, dirty and logistic problems on task-specific rows, against the same plain FISTA.
``shared``: one design for all tasks, complete targets. Peers: scikit-learn's MultiTaskLasso, skglm's MultiTaskLasso.
``scaling``: our time as T, d and n grow. ``memory``: peak memory of a fit beyond the data, over the size of the data.
Times are CPU seconds of this process, so that other work on the machine disturbs them less.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
import tracemalloc
import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import MultiTaskLasso

from polytask.linear import L21, Dirty, Logistic, Squared, TraceNorm, get_estimator, solve, stacked_problem

TARGET = 1e-6


def correlated(rng: np.random.Generator, n: int, d: int, rho: float) -> np.ndarray:
    """Rows of an AR(ρ) process over the features."""
    X = rng.normal(size=(n, d))
    for j in range(1, d):
        X[:, j] = rho * X[:, j - 1] + np.sqrt(1 - rho**2) * X[:, j]
    return X


def specific(T: int, d: int, sizes: np.ndarray, rho: float, active: float = 0.05, seed: int = 0) -> Any:
    """Task-specific data with a shared sparse support and a signal-to-noise ratio of 3."""
    rng = np.random.default_rng(seed)
    X = correlated(rng, int(sizes.sum()), d, rho)
    codes = np.repeat(np.arange(T), sizes)
    W = np.zeros((d, T))
    rows = rng.choice(d, max(1, int(active * d)), replace=False)
    W[rows] = rng.normal(size=(len(rows), T))
    y = np.empty(len(X))
    for t in range(T):
        signal = X[codes == t] @ W[:, t]
        y[codes == t] = signal + rng.normal(size=len(signal)) * signal.std() / np.sqrt(3)
    return X, y, codes


def objective(X: np.ndarray, y: np.ndarray, codes: np.ndarray, T: int, W: np.ndarray, alpha: float) -> float:
    residual = y - np.einsum("ij,ij->i", X, W.T[codes])
    return 0.5 * float(residual @ residual) / (len(y) / T) + alpha * float(np.linalg.norm(W, axis=1).sum())


def clock(run: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    best, out = np.inf, None
    for _ in range(repeats):
        start = time.process_time()
        out = run()
        best = min(best, time.process_time() - start)
    return best, out


def until_accurate(fit: Callable[[float], np.ndarray], value: Callable[[np.ndarray], float], best: float, repeats: int):
    """The loosest tolerance whose result is accurate enough, and the time of that run."""
    for tol in 10.0 ** -np.arange(2, 13):
        W = fit(tol)
        if value(W) - best <= TARGET * best:
            return clock(lambda tol=tol: fit(tol), repeats)[0], float(tol)
    return np.nan, 0.0


def largest_step(X: np.ndarray, starts: np.ndarray) -> float:
    return float(max(np.linalg.norm(X[a:b], 2) ** 2 for a, b in pairwise(starts)) / (len(X) / (len(starts) - 1)))


def plain_fista(problem: Any, penalty: Any, L: float, stop: Callable[[np.ndarray], bool]) -> np.ndarray:
    """FISTA as in the textbooks, a loop over the tasks; stopped by an oracle that knows the optimum."""
    design, loss = problem.design, problem.loss
    blocks = [slice(a, b) for a, b in pairwise(design.starts.tolist())]
    W = np.zeros((design.n_features, design.n_tasks))
    Z, t = W, 1.0
    for k in range(100_000):
        G = np.empty_like(W)
        for i, rows in enumerate(blocks):
            slope = problem.weight[rows] * loss.derivative(problem.y[rows], design.X[rows] @ Z[:, i])
            G[:, i] = design.X[rows].T @ slope
        new = penalty.prox(Z - G / L, 1 / L)
        after = 0.5 * (1 + np.sqrt(1 + 4 * t * t))
        Z, W, t = new + (t - 1) / after * (new - W), new, after
        if k % 10 == 0 and stop(W):
            break
    return W


def group_descent(X: np.ndarray, y: np.ndarray, codes: np.ndarray, T: int, alpha: float) -> Callable[[float], Any]:
    """GroupBCD of skglm on the block-diagonal design, columns ordered by feature."""
    from skglm.datafits import QuadraticGroup
    from skglm.penalties import WeightedGroupL2
    from skglm.solvers import GroupBCD
    from skglm.utils.data import grp_converter
    from skglm.utils.jit_compilation import compiled_clone

    N, d = X.shape
    rows = np.repeat(np.arange(N), d)
    columns = (np.arange(d)[None, :] * T + codes[:, None]).ravel()
    block = sparse.csc_matrix((X.ravel(), (rows, columns)), shape=(N, d * T))
    indices, pointers = grp_converter(T, d * T)
    datafit = compiled_clone(QuadraticGroup(pointers, indices))
    # skglm divides by the number of rows of the block design: by N instead of N/T
    penalty = compiled_clone(WeightedGroupL2(alpha / T, np.ones(d), pointers, indices))

    def fit(tol: float) -> np.ndarray:
        solver = GroupBCD(max_iter=500, max_epochs=100_000, tol=tol, fit_intercept=False, warm_start=False)
        datafit.initialize_sparse(block.data, block.indptr, block.indices, y)
        w = solver.solve(block, y, datafit, penalty)[0]
        return w.reshape(d, T)

    return fit


def run_specific(repeats: int, quick: bool) -> None:
    rng = np.random.default_rng(1)
    cases = {
        "T=50 d=500 n=200, correlated .5": (50, 500, np.full(50, 200), 0.5),
        "T=200 d=2000 n=100, correlated .5": (200, 2000, np.full(200, 100), 0.5),
        "T=139 d=28 n=22..251, unbalanced": (139, 28, rng.integers(22, 252, size=139), 0.3),
        "T=50 d=500 n=200, correlated .9": (50, 500, np.full(50, 200), 0.9),
    }
    print(f"{'problem':38s} {'r':>5s} {'rows':>5s} {'ours':>8s} {'gap 1e-4':>8s} {'skglm':>8s} {'FISTA':>8s}   ratios")
    for name, (T, d, sizes, rho) in cases.items():
        if quick and T * d > 100_000:
            continue
        X, y, codes = specific(T, d, sizes, rho)
        starts = np.concatenate([[0], np.cumsum(sizes)])

        def build(X=X, y=y, codes=codes, T=T):
            return stacked_problem(X, y, codes, T, None, Squared(), intercept=False)

        problem = build()
        top = L21(1.0).gauge(problem.design.adjoint(problem.weight * problem.y))
        for share in (0.3, 0.1):
            alpha = share * top
            exact = solve(problem, L21(alpha), tol=1e-9, max_iter=200_000)
            best = exact.objective - exact.gap

            def value(W, alpha=alpha, X=X, y=y, codes=codes, T=T):
                return objective(X, y, codes, T, W, alpha)

            def ours(tol, alpha=alpha, build=build):
                return solve(build(), L21(alpha), tol=tol, max_iter=200_000).W

            mine, _ = until_accurate(ours, value, best, repeats)
            certified, _ = clock(lambda ours=ours: ours(1e-4), repeats)
            group = group_descent(X, y, codes, T, alpha)
            group(1e-1)  # compile
            peer, _ = until_accurate(group, value, best, 1)
            step, L = clock(lambda X=X, starts=starts: largest_step(X, starts), 1)
            plain, _ = clock(
                lambda problem=problem, alpha=alpha, L=L, value=value, best=best: plain_fista(
                    problem, L21(alpha), L, lambda W: value(W) - best <= TARGET * best
                ),
                1,
            )
            rows = int(np.any(exact.W != 0, axis=1).sum())
            print(
                f"{name:38s} {share:5.2f} {rows:5d} {mine:8.3f} {certified:8.3f} {peer:8.3f} {plain + step:8.3f}   "
                f"skglm {peer / mine:5.1f}x  FISTA {(plain + step) / mine:5.1f}x, {plain / mine:4.1f}x without step",
                flush=True,
            )


FAMILIES: dict[str, tuple[Callable[[float], Any], Any]] = {
    "trace norm": (TraceNorm, Squared()),
    "dirty": (lambda alpha: Dirty(alpha, 0.3 * alpha), Squared()),
    "logistic, joint feature": (L21, Logistic()),
    "logistic, trace norm": (TraceNorm, Logistic()),
}


def run_families(repeats: int, quick: bool) -> None:
    T, d, n = (20, 200, 100) if quick else (50, 500, 200)
    X, y, codes = specific(T, d, np.full(T, n), 0.5)
    step, L = clock(lambda: largest_step(X, np.arange(T + 1) * n), 1)
    print(
        f"T={T} d={d} n={n}, correlated .5".ljust(38)
        + f" {'r':>5s} {'ours':>8s} {'gap 1e-4':>8s} {'FISTA':>8s}   ratio"
    )
    for name, (make, loss) in FAMILIES.items():
        target = y if loss.quadratic else np.where(y > 0, 1.0, -1.0)

        def build(target=target, loss=loss):
            return stacked_problem(X, target, codes, T, None, loss, intercept=False)

        problem = build()
        slopes = loss.derivative(problem.y, np.zeros_like(problem.y))
        top = make(1.0).gauge(problem.design.adjoint(problem.weight * slopes))
        for share in (0.3, 0.1):
            penalty = make(share * top)
            exact = solve(problem, penalty, tol=1e-9, max_iter=200_000)
            best = exact.objective - exact.gap

            def value(W, problem=problem, loss=loss, penalty=penalty):
                fit = problem.weight * loss.value(problem.y, problem.design.forward(np.asfortranarray(W)))
                return float(fit.sum()) + penalty.value(W)

            def ours(tol, penalty=penalty, build=build):
                return solve(build(), penalty, tol=tol, max_iter=200_000).W

            mine, _ = until_accurate(ours, value, best, repeats)
            certified, _ = clock(lambda ours=ours: ours(1e-4), repeats)
            plain, _ = clock(
                lambda problem=problem, penalty=penalty, value=value, best=best: plain_fista(
                    problem, penalty, problem.loss.curvature * L, lambda W: value(W) - best <= TARGET * best
                ),
                1,
            )
            ratios = f"{(plain + step) / mine:5.1f}x, {plain / mine:4.1f}x without the step"
            print(f"{name:38s} {share:5.2f} {mine:8.3f} {certified:8.3f} {plain + step:8.3f}   {ratios}", flush=True)


def run_shared(repeats: int, quick: bool) -> None:
    from skglm import MultiTaskLasso as GroupLasso

    print(f"{'problem':28s} {'r':>5s} {'rows':>5s} {'ours':>8s} {'sklearn':>8s} {'skglm':>8s}   ratios")
    for n, d, T in [(500, 2000, 50), (1000, 500, 50), (200, 5000, 20), (200, 500, 10)]:
        rng = np.random.default_rng(0)
        X = correlated(rng, n, d, 0.5)
        W = np.zeros((d, T))
        W[rng.choice(d, 20, replace=False)] = rng.normal(size=(20, T))
        Y = X @ W
        Y += rng.normal(size=Y.shape) * Y.std() / np.sqrt(3)
        cls = get_estimator("JointFeatureRegressor")
        top = cls(fit_intercept=False).alpha_max(X, Y)
        for share in (0.5, 0.2, 0.05):
            alpha = share * top
            exact = cls(alpha=alpha, fit_intercept=False, tol=1e-10, max_iter=100_000).fit(X, Y)
            best = exact.objective_ - exact.dual_gap_

            def value(C, alpha=alpha, X=X, Y=Y, n=n):
                return 0.5 / n * float(np.sum((Y - X @ C.T) ** 2)) + alpha * float(np.linalg.norm(C, axis=0).sum())

            def ours(tol, alpha=alpha, X=X, Y=Y, cls=cls):
                return cls(alpha=alpha, fit_intercept=False, tol=tol, max_iter=100_000).fit(X, Y).coef_

            def theirs(tol, alpha=alpha, X=X, Y=Y):
                return MultiTaskLasso(alpha=alpha, fit_intercept=False, tol=tol, max_iter=100_000).fit(X, Y).coef_

            def group(tol, alpha=alpha, X=X, Y=Y):
                return GroupLasso(alpha=alpha, fit_intercept=False, tol=tol, max_iter=1000).fit(X, Y).coef_

            group(1e-1)  # compile
            times = [until_accurate(fit, value, best, repeats)[0] for fit in (ours, theirs, group)]
            print(
                f"n={n} d={d} T={T}".ljust(28) + f" {share:5.2f} {len(exact.selected_):5d} "
                f"{times[0]:8.4f} {times[1]:8.4f} {times[2]:8.4f}   "
                f"sklearn {times[1] / times[0]:5.2f}x  skglm {times[2] / times[0]:5.1f}x",
                flush=True,
            )


def run_scaling(repeats: int, quick: bool) -> None:
    print("seconds to a certified relative gap of 1e-4, alpha = 0.2 alpha_max")
    base = {"T": 20, "d": 200, "n": 100}
    for axis, values in {"T": (10, 20, 40, 80), "d": (100, 200, 400, 800), "n": (50, 100, 200, 400)}.items():
        for size in values:
            shape = {**base, axis: size}
            X, y, codes = specific(shape["T"], shape["d"], np.full(shape["T"], shape["n"]), 0.5)
            problem = stacked_problem(X, y, codes, shape["T"], None, Squared(), intercept=True)
            pull = problem.design.adjoint(problem.weight * problem.y)
            line = f"{axis}={size:4d}"
            for make in (L21, TraceNorm):
                penalty = make(0.2 * make(1.0).gauge(pull))
                seconds, solution = clock(lambda problem=problem, penalty=penalty: solve(problem, penalty), repeats)
                line += f"  {make.__name__} {seconds:7.4f} s in {solution.n_iter:4d}"
            print(line, flush=True)


def run_memory(repeats: int, quick: bool) -> None:
    T, d, n = (20, 400, 80) if quick else (50, 1000, 200)
    X, y, codes = specific(T, d, np.full(T, n), 0.0)
    print(f"T={T} d={d} n={n}: the copy that is centred, and all else, over the size of the data")
    for name in ("JointFeatureRegressor", "JointFeatureClassifier", "TraceNormRegressor", "DirtyModelRegressor"):
        target = (y > 0).astype(int) if name.endswith("Classifier") else y
        cls = get_estimator(name)
        top = cls().alpha_max(X, target, task=codes)
        peaks = []
        for share in (0.5, 0.2, 0.05):
            tracemalloc.start()
            cls(alpha=share * top).fit(X, target, task=codes)
            peaks.append(f"r={share:.2f} {tracemalloc.get_traced_memory()[1] / X.nbytes:.2f}")
            tracemalloc.stop()
        print(f"{name:28s} " + "   ".join(peaks), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {
        "specific": run_specific,
        "families": run_families,
        "shared": run_shared,
        "scaling": run_scaling,
        "memory": run_memory,
    }
    # without `choices`: argparse of Python 3.11 compares a default list with them as a whole, and refuses it
    parser.add_argument("parts", nargs="*", metavar="{" + ",".join(parts) + "}")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="leave the largest problem out (minutes for the peers)")
    arguments = parser.parse_args()
    for part in arguments.parts:
        if part not in parts:
            parser.error(f"unknown part {part!r}; known: {', '.join(parts)}")
    warnings.simplefilter("ignore", ConvergenceWarning)
    warnings.filterwarnings("ignore", message="Passing in a compiled", category=UserWarning)
    for part in arguments.parts or parts:
        print(f"-- {part}")
        parts[part](arguments.repeats, arguments.quick)


if __name__ == "__main__":
    main()
