"""Columns of a delimited file whose numbers begin with zeros: found in its bytes, since no parser keeps them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["zero_led"]

_CHUNK = 1 << 20  # bytes that stay near the processor
_LINES = 3  # lines that are parsed to make sure of a column


def zero_led(file: io.BufferedIOBase, separator: str, skip: int) -> set[int]:
    """Places of the columns where a field begins with a zero and a digit, as ``00123`` does.

    Args:
        file: The file, from its beginning, in an encoding that writes ASCII as ASCII.
        separator: What separates its fields.
        skip: Lines to leave out, the header among them.
    """
    for _ in range(skip):
        file.readline()
    found: dict[int, int] = {}
    for chunk in _lines(file):
        data = np.frombuffer(chunk, dtype=np.uint8)
        if not _any(data, ord(separator)):
            continue
        for place, start in _hits(data, ord(separator)):
            if found.get(place, 0) >= _LINES:
                continue
            line = chunk[start : chunk.find(b"\n", start) if b"\n" in chunk[start:] else len(chunk)]
            row = next(csv.reader([line.decode("utf-8", "replace")], delimiter=separator), [])
            for column, field in enumerate(row):
                if len(field) > 1 and field[0] == "0" and field.isdigit():
                    found[column] = found.get(column, 0) + 1
            found.setdefault(place, 0)
    return {place for place, times in found.items() if times}


def _lines(file: io.BufferedIOBase) -> Iterator[bytes]:
    """Chunks of whole lines, with the end of the line before each."""
    rest = b"\n"
    while chunk := file.read(_CHUNK):
        end = chunk.rfind(b"\n")
        if end < 0:
            rest += chunk
            continue
        yield rest + chunk[: end + 1]
        rest = b"\n" + chunk[end + 1 :]
    if len(rest) > 1:
        yield rest


def _any(data: NDArray[np.uint8], separator: int) -> bool:
    """Whether a zero and a digit stand at the beginning of any field: the cheap first look."""
    found = data[1:-1] == ord("0")
    found &= (data[2:] - np.uint8(ord("0"))) < 10
    before = data[:-2]
    found &= (before == separator) | (before == ord("\n")) | (before == ord('"'))
    return bool(found.any())


def _hits(data: NDArray[np.uint8], separator: int) -> list[tuple[int, int]]:
    """Where fields seem to begin with a zero: places of columns, and a few starts of lines for each."""
    zeros = np.flatnonzero(data[:-1] == ord("0"))
    zeros = zeros[zeros > 0]
    before, after = data[zeros - 1], data[zeros + 1]
    begins = (before == separator) | (before == ord("\n")) | (before == ord('"'))
    zeros = zeros[begins & (after >= ord("0")) & (after <= ord("9"))]
    if not len(zeros):
        return []
    breaks, marks = np.flatnonzero(data == ord("\n")), np.flatnonzero(data == separator)
    starts = breaks[np.searchsorted(breaks, zeros) - 1] + 1
    places = np.searchsorted(marks, zeros) - np.searchsorted(marks, starts)
    hits = []
    for place in np.unique(places):
        lines = np.unique(starts[places == place])
        hits += [(int(place), int(start)) for start in lines[:: max(1, len(lines) // _LINES)][:_LINES]]
    return hits
