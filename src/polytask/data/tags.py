"""Columns with several labels in a cell: ``red|blue``."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from polytask.data.columns import by_value, coded

__all__ = ["Tags", "read_tags", "tag_separator"]

_SEPARATORS = ("|", ";", ",")
_MOST = 500  # labels that a guess takes for such
_EACH = 5  # rows that each of them must have on average
_ROWS = 20
_LONG = 40  # characters of a label; longer parts are sentences


class Tags(NamedTuple):
    """The labels of every row.

    Attributes:
        names: The labels that occur, in order.
        present: Whether a row bears a label, (N, L); no label at all where a cell holds separators only.
        known: Whether a row's cell holds anything, (N,).
    """

    names: tuple[str, ...]
    present: NDArray[np.bool_]
    known: NDArray[np.bool_]


def tag_separator(present: pd.Series[Any]) -> str:
    """What separates several labels in the cells of a column; empty where it holds one label, or a text.

    The separator is ``|``, ``;`` or ``,``. It is proven by labels that are combined in several ways: there are more
    different cells than labels, or every label of a combination stands alone elsewhere; no cell names one twice.

    Args:
        present: The column's values, none missing.

    Examples:
        >>> tag_separator(pd.Series(["red|blue", "blue", "red", "blue|red|green", "green"] * 9))
        '|'
        >>> tag_separator(pd.Series(["Lyon, France", "Nice, France", "Rome, Italy"] * 9))
        ''
    """
    if len(present) < _ROWS or (present.dtype != object and not isinstance(present.dtype, pd.StringDtype)):
        return ""
    texts = list(present.unique())
    if not all(isinstance(text, str) for text in texts):
        return ""
    return next((mark for mark in _SEPARATORS if _proven(texts, mark, len(present))), "")


def read_tags(series: pd.Series[Any], separator: str = "") -> Tags:
    """The labels of a column, one cell after the other; spaces around a label are none of it.

    Args:
        series: The column; a missing cell has no known label.
        separator: What separates labels; the first of ``|``, ``;`` and ``,`` that occurs when empty.
    """
    places, texts = coded(series)
    mark = separator or next((mark for mark in _SEPARATORS if any(mark in text for text in texts)), _SEPARATORS[0])
    cells = [_parts(text, mark) for text in texts]
    names = tuple(sorted(set(itertools.chain.from_iterable(cells)), key=by_value))
    number = {name: place for place, name in enumerate(names)}
    borne = np.zeros((len(texts) + 1, len(names)), dtype=bool)  # the last row is that of missing cells
    for row, parts in enumerate(cells):
        borne[row, [number[part] for part in parts]] = True
    return Tags(names, borne[places], places >= 0)


def _proven(texts: Sequence[str], mark: str, rows: int) -> bool:
    if not any(mark in text for text in texts):
        return False
    several: set[str] = set()
    alone: set[str] = set()
    combinations: set[frozenset[str]] = set()
    for text in texts:
        parts = _parts(text, mark)
        if len(set(parts)) < len(parts) or any(len(part) > _LONG for part in parts):
            return False
        combinations.add(frozenset(parts))
        (several if len(parts) > 1 else alone).update(parts)
    labels = len(several | alone)
    if not several or not 2 <= labels <= min(_MOST, rows // _EACH):
        return False
    return len(combinations) > labels or several <= alone


def _parts(text: str, mark: str) -> list[str]:
    return [part for part in map(str.strip, text.split(mark)) if part]
