"""From a path, an address or a DataFrame to a clean DataFrame, with errors that say what to do."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pandas as pd

from polytask.data.delimited import TEXT, read_text
from polytask.data.formats import from_frame, read_columnar, read_database, read_lines, read_sheet
from polytask.data.missing import MissingValues, check_missing, missing_in
from polytask.data.naming import Read
from polytask.data.packed import PACKED, ending
from polytask.errors import DataError
from polytask.remedies import worded

__all__ = ["Read", "name_of", "read_frame", "read_source", "with_path"]

_PARQUET = (".parquet", ".pq")
_FEATHER = (".feather", ".arrow")
_LINES = (".jsonl", ".ndjson")
_BOOKS = (".xlsx", ".xlsm")
_READ = (*TEXT, *_PARQUET, *_FEATHER, *_LINES, *_BOOKS)
_SHEETS = (".xls", ".ods")
_SQLITE = re.compile(r"(sqlite(?:\+\w+)?:///)([^?#]+)(.*)", re.DOTALL)
_ADDRESS = re.compile(r"[a-z][a-z0-9]*(\+[a-z0-9]+)?://", re.IGNORECASE)


def read_frame(
    source: str | Path | pd.DataFrame,
    missing_values: MissingValues = (),
    *,
    encoding: str | None = None,
    texts: Collection[str] = (),
) -> pd.DataFrame:
    """The rows of :func:`read_source`."""
    return read_source(source, missing_values, encoding=encoding, texts=texts).frame


def read_source(
    source: str | Path | pd.DataFrame,
    missing_values: MissingValues = (),
    *,
    encoding: str | None = None,
    texts: Collection[str] = (),
    codes: bool = True,
) -> Read:
    """The table as a DataFrame of its own, rows numbered from 0, columns named by unique strings.

    Args:
        source: Path of a CSV (``.csv``, ``.tsv``, ``.txt``; comma, semicolon, tab or bar is found from the header),
            Parquet (``.parquet``, ``.pq``), Feather (``.feather``, ``.arrow``), JSON-lines (``.jsonl``, ``.ndjson``) or
            Excel file (``.xlsx``, ``.xlsm``; ``"book.xlsx#sheet"``), the texts among them also compressed (``.gz``,
            ``.bz2``, ``.xz``, ``.zip``); the address of a database with a table or a query
            (``"sqlite:///clinic.db#visits"``); or a DataFrame, which is not changed.
        missing_values: Texts that mean "missing", besides the empty field, ``NA``, ``NaN``, ``null`` and the like; a
            mapping gives those of single columns (``{"income": ["-999"]}``), and under ``"*"`` those of all.
        encoding: How a CSV file's text is encoded; UTF-8 when None.
        texts: Columns of a CSV file that are read as the texts they are, also if they are numbers.
        codes: Whether numbers of a CSV file that begin with zeros are looked for, and kept as texts.

    Raises:
        DataError: The file is missing, a directory, empty, of unknown type, in another encoding, malformed, or without
            rows.
        MissingExtraError: An optional package that reads such files is not installed.
    """
    check_missing(missing_values)
    if isinstance(source, pd.DataFrame):
        read, where = from_frame(source), "the DataFrame"
    elif not isinstance(source, (str, Path)):
        raise DataError(f"expected a path or a DataFrame, found {type(source).__name__}; pandas.DataFrame(…) makes one")
    elif _ADDRESS.match(str(source)):
        read, where = read_database(str(source)), "the query"
    else:
        path, part = _parted(source)
        _check_path(path)
        where = path.name
        if ending(path) in TEXT:
            read = read_text(path, missing_values, encoding, texts, codes=codes)
        else:
            read = _read_other(path, part)
    if not read.separator:
        read = read._replace(frame=_without(read.frame, missing_values))
    if encoding is not None and not read.separator:
        raise DataError(f"encoding={encoding!r} is for CSV files; {where} has none")
    if read.frame.shape[1] == 0:
        raise DataError(f"{where} has no columns")
    if len(read.frame) == 0:
        raise DataError(f"{where} has a header ({', '.join(map(str, read.frame.columns[:5]))}) but no rows")
    return read


def _read_other(path: Path, part: str) -> Read:
    """A file that is no text with separators."""
    kind = ending(path)
    if kind in _LINES:
        return read_lines(path)
    return read_sheet(path, part) if kind in _BOOKS else read_columnar(path, feather=kind in _FEATHER)


def name_of(source: str | Path | pd.DataFrame) -> str:
    """What a dataset from this source is called.

    Examples:
        >>> name_of("data/clinic.csv.gz"), name_of("sqlite:///clinic.db#visits"), name_of(pd.DataFrame())
        ('clinic', 'clinic', 'table')
    """
    if isinstance(source, pd.DataFrame):
        return "table"
    text = re.split(r"[#?]", str(source))[0] if _ADDRESS.match(str(source)) else str(_parted(source)[0])
    path = Path(text)
    return Path(path.stem).stem if path.suffix.lower() in PACKED else path.stem


def with_path(source: str, change: Callable[[str], str]) -> str:
    """A source whose path, if it has one, is changed: that of a file, also of an SQLite database.

    Args:
        source: As for :func:`read_source`.
        change: What makes the new path of the old.

    Examples:
        >>> with_path("sqlite:///a.db#visits", "b/{}".format), with_path("postgresql://host/db", "b/{}".format)
        ('sqlite:///b/a.db#visits', 'postgresql://host/db')
    """
    if not _ADDRESS.match(source):
        return change(source)
    found = _SQLITE.fullmatch(source)
    return source if found is None else found[1] + change(found[2]) + found[3]


def _parted(source: str | Path) -> tuple[Path, str]:
    """The file, and the sheet that is named behind it."""
    path = Path(source)
    file, mark, part = str(source).rpartition("#")
    return (Path(file), part) if mark and not path.exists() and Path(file).suffix.lower() in _BOOKS else (path, "")


def _without(frame: pd.DataFrame, missing_values: MissingValues) -> pd.DataFrame:
    """The table with NaN for these texts, and for the numbers they name, as reading them from a CSV file gives."""
    if not missing_values:
        return frame

    def clean(column: pd.Series[Any]) -> pd.Series[Any]:
        texts: list[Any] = missing_in(missing_values, str(column.name))
        if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
            texts = pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce").dropna().tolist()
        return column.mask(column.isin(texts)) if texts else column

    return frame.apply(clean)


def _check_path(path: Path) -> None:
    if path.is_dir():
        files = _tables(path)
        hint = f"; it holds {', '.join(files[:5])}: name one of them" if files else "; name a CSV or Parquet file"
        raise DataError(f"{path} is a directory{hint}")
    if not path.exists():
        folder = path.parent
        near = _tables(folder) if folder.is_dir() else []
        hint = f"; {folder} holds {', '.join(near[:5])}" if near else ""
        raise DataError(f"no such file: {path}{hint}")
    if ending(path) not in _READ or (path.suffix.lower() in PACKED and ending(path) not in (*TEXT, *_LINES)):
        raise DataError(
            f"{path.name}: files of type {path.suffix or '(none)'!r} are not read; expected one of "
            f"{', '.join(_READ)}. {_conversion(path)}"
        )
    if path.stat().st_size == 0:
        raise DataError(f"{path.name} is empty (0 bytes); expected a header and rows")


def _conversion(path: Path) -> str:
    """How a file of another type becomes one that is read."""
    if path.suffix.lower() in _SHEETS:
        program = "In the spreadsheet program: File, Save as, CSV UTF-8; or in a terminal"
        return f"{program}: libreoffice --headless --convert-to csv {shlex.quote(str(path))}"
    if path.suffix.lower() in (*PACKED, ".zst", ".7z", ".rar"):
        return "Unpack it first"
    return "Save it as CSV in the program it comes from" + worded(", or load it with pandas and pass the DataFrame", "")


def _tables(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if ending(path) in _READ)
