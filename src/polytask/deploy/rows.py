"""Rows to predict from files, and predictions into files."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from polytask.data.opening import open_table
from polytask.errors import DataError
from polytask.files import write_atomically

__all__ = ["read_rows", "write_rows"]

_LINES = (".jsonl", ".ndjson")
_OUT = (".csv", ".tsv", ".parquet", ".pq", *_LINES)


def read_rows(source: str | Path, opening: Mapping[str, Any] | None = None) -> Any:
    """The rows of a file.

    Args:
        source: An array (``.npy``), or what :func:`~polytask.data.files.read_source` reads: CSV, Parquet, Feather, JSON
            lines, Excel, the address of a database.
        opening: How a table is opened: :attr:`polytask.data.interface.Interface.opening` of the model.

    Returns:
        A DataFrame, with what there is to say of it in ``attrs["said"]``; of ``.npy``, an array.

    Raises:
        DataError: The file cannot be read.
    """
    path = Path(source)
    if path.suffix.lower() == ".npy" and path.is_file():
        try:
            return np.load(path, allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise DataError(f"{path.name} cannot be read as an array: {error}") from error
    opened = open_table(source, **(opening or {}))
    opened.frame.attrs["said"] = opened.said
    return opened.frame


def write_rows(frame: pd.DataFrame, path: str | Path) -> None:
    """Write predictions: the file is there whole or not at all.

    Args:
        frame: Predictions.
        path: ``.csv``, ``.tsv``, ``.parquet``, ``.pq``, ``.jsonl`` or ``.ndjson``.

    Raises:
        DataError: The type of file is another one, or its folder does not exist.
        StorageError: It cannot be written.
    """
    path = Path(path)
    kind = check_out(path)
    content = io.BytesIO()
    if kind in (".parquet", ".pq"):
        frame.to_parquet(content)
    elif kind in _LINES:
        content.write(to_lines(frame).encode())
    else:
        content.write(to_csv(frame, "\t" if kind == ".tsv" else ",").encode())
    if not path.absolute().parent.is_dir():
        raise DataError(f"cannot write {path}: there is no such folder; make it, or give another --out")
    write_atomically(path, content.getvalue())


def check_out(path: Path) -> str:
    """The type of a file that predictions can be written to.

    Raises:
        DataError: They cannot.
    """
    kind = path.suffix.lower()
    if kind not in _OUT:
        raise DataError(f"{path.name}: files of type {kind or '(none)'!r} are not written; expected {', '.join(_OUT)}")
    return kind


def to_csv(frame: pd.DataFrame, separator: str = ",") -> str:
    """CSV without the index; every digit of every number."""
    return frame.to_csv(index=False, sep=separator, lineterminator="\n")


def to_lines(frame: pd.DataFrame) -> str:
    """One JSON object per row; every digit of every number, ``null`` for what is missing."""
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records(frame))


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain values."""
    return [{str(key): _plain(value) for key, value in row.items()} for row in frame.to_dict(orient="records")]


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)
