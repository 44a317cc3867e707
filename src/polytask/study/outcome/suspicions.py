"""Results that are too good to be what they seem."""

from __future__ import annotations

import math

from polytask.study.outcome.numbers import Numbers
from polytask.study.outcome.power import LEAST_ROWS

__all__ = ["suspicions"]

_PERFECT = 0.999
"""Above this, a score of which 1 is the best is too good to be true."""
_BEST_IS_ONE = ("r2", "auroc", "average_precision")
_NAMED = 4


def suspicions(comparison: Numbers) -> list[str]:
    """Sentences about test results that are too good to be true.

    Too good is a mean over seeds above 0.999 of R², the area under the ROC curve or average precision: as a rule an
    input gives the target away. With fewer than 10 test labels a perfect score is no wonder, and nothing is said.

    Args:
        comparison: The study.

    Returns:
        One sentence for each task and finding, with the methods concerned; empty where nothing is odd.
    """
    frame = comparison.frame
    test = frame[frame["split"] == "test"]
    test = test[test["metric"].isin(_BEST_IS_ONE) & test["value"].map(math.isfinite)]
    few = [name for name, info in comparison.protocol.tasks.items() if info.labels.get("test", LEAST_ROWS) < LEAST_ROWS]
    test = test[~test["task"].isin(few)]
    values: dict[tuple[str, str], dict[str, list[float]]] = {}
    columns = (test[name].tolist() for name in ("task", "metric", "method", "value"))
    for task, metric, method, value in zip(*columns, strict=True):
        values.setdefault((task, metric), {}).setdefault(method, []).append(value)
    said = []
    told: set[str] = set()
    for (task, metric), by_method in values.items():
        means = {method: math.fsum(found) / len(found) for method, found in by_method.items()}
        good = {method: mean for method, mean in means.items() if metric in _BEST_IS_ONE and mean > _PERFECT}
        if good and task not in told:
            told.add(task)
            said.append(
                f"too good to be true: {task} has {metric} {_best(good)} with {_listed(list(good))}; look for an input "
                "that gives the target away, or that is known only after it"
            )
    return said


def _best(means: dict[str, float]) -> str:
    best = max(means.values())
    return "1" if best > 1 - 1e-9 else f"{math.floor(best * 1e6) / 1e6:.6g}"


def _listed(methods: list[str]) -> str:
    more = f" and {len(methods) - _NAMED} more" if len(methods) > _NAMED else ""
    return ", ".join(methods[:_NAMED]) + more
