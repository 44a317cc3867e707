"""Where each gradient method goes on the toy problem of the CAGrad paper; writes trajectories.svg beside this file.

    python docs/figures/trajectories.py [--steps N] [--only METHOD,...] [--out FILE]

The problem itself, with the papers' formulas, is in two_valleys.py.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")

import matplotlib.pyplot as plt
import numpy as np
import torch
from two_valleys import OPTIMUM, STARTS, gradients, losses

from polytask.balance import METHODS, Block, Evidence, GramianMethod, JacobianMethod, LossMethod, get_method

COLOURS = ("#0072B2", "#D55E00", "#009E73")  # Okabe and Ito: told apart by colour-blind readers
DASHES = ("-", (0, (3, 1)), (0, (1, 0.8)))
NAMES = ("one", "two")
LR = 3e-3
SHIFT = 21.0  # added to both losses as methods see them: some need positive ones; gradients do not change
SETTINGS = {"cagrad": {"c": 0.5}, "subset": {"inner": "cagrad", "count": 1}}
LEFT_OUT = ("trimmed_mean", "orthogonal_gradients")  # needs three tasks; needs second derivatives


def direction(method, values: np.ndarray, J: np.ndarray, x: np.ndarray, step: int) -> np.ndarray:
    """One step's direction; the method takes note of it, as it would in training."""
    evidence = Evidence(NAMES, values + SHIFT, np.full(2, 0.5), J @ J.T, step, step // 1000, 0)
    if not isinstance(method, JacobianMethod):
        solution = method.solve_present(evidence) if isinstance(method, GramianMethod) else method.solve(evidence)
        method.remember(evidence, solution)
        return solution.weights @ J
    point = torch.tensor(x)
    block = Block("x", torch.tensor(J), (slice(0, 2),), point if method.needs == "features" else None, 1, (point,))
    evidence, solution = method.solve_blocks(evidence, [block])
    combined = method.combine(block, evidence, solution)
    for name, memory in combined.memory.items():
        method.memory.write(name, "x", NAMES, memory)
    method.remember(evidence, solution)
    return combined.gradient.numpy()


def path(name: str, start: np.ndarray, steps: int) -> np.ndarray:
    """Where Adam goes from one start, (steps + 1, 2)."""
    asked = {p.name: "one" for p in inspect.signature(METHODS[name]).parameters.values() if p.default is p.empty}
    method = get_method(name, **(asked | SETTINGS.get(name, {})))
    x, mean, square = start.copy(), np.zeros(2), np.zeros(2)
    trace = [x]
    for step in range(steps):
        values, J = losses(x[None])[0], gradients(x[None])[0]
        g = direction(method, values, J, x, step)
        mean, square = 0.9 * mean + 0.1 * g, 0.999 * square + 0.001 * g**2
        x = x - LR * mean / (1 - 0.9 ** (step + 1)) / (np.sqrt(square / (1 - 0.999 ** (step + 1))) + 1e-8)
        trace.append(x)
    return np.array(trace)


def thinned(trace: np.ndarray, points: int = 40) -> np.ndarray:
    """The path at points equally far apart along it, jitter left out."""
    smooth = trace[:: max(1, len(trace) // 2000)]
    lengths = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(smooth, axis=0), axis=1))])
    at = np.linspace(0, lengths[-1], points)
    return np.stack([np.interp(at, lengths, smooth[:, j]) for j in range(2)], axis=1)


def chosen() -> list[str]:
    """The plain sum, and every method that looks at gradients."""
    return ["equal", *(name for name in METHODS if name not in LEFT_OUT and not issubclass(METHODS[name], LossMethod))]


def draw(paths: dict[str, list[np.ndarray]], columns: int = 7) -> plt.Figure:
    """Small multiples, one per method."""
    mpl.rcParams.update(
        {"svg.hashsalt": "polytask", "svg.fonttype": "none", "font.size": 7, "font.family": "sans-serif"}
    )
    rows = -(-len(paths) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(1.45 * columns, 1.75 * rows), sharex=True, sharey=True)
    side = np.linspace(-10.5, 10.5, 29)
    X, Y = np.meshgrid(side, side)
    height = losses(np.stack([X.ravel(), Y.ravel()], axis=1)).mean(axis=1).reshape(X.shape)
    for axis, (name, traces) in zip(axes.flat, paths.items(), strict=False):
        axis.contour(X, Y, height, levels=[-12, -7, 3], colors="#b8b8b8", linewidths=0.5, linestyles="solid")
        axis.plot([-7, 7], [-8.4, -8.4], color="#888888", linewidth=2.5, solid_capstyle="butt", alpha=0.6)
        axis.plot(*OPTIMUM, marker="*", color="black", markersize=6, linestyle="none")
        for trace, colour, dash in zip(traces, COLOURS, DASHES, strict=True):
            axis.plot(*trace.T, color=colour, linewidth=1.3, linestyle=dash)
        first, last = (np.array([trace[place] for trace in traces]).T for place in (0, -1))
        axis.scatter(*first, marker="o", c=COLOURS, s=9, linewidths=0, zorder=3)
        axis.scatter(*last, marker="X", c=COLOURS, s=25, linewidths=0.5, edgecolors="white", zorder=3)
        ends = [losses(trace[-1][None]).mean() for trace in traces]
        reached = sum(end < -15.08 for end in ends)
        axis.set_title(f"{name}\n" + "  ".join(f"{end:.1f}".replace("-", "−") for end in ends), fontsize=7, pad=2,
                       fontweight="bold" if reached == len(ends) else "normal")  # fmt: skip
        axis.set(xlim=(-10.5, 10.5), ylim=(-10.5, 10.5), xticks=[], yticks=[], aspect="equal")
    for axis in axes.flat[len(paths) :]:
        axis.axis("off")
    figure.subplots_adjust(left=0.005, right=0.995, bottom=0.005, top=1 - 0.22 / rows, wspace=0.05, hspace=0.28)
    return figure


def smaller(svg: str) -> str:
    """One decimal, lines without their letter, no list of fonts: half the size, the same picture."""
    svg = re.sub(r"-?\d+\.\d{2,}", lambda found: f"{float(found[0]):.1f}", svg)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: sans-serif", svg)
    svg = re.sub(r"\nL ", " ", svg)  # after M, coordinates alone mean a line
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


def main() -> None:
    """Run, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=30_000)
    parser.add_argument("--only", default="", help="names of methods, separated by commas")
    parser.add_argument("--kept", type=Path, default=Path("runs/trajectories"), help="folder of the paths found before")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".svg"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names = [name for name in arguments.only.split(",") if name] or chosen()
    paths = {}
    for name in names:
        kept = arguments.kept / f"{name}-{arguments.steps}.npz"
        if kept.exists():
            with np.load(kept) as stored:
                paths[name] = [stored[key] for key in sorted(stored.files)]
            continue
        paths[name] = [thinned(path(name, start, arguments.steps)) for start in STARTS]
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(kept, *paths[name])
        ends = ", ".join(f"({trace[-1][0]:.2f}, {trace[-1][1]:.2f})" for trace in paths[name])
        sys.stderr.write(f"{name:18} {ends}\n")
    figure = draw(paths)
    figure.savefig(arguments.out, metadata={"Date": None, "Creator": None})
    arguments.out.write_text(smaller(arguments.out.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
