"""Stratified splits for several targets at once: every split gets its share of every class of every target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from polytask.data.tags import read_tags, tag_separator

__all__ = ["deal", "strata"]

_FEW = 10
"""Numbers with at most this many different values are classes, as they are for the guess of a target's kind."""
_BINS = 5
_POLISHED = 2000
"""Units up to which a deal is polished by swaps; with more of them a row more or less is no matter."""


def strata(targets: Mapping[str, pd.Series[Any]]) -> dict[tuple[str, str], NDArray[np.bool_]]:
    """Which rows hold which label: one entry per class of a target, or per bin of one with many numbers.

    Numbers with more than 10 different values are cut at the quantiles of their present values into 5 bins. A missing
    label is in no stratum, so that present labels are shared out as well.

    Args:
        targets: Columns by name.

    Returns:
        (target, class or bin in words) → rows.

    Examples:
        >>> found = strata({"sick": pd.Series(["no", "yes", None, "no"]), "dose": pd.Series(range(4))})
        >>> [(name, int(rows.sum())) for (target, name), rows in found.items() if target == "sick"]
        [('no', 2), ('yes', 1)]
    """
    found: dict[tuple[str, str], NDArray[np.bool_]] = {}
    for target, series in targets.items():
        values: pd.Series[Any] = series.astype(object) if series.dtype == "category" else series
        if pd.api.types.is_numeric_dtype(values) and values.nunique() > _FEW:
            edges = np.unique(values.quantile(np.arange(1, _BINS) / _BINS).to_numpy(dtype=np.float64))
            bins = np.searchsorted(edges, values.to_numpy(dtype=np.float64, na_value=np.nan), side="right")
            values = pd.Series(bins).where(values.notna().to_numpy())
            names: Sequence[str] = [f"bin {place + 1}" for place in range(len(edges) + 1)]
            found |= {(target, names[place]): (values == place).to_numpy() for place in range(len(edges) + 1)}
            continue
        if mark := tag_separator(values.dropna()):
            tags = read_tags(values, mark)
            found |= {(target, name): tags.present[:, place] for place, name in enumerate(tags.names)}
            continue
        codes, levels = pd.factorize(values, sort=False)
        order = sorted(range(len(levels)), key=lambda code: str(levels[code]))
        found |= {(target, str(levels[code])): codes == code for code in order}
    return {key: rows for key, rows in found.items() if rows.any()}


def deal(labels: NDArray[Any], shares: Sequence[float], rng: np.random.Generator) -> NDArray[np.int64]:
    """Deal units out over parts so that every part gets its share of every label: iterative stratification.

    The label with the fewest units left is dealt out first, each of its units to the part that wants that label most:
    the part with the largest r_j·n_l − (number of l that it has), r_j being its share and n_l the number of the label;
    ties go to the part that wants most units, then by chance. Units without a label fill up the parts at the end. With
    one label per unit every part ends within one unit of its share of every label. Up to 2,000 units are then swapped
    between parts as long as that brings labels and sizes closer to their shares.

    Args:
        labels: How often each label occurs in each unit, (n, L): 0 or 1 for rows, counts for groups of rows.
        shares: r_j, the share of each part; they sum to 1.
        rng: Source of chance.

    Returns:
        Part of each unit, (n,).

    Examples:
        >>> part = deal(np.eye(2)[[0] * 6 + [1] * 4], [0.5, 0.5], np.random.default_rng(0))
        >>> [int((part[:6] == 0).sum()), int((part[6:] == 0).sum())]
        [3, 2]

    Notes:
        Groups are dealt out largest first: what is wanted is then met more closely. The paper has rows only, and no
        swaps.

    Reference:
        K. Sechidis, G. Tsoumakas, I. Vlahavas, "On the stratification of multi-label data", ECML PKDD 2011.
    """
    units, count = labels.shape
    parts = range(len(shares))
    wanted = [[share * float(total) for total in labels.sum(axis=0)] for share in shares]
    room = [share * units for share in shares]
    part = np.full(units, -1, dtype=np.int64)
    chance = rng.permutation(units)  # who comes first among equals
    tie = rng.random((units, len(shares)))
    own = [np.flatnonzero(row).tolist() for row in labels]
    table = labels.tolist()

    def put(unit: int, label: int | None) -> None:
        best = max(parts, key=lambda j: (0.0 if label is None else wanted[j][label], room[j], tie[unit, j]))
        part[unit] = best
        room[best] -= 1
        for one in own[unit]:
            wanted[best][one] -= table[unit][one]

    while count:
        left = labels[part < 0].astype(bool).sum(axis=0)
        if not left.any():
            break
        label = int(np.where(left > 0, left, units + 1).argmin())
        mine = np.flatnonzero((part < 0) & (labels[:, label] > 0))
        for unit in mine[np.lexsort((chance[mine], -labels[mine, label]))]:
            put(int(unit), label)
    for unit in chance:
        if part[unit] < 0:
            put(int(unit), None)
    if units <= _POLISHED:
        _polish(part, np.column_stack([labels, np.ones(units)]).astype(float), shares)
    return part


def _polish(part: NDArray[np.int64], labels: NDArray[np.float64], shares: Sequence[float]) -> None:
    """Move units, or swap two of them, as long as the squared distance to what is wanted falls; in place.

    With e_j the surplus of part j, unit u of part a for v of part b changes Σ_j‖e_j‖² by 2·d·(e_a − e_b) + 2·‖d‖²,
    d = l_v − l_u. A move is a swap with a unit that has no label.
    """
    total = labels.sum(axis=0)
    surplus = [labels[part == j].sum(axis=0) - share * total for j, share in enumerate(shares)]
    nobody = np.zeros((1, labels.shape[1]))
    pairs = [(a, b) for a in range(len(shares)) for b in range(a)]
    better = True
    while better:
        better = False
        for a, b in pairs:
            mine, theirs = np.flatnonzero(part == a), np.flatnonzero(part == b)
            u, v = np.vstack([labels[mine], nobody]), np.vstack([labels[theirs], nobody])
            slope = surplus[a] - surplus[b]
            change = 2 * ((v @ slope)[None] - (u @ slope)[:, None])
            change += 2 * ((u * u).sum(1)[:, None] + (v * v).sum(1)[None] - 2 * u @ v.T)
            i, j = np.unravel_index(int(change.argmin()), change.shape)
            leaves, comes = i < len(mine), j < len(theirs)
            emptied = (leaves and not comes and len(mine) == 1) or (comes and not leaves and len(theirs) == 1)
            if change[i, j] > -1e-9 or emptied:
                continue
            better = True
            surplus[a], surplus[b] = surplus[a] + v[j] - u[i], surplus[b] - v[j] + u[i]
            if leaves:
                part[mine[i]] = b
            if comes:
                part[theirs[j]] = a
