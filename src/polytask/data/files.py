"""From a path or a DataFrame to a clean DataFrame, with errors that say what to do."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from polytask.data.delimited import TEXT, check_names, read_text
from polytask.errors import DataError, MissingExtraError, require
from polytask.remedies import worded

__all__ = ["is_text", "read_frame"]

_PARQUET = (".parquet", ".pq")
_SHEETS = (".xlsx", ".xls", ".xlsm", ".ods")
_PACKED = (".gz", ".zip", ".bz2", ".xz", ".zst", ".7z")


def read_frame(
    source: str | Path | pd.DataFrame,
    missing_values: Sequence[str] = (),
    *,
    encoding: str | None = None,
    texts: Collection[str] = (),
) -> pd.DataFrame:
    """The table as a DataFrame of its own, rows numbered from 0, columns named by unique strings.

    Args:
        source: Path of a CSV (``.csv``, ``.tsv``, ``.txt``; comma, semicolon, tab or bar is found from the header) or
            Parquet file (``.parquet``, ``.pq``), or a DataFrame, which is not changed.
        missing_values: Texts that mean "missing", besides the empty field, ``NA``, ``NaN``, ``null`` and the like.
        encoding: How a CSV file's text is encoded; UTF-8 when None.
        texts: Columns of a CSV file that are read as the texts they are, also if they are numbers.

    Raises:
        DataError: The file is missing, a directory, empty, of unknown type, in another encoding, malformed, without
            rows, or has duplicate column names.
        MissingExtraError: A Parquet file, and pyarrow is not installed.
    """
    if isinstance(missing_values, str):
        raise DataError(f"missing_values must be a list of texts, found {missing_values!r}; write [{missing_values!r}]")
    if isinstance(source, pd.DataFrame):
        frame = source.reset_index(drop=True)
        check_names(frame.columns, "the DataFrame")
        frame.columns = pd.Index([str(name) for name in frame.columns])
        check_names(frame.columns, "the DataFrame")
        frame = _without(frame, missing_values)
        where = "the DataFrame"
    elif not isinstance(source, (str, Path)):
        raise DataError(f"expected a path or a DataFrame, found {type(source).__name__}; pandas.DataFrame(…) makes one")
    else:
        path = Path(source)
        _check_path(path)
        where = path.name
        if is_text(path):
            frame = read_text(path, missing_values, encoding, texts)
        else:
            frame = _read_parquet(path)
            check_names(frame.columns, path.name)
            frame = _without(frame, missing_values)
    if encoding is not None and not is_text(source):
        raise DataError(f"encoding={encoding!r} is for CSV files; {where} has none")
    if frame.shape[1] == 0:
        raise DataError(f"{where} has no columns")
    if len(frame) == 0:
        raise DataError(f"{where} has a header ({', '.join(map(str, frame.columns[:5]))}) but no rows")
    return frame


def is_text(source: str | Path | pd.DataFrame) -> bool:
    """Whether the source is a file of text, as opposed to a Parquet file or a DataFrame."""
    return not isinstance(source, pd.DataFrame) and Path(source).suffix.lower() in TEXT


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
            sorted(p.name for p in folder.iterdir() if p.suffix.lower() in TEXT + _PARQUET) if folder.is_dir() else []
        )
        hint = f"; {folder} holds {', '.join(near[:5])}" if near else ""
        raise DataError(f"no such file: {path}{hint}")
    if path.suffix.lower() not in TEXT + _PARQUET:
        raise DataError(
            f"{path.name}: files of type {path.suffix or '(none)'!r} are not read; expected one of "
            f"{', '.join(TEXT + _PARQUET)}. {_conversion(path)}"
        )
    if path.stat().st_size == 0:
        raise DataError(f"{path.name} is empty (0 bytes); expected a header and rows")


def _conversion(path: Path) -> str:
    """How a file of another type becomes one that is read."""
    if path.suffix.lower() in _SHEETS:
        program = "In the spreadsheet program: File, Save as, CSV UTF-8; or in a terminal"
        return f"{program}: libreoffice --headless --convert-to csv {shlex.quote(str(path))}"
    if path.suffix.lower() in _PACKED:
        return "Unpack it first"
    return "Save it as CSV in the program it comes from" + worded(", or load it with pandas and pass the DataFrame", "")


def _tables(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix.lower() in TEXT + _PARQUET)


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        arrow = require("pyarrow", "data", "reading Parquet files")
    except MissingExtraError as error:
        raise MissingExtraError(f"{path.name}: {error}") from error
    try:
        frame = pd.read_parquet(path, engine="pyarrow")
    except PermissionError as error:
        raise DataError(f"{path} cannot be read: permission denied") from error
    except (OSError, ValueError, MemoryError) as error:  # pyarrow's ArrowInvalid is a ValueError
        found = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"{path.name} cannot be read as Parquet: {found}") from error
    for name, dtype in frame.dtypes.items():
        # Texts stay with arrow, which looks at their bytes when they are first used.
        if isinstance(dtype, pd.StringDtype):
            try:
                arrow.Table.from_pandas(frame[[name]]).validate(full=True)
            except ValueError as error:
                raise DataError(
                    f"{path.name}: column {name!r} holds text that is not UTF-8 ({error}); write the file again with "
                    "its texts as UTF-8"
                ) from error
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    frame = frame.reset_index(drop=True)
    frame.columns = pd.Index([str(name) for name in frame.columns])
    return frame
