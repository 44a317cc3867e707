"""Inputs that give a target away together, or by their gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Combination", "combination", "gaps_tell", "told_twice"]

Array = NDArray[np.float64]
Combination = dict[str, float]
"""Column → its factor."""

_EXACT = 1 - 1e-6  # R² from which a few columns are taken for the target itself
_MOST = 8  # columns of a combination
_PART = 1e-3  # of the target's spread, which a column of the sum must hold
_EACH = 20  # rows per column that must be there
_ROWS = 30
_TARGETS = 50
_CHANCE = 1e-6


def combination(target: Array, columns: Mapping[str, Array], exact: float = _EXACT) -> Combination:
    """The few columns whose weighted sum is the target; empty where there are none, or where one is enough.

    Columns are chosen one after the other, each by its correlation with what is left (orthogonal matching pursuit), so
    that the time grows with the number of columns and no faster.

    Args:
        target: Numbers, (N,), NaN where missing.
        columns: Columns, (N,) each, NaN where missing.
        exact: R² that counts as equal.

    Returns:
        Factors by column.

    Examples:
        >>> a, b, c = np.random.default_rng(0).normal(size=(3, 100))
        >>> found = combination(a - 2 * b, {"a": a, "b": b, "c": c})
        >>> {name: round(found[name], 6) for name in sorted(found)}
        {'a': 1.0, 'b': -2.0}
    """
    names = list(columns)
    known = np.flatnonzero(~np.isnan(target))
    if len(names) < 2 or len(known) < _ROWS:
        return {}
    table = np.stack([columns[name][known] for name in names], axis=1)
    gaps = np.isnan(table)
    filled = np.where(gaps, 0.0, table - _mean(table, gaps))
    length = np.sqrt((filled**2).sum(axis=0))
    usable = (length > 1e-9 * np.maximum(np.abs(table).max(axis=0, initial=0.0, where=~gaps), 1e-300)) & (
        gaps.mean(axis=0) < 0.9
    )
    unit = np.where(usable, filled / np.where(length > 0, length, 1.0), 0.0)
    y = target[known]
    chosen: list[int] = []
    left = y - y.mean()
    for _ in range(min(_MOST, int(usable.sum()), len(y) // _EACH)):
        likeness = np.abs(unit.T @ left)
        likeness[chosen] = -1
        chosen.append(int(likeness.argmax()))
        rows = ~gaps[:, chosen].any(axis=1)
        if rows.sum() < max(_ROWS, _EACH * len(chosen)):
            return {}
        factors, share = _fit(table[rows][:, chosen], y[rows])
        if share > exact:
            part = np.abs(factors) * np.nanstd(table[:, chosen], axis=0)
            found = {names[i]: float(factors[k]) for k, i in enumerate(chosen) if part[k] > _PART * y.std()}
            return found if len(found) > 1 else {}
        basis, _ = np.linalg.qr(unit[:, chosen])
        left = (y - y.mean()) - basis @ (basis.T @ (y - y.mean()))
    return {}


def _mean(table: Array, gaps: NDArray[np.bool_]) -> Array:
    total: Array = np.where(gaps, 0.0, table).sum(axis=0)
    total /= np.maximum((~gaps).sum(axis=0), 1)
    return total


def _fit(x: Array, y: Array) -> tuple[Array, float]:
    """Factors of the columns and the adjusted share of the variance that they explain."""
    x, y = x - x.mean(axis=0), y - y.mean()
    total = float(y @ y)
    scale = np.sqrt((x**2).sum(axis=0))
    if total == 0 or not scale.all():
        return np.zeros(x.shape[1]), 0.0
    factors = np.linalg.lstsq(x / scale, y, rcond=None)[0] / scale
    left = y - x @ factors
    return factors, 1 - float(left @ left) / total * (len(y) - 1) / max(len(y) - 1 - x.shape[1], 1)


def told_twice(targets: Mapping[str, Array]) -> list[str]:
    """Sentences about targets that others tell already: the same up to shift and scale, or a weighted sum.

    Args:
        targets: Numbers by target, in order, NaN where missing; the first fifty are looked at.
    """
    said, seen = [], dict[str, Array]()
    for name, values in list(targets.items())[:_TARGETS]:
        twin = next((other for other, known in seen.items() if _same(values, known)), "")
        others = [twin] if twin else list(combination(values, seen))
        if others:
            what = "the same, up to shift and scale, as" if twin else "a weighted sum of"
            listed = " and ".join(map(repr, others))
            said.append(f"target {name!r} is {what} {listed}: there is nothing more to learn, and Δm counts it again")
        seen[name] = values
    return said


def _same(one: Array, two: Array) -> bool:
    both = ~np.isnan(one) & ~np.isnan(two)
    if both.sum() < _ROWS or np.ptp(one[both]) == 0 or np.ptp(two[both]) == 0:
        return False
    return bool(np.corrcoef(one[both], two[both])[0, 1] ** 2 > _EXACT)


def gaps_tell(missing: NDArray[np.bool_], labels: Array, names: Sequence[str] | None) -> str:
    """That a column has values, or none, in rows of one class only, more often than by chance.

    Args:
        missing: Where the column has no value, (N,).
        labels: Classes of the same rows, none missing.
        names: Names of the classes.
    """
    for side, words in ((~missing, "a value"), (missing, "no value")):
        count = int(side.sum())
        if count < 10 or count > len(labels) - 10:
            continue
        first = labels[side][0]
        if (labels[side] != first).any():
            continue
        share = float((labels == first).mean())
        if share < 1 and count * np.log(share) < np.log(_CHANCE):
            name = names[int(first)] if names else f"{first:.0f}"
            return f"has {words} in {count:,} rows, all of class {name!r}: its gaps give away"
    return ""
