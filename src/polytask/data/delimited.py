"""Reading a table from text: separator, header, encoding, and what is wrong with a file that is none."""

from __future__ import annotations

import codecs
import csv
import itertools
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from polytask.errors import ConfigError, DataError
from polytask.remedies import option

__all__ = ["TEXT", "check_names", "read_text", "separator_of"]

TEXT = (".csv", ".tsv", ".txt")
"""Endings of files that are read as text."""
_SEPARATORS = (",", ";", "\t", "|")
_LOOK = 30  # lines among which a header is looked for
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(
    path: Path, missing_values: Sequence[str] = (), encoding: str | None = None, texts: Collection[str] = ()
) -> pd.DataFrame:
    """The table in a file of text.

    Args:
        path: The file.
        missing_values: Texts that mean "missing", besides the usual ones.
        encoding: How the text is encoded; UTF-8 when None.
        texts: Columns to read as the texts they are.

    Raises:
        DataError: The file has no header, another encoding, or rows that do not fit the header.
        ConfigError: The encoding is not known.
    """
    encoding = _codec(encoding)
    separator = "?"
    try:
        with path.open(encoding=encoding, newline="") as file:
            lines = list(itertools.islice(file, _LOOK))
        if not lines or not lines[0].strip():
            raise DataError(f"{path.name}: the first line is blank; expected column names{_header_below(path, lines)}")
        if lines[0].lstrip().lower().startswith(("<!doctype", "<html", "<?xml", "<table")):
            raise DataError(
                f"{path.name} is a page ({lines[0].strip()[:40]}), not a table; download the CSV file itself"
            )
        separator = _separator(lines[0])
        names = next(csv.reader(lines, delimiter=separator))
        _check_title(path, lines, names)
        names = [name.strip() for name in names]
        check_names(names, path.name)
        names = [name or f"column {place}" for place, name in enumerate(names, start=1)]
        check_names(names, path.name)
        with warnings.catch_warnings():
            # Rows with more fields than the header would lose them with no more than a warning.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            # low_memory=True would guess types chunk by chunk and mix them within a column.
            frame = pd.read_csv(
                path,
                sep=separator,
                encoding=encoding,
                na_values=list(missing_values),
                low_memory=False,
                index_col=False,
                dtype={place: str for place, name in enumerate(names) if name in texts},
            )
    except UnicodeError as error:
        raise _bad_encoding(path, encoding, error) from error
    except PermissionError as error:
        raise DataError(f"{path} cannot be read: permission denied") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, pd.errors.ParserWarning, csv.Error) as error:
        is_warning = isinstance(error, pd.errors.ParserWarning)
        found = "rows have more fields than the header" if is_warning else str(error).strip()
        raise DataError(
            f"{path.name} cannot be read as a table separated by {separator!r}: {found}. "
            f"Check quotes and the number of fields in that line{_header_below(path, lines)}"
        ) from error
    if len(frame.columns) != len(names):
        raise DataError(f"{path.name}: the header names {len(names)} columns, the rows have {len(frame.columns)}")
    frame.columns = pd.Index(names)
    return frame


def separator_of(path: Path, encoding: str | None = None) -> str:
    """What separates the fields of a file that could be read."""
    with path.open(encoding=_codec(encoding), newline="") as file:
        return _separator(file.readline())


def check_names(names: Iterable[Any], where: str) -> None:
    """Check that no column is named twice.

    Raises:
        DataError: One is.
    """
    counts = Counter(str(name) for name in names)
    twice = [name for name, count in counts.items() if count > 1 and name]
    if twice:
        listed = ", ".join(f"{name!r} ({counts[name]} times)" for name in twice)
        raise DataError(f"{where} has duplicate column names: {listed}; rename or remove one of each")


def _codec(encoding: str | None) -> str:
    try:
        name = codecs.lookup(encoding or "utf-8").name
    except LookupError as error:
        raise ConfigError(f"unknown encoding {encoding!r}; for example utf-8, cp1252, latin-1, utf-16, gbk") from error
    return "utf-8-sig" if name == "utf-8" else name  # without its mark at the beginning


def _separator(header: str) -> str:
    return max(_SEPARATORS, key=header.count)


def _check_title(path: Path, lines: list[str], names: list[str]) -> None:
    """A first line of which most fields are empty is a title that a spreadsheet wrote over the header."""
    filled = sum(bool(name.strip()) for name in names)
    if len(names) > 2 and filled == 1 and (hint := _header_below(path, lines)):
        raise DataError(f"{path.name}: the first line names one of {len(names)} columns; expected all{hint}")


def _header_below(path: Path, lines: list[str]) -> str:
    """The remedy for lines above the header, if there seem to be any."""
    fullest, header, names = 1, 0, [""]
    for separator in _SEPARATORS:
        reader = csv.reader(lines, delimiter=separator)
        try:
            rows = [([field for field in row if field.strip()], reader.line_num) for row in reader]
        except csv.Error:
            continue
        usual, count = Counter(len(fields) for fields, _ in rows).most_common(1)[0]
        if usual > fullest and count >= 2:
            place = next(place for place, (fields, _) in enumerate(rows) if len(fields) >= usual)
            header = rows[place - 1][1] if place else 0
            fullest, names = usual, rows[place][0]
    if not header or any(_is_number(name) for name in names):
        return ""
    return (
        f". The header seems to be line {header + 1} ({lines[header].strip()[:60]!r}); this writes a file that begins "
        f"there: tail -n +{header + 1} '{path.name}' > '{path.stem}-table{path.suffix}'"
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _bad_encoding(path: Path, encoding: str, error: UnicodeError) -> DataError:
    with path.open("rb") as file:
        start = file.read(4)
    if start.startswith(_WIDE) and encoding != "utf-16":
        return DataError(
            f"{path.name} is UTF-16 text, not UTF-8: {option('encoding', 'utf-16')}; or convert it: iconv -f "
            "utf-16 -t utf-8"
        )
    if not isinstance(error, UnicodeDecodeError):
        return DataError(f"{path.name} is not {encoding} text: {error}; is it a file of text at all?")
    if encoding != "utf-8-sig":
        return DataError(
            f"{path.name} is not {encoding} text: {error.reason} at position {error.start}; leave encoding out for "
            "UTF-8, or ask the program that wrote the file"
        )
    return DataError(
        f"{path.name} is not UTF-8 text: byte 0x{error.object[error.start]:02x} at position {error.start}. "
        f"For Windows exports: {option('encoding', 'cp1252')}; or convert it: iconv -f cp1252 -t utf-8"
    )
