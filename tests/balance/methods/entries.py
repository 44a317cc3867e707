"""The conformance list: one entry per method, and the whole suite of ``test_conformance.py`` runs on it.

What a method is exempt from is said here, with the reason.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np


@dataclasses.dataclass(frozen=True)
class Entry:
    """A method and what is expected of it.

    Attributes:
        name: Registry name.
        options: Given to the constructor.
        power: Multiplying all gradients by s multiplies the weights by s**power.
        per_row: Multiplying gradient i by s_i multiplies weight i by 1/s_i, up to a common factor.
        alone: Weight of a single task whose gradient has norm d.
        two: Closed form for two tasks with equal preference, as a function of (g11, g12, g22).
        random: Whether the weights depend on the seed.
        exempt: Test name → why it does not apply.
    """

    name: str
    options: Mapping[str, object] = dataclasses.field(default_factory=dict)
    power: float = 0.0
    per_row: bool = False
    alone: Callable[[float], float] = lambda d: 1.0
    two: Callable[[float, float, float], tuple[float, float]] | None = None
    random: bool = False
    exempt: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        options = ",".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.name}:{options}" if options else self.name


def mgda_two(a, b, c):
    first = min(max((c - b) / (a + c - 2 * b), 0.0), 1.0)
    return first, 1 - first


def cagrad_two(c):
    def weights(g11, g12, g22):
        """By a fine search of the dual over the segment, then one Newton-like refinement by golden section."""
        a1, a2 = (g11 + g12) / 2, (g12 + g22) / 2
        reach = c * math.sqrt((a1 + a2) / 2)

        def dual(t):
            return a1 * t + a2 * (1 - t) + reach * math.sqrt(t * t * g11 + 2 * t * (1 - t) * g12 + (1 - t) ** 2 * g22)

        low, high, golden = 0.0, 1.0, (math.sqrt(5) - 1) / 2
        for _ in range(200):
            x, y = high - golden * (high - low), low + golden * (high - low)
            low, high = (low, y) if dual(x) < dual(y) else (x, high)
        t = (low + high) / 2
        length = math.sqrt(t * t * g11 + 2 * t * (1 - t) * g12 + (1 - t) ** 2 * g22)
        return 0.5 + reach / length * t, 0.5 + reach / length * (1 - t)

    return weights


def nash_two(a, b, c):
    together = 1 / math.sqrt(1 + b / math.sqrt(a * c))
    return together / math.sqrt(a), together / math.sqrt(c)


def equiangular_two(a, b, c):
    return math.sqrt(c) / (math.sqrt(a) + math.sqrt(c)), math.sqrt(a) / (math.sqrt(a) + math.sqrt(c))


def aligned_two(a, b, c):
    values, vectors = np.linalg.eigh([[a, b], [b, c]])
    return tuple(vectors @ (np.sqrt(values[0] / values) * (vectors.T @ [0.5, 0.5])))


def surgery_two(share):
    def weights(a, b, c):
        return (share, share) if b >= 0 else (share * (1 - b / a), share * (1 - b / c))

    return weights


NO_GRADIENTS = {
    "zero_row": "looks at losses only",
    "few_columns": "looks at losses only",
    "single_precision": "looks at losses only",
    "scale_law": "looks at losses only",
    "unlike_norms": "looks at losses only",
    "row_scaling": "looks at losses only",
    "two_tasks": "looks at losses only",
}

ENTRIES = [
    Entry("equal", exempt=NO_GRADIENTS),
    Entry("uw", {"lr": 0.05}, alone=lambda d: 0.5, exempt=NO_GRADIENTS),
    Entry("dwa", exempt=NO_GRADIENTS),
    Entry("rlw", random=True, exempt=NO_GRADIENTS),
    Entry("imtl_l", {"lr": 0.05}, exempt=NO_GRADIENTS),
    Entry("famo", exempt=NO_GRADIENTS),
    Entry("mgda", two=mgda_two),
    Entry("pcgrad", two=surgery_two(1.0), random=True),
    Entry("cagrad", {"c": 0.4}, alone=lambda d: 1.4, two=cagrad_two(0.4)),
    Entry("cagrad", {"c": 0.4, "rescale": "1+c"}, exempt={"two_tasks": "the same weights divided by 1 + c"}),
    Entry("nash_mtl", power=-1, per_row=True, alone=lambda d: 1 / d, two=nash_two),
    Entry("fairgrad", {"alpha": 1.0}, power=-1, per_row=True, alone=lambda d: 1 / d, two=nash_two),
    Entry(
        "fairgrad", {"alpha": 2.0}, power=-4 / 3, alone=lambda d: d ** (-4 / 3), exempt={"two_tasks": "no closed form"}
    ),
    Entry("imtl_g", per_row=True, two=equiangular_two),
    Entry("aligned_mtl", two=aligned_two),
    Entry("aligned_mtl", {"scale_mode": "rmse"}, exempt={"two_tasks": "the same direction with another length"}),
    Entry("upgrad", two=surgery_two(0.5)),
]
