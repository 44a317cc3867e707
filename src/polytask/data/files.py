"""From a path or a DataFrame to a clean DataFrame, with errors that say what to do."""

from __future__ import annotations

import csv
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from polytask.errors import DataError, MissingExtraError, require

__all__ = ["read_frame"]

_TEXT = (".csv", ".tsv", ".txt")
_PARQUET = (".parquet", ".pq")
_SEPARATORS = (",", ";", "\t", "|")


def read_frame(source: str | Path | pd.DataFrame, missing_values: Sequence[str] = ()) -> pd.DataFrame:
    """The table as a DataFrame of its own, rows numbered from 0, columns named by unique strings.

    Args:
        source: Path of a CSV (``.csv``, ``.tsv``, ``.txt``; comma, semicolon, tab or bar is found from the header) or
            Parquet file (``.parquet``, ``.pq``), or a DataFrame, which is not changed.
        missing_values: Texts that mean "missing", besides the empty field, ``NA``, ``NaN``, ``null`` and the like.

    Raises:
        DataError: The file is missing, a directory, empty, of unknown type, in another encoding, malformed, without
            rows, or has duplicate column names.
        MissingExtraError: A Parquet file, and pyarrow is not installed.
    """
    if isinstance(missing_values, str):
        raise DataError(f"missing_values must be a list of texts, found {missing_values!r}; write [{missing_values!r}]")
    if isinstance(source, pd.DataFrame):
        frame = source.reset_index(drop=True)
        _check_names(frame.columns, "the DataFrame")
        frame.columns = pd.Index([str(name) for name in frame.columns])
        _check_names(frame.columns, "the DataFrame")
        frame = _without(frame, missing_values)
        where = "the DataFrame"
    elif not isinstance(source, (str, Path)):
        raise DataError(f"expected a path or a DataFrame, found {type(source).__name__}; pandas.DataFrame(…) makes one")
    else:
        path = Path(source)
        _check_path(path)
        frame = _read_parquet(path) if path.suffix.lower() in _PARQUET else _read_text(path, missing_values)
        if path.suffix.lower() in _PARQUET:
            _check_names(frame.columns, path.name)
            frame = _without(frame, missing_values)
        where = path.name
    if frame.shape[1] == 0:
        raise DataError(f"{where} has no columns")
    if len(frame) == 0:
        raise DataError(f"{where} has a header ({', '.join(map(str, frame.columns[:5]))}) but no rows")
    return frame


def _without(frame: pd.DataFrame, missing_values: Sequence[str]) -> pd.DataFrame:
    """The table with NaN for these texts, and for the numbers they name, as reading them from a CSV file gives."""
    if not missing_values:
        return frame
    named = pd.to_numeric(pd.Series(list(missing_values), dtype=object), errors="coerce").dropna().tolist()

    def clean(column: pd.Series[Any]) -> pd.Series[Any]:
        is_number = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
        return column.mask(column.isin(named if is_number else list(missing_values)))

    return frame.apply(clean)


def _check_path(path: Path) -> None:
    if path.is_dir():
        files = _tables(path)
        hint = f"; it holds {', '.join(files[:5])}: name one of them" if files else "; name a CSV or Parquet file"
        raise DataError(f"{path} is a directory{hint}")
    if not path.exists():
        folder = path.parent
        near = (
            sorted(p.name for p in folder.iterdir() if p.suffix.lower() in _TEXT + _PARQUET) if folder.is_dir() else []
        )
        hint = f"; {folder} holds {', '.join(near[:5])}" if near else ""
        raise DataError(f"no such file: {path}{hint}")
    if path.suffix.lower() not in _TEXT + _PARQUET:
        raise DataError(
            f"{path.name}: files of type {path.suffix or '(none)'!r} are not read; expected one of "
            f"{', '.join(_TEXT + _PARQUET)}. Other tables: load them with pandas and pass the DataFrame"
        )
    if path.stat().st_size == 0:
        raise DataError(f"{path.name} is empty (0 bytes); expected a header and rows")


def _tables(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix.lower() in _TEXT + _PARQUET)


def _read_text(path: Path, missing_values: Sequence[str]) -> pd.DataFrame:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            if not header.strip():
                raise DataError(f"{path.name}: the first line is blank; expected column names")
            separator = max(_SEPARATORS, key=header.count)
            names = next(csv.reader([header], delimiter=separator))
            _check_names([name.strip() for name in names], path.name)
        with warnings.catch_warnings():
            # Rows with more fields than the header would lose them with no more than a warning.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            # low_memory=True would guess types chunk by chunk and mix them within a column.
            frame = pd.read_csv(
                path,
                sep=separator,
                encoding="utf-8-sig",
                na_values=list(missing_values),
                low_memory=False,
                index_col=False,
            )
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path.name} is not UTF-8 text: byte 0x{error.object[error.start]:02x} at position {error.start}. "
            "Convert it (for Windows exports: iconv -f cp1252 -t utf-8), or pass the DataFrame that "
            'pandas.read_csv(path, encoding="cp1252") gives'
        ) from error
    except PermissionError as error:
        raise DataError(f"{path} cannot be read: permission denied") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, pd.errors.ParserWarning, csv.Error) as error:
        raise DataError(
            f"{path.name} cannot be read as a table separated by {separator!r}: {str(error).strip()}. "
            "Check quotes and the number of fields in that line"
        ) from error
    if len(frame.columns) != len(names):
        raise DataError(f"{path.name}: the header names {len(names)} columns, the rows have {len(frame.columns)}")
    frame.columns = pd.Index([name.strip() or f"column {i + 1}" for i, name in enumerate(names)])
    return frame


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        require("pyarrow", "data", "reading Parquet files")
    except MissingExtraError as error:
        raise MissingExtraError(f"{path.name}: {error}") from error
    try:
        frame = pd.read_parquet(path, engine="pyarrow")
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise DataError(f"{path.name} cannot be read as Parquet: {str(error).splitlines()[0]}") from error
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    frame = frame.reset_index(drop=True)
    frame.columns = pd.Index([str(name) for name in frame.columns])
    return frame


def _check_names(names: Iterable[Any], where: str) -> None:
    counts = Counter(str(name) for name in names)
    twice = [name for name, count in counts.items() if count > 1 and name]
    if twice:
        listed = ", ".join(f"{name!r} ({counts[name]} times)" for name in twice)
        raise DataError(f"{where} has duplicate column names: {listed}; rename or remove one of each")
