"""Reading a table from text: separator, header, encoding, and what is wrong with a file that is none."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import itertools
import lzma
import re
import warnings
import zlib
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any, cast, final

import numpy as np
import pandas as pd

from polytask.data.codes import zero_led
from polytask.data.marks import are_codes
from polytask.data.missing import MissingValues, missing_in
from polytask.data.naming import Read, named, without_blanks
from polytask.data.packed import stream
from polytask.errors import ConfigError, DataError
from polytask.remedies import option

__all__ = ["TEXT", "header_place", "read_text"]

TEXT = (".csv", ".tsv", ".txt")
"""Endings of files that are read as text."""
_SEPARATORS = (",", ";", "\t", "|")
_LOOK = 30  # lines among which a header is looked for
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_EXCEL = re.compile(r'"?sep=."?')
_NARROW = re.compile(r"utf-?8|ascii|cp125|iso8859|latin|mac", re.IGNORECASE)  # ASCII is ASCII in these


@final
class _NotTheHeader(Exception):  # noqa: N818 - it asks to look below and is never seen outside
    """What stands above the header is no table."""


def read_text(
    path: Path,
    missing_values: MissingValues = (),
    encoding: str | None = None,
    texts: Collection[str] = (),
    *,
    codes: bool = True,
) -> Read:
    """The table in a file of text, compressed or not.

    Lines above the header are left out, UTF-16 is known by its first bytes, whole numbers that begin with zeros are
    read as texts, columns without name and values are left out, the second of two equal names gets a number.

    Args:
        path: The file.
        missing_values: Texts that mean "missing", besides the usual ones.
        encoding: How the text is encoded; UTF-8 when None.
        texts: Columns to read as the texts they are.
        codes: Whether to look for numbers that begin with zeros.

    Raises:
        DataError: The file has no header, another encoding, or rows that do not fit the header.
        ConfigError: The encoding is not known.
    """
    codec = _codec(encoding)
    said = []
    with stream(path) as file:
        if encoding is None and file.read(2) in _WIDE:
            codec, said = "utf-16", ["read as UTF-16, by the first bytes of the file"]
    try:
        with stream(path) as file, io.TextIOWrapper(cast("IO[bytes]", file), encoding=codec, newline="") as text:
            lines = list(itertools.islice(text, _LOOK))
        if not lines:
            raise DataError(f"{path.name} is empty; expected a header and rows")
        if lines[0].lstrip().lower().startswith(("<!doctype", "<html", "<?xml", "<table")):
            raise DataError(
                f"{path.name} is a page ({lines[0].strip()[:40]}), not a table; download the CSV file itself"
            )
        try:
            read = _parse(path, lines, 0, missing_values, codec, texts, codes)
        except _NotTheHeader as error:
            above = _header_below(lines)
            if not above:
                raise DataError(str(error)) from error.__cause__
            try:
                read = _parse(path, lines, above, missing_values, codec, texts, codes)
            except _NotTheHeader as second:
                raise DataError(str(second)) from second.__cause__
            title = " ".join("".join(lines[:above]).split())[:60]
            said.append(f"{above} line{'s' if above > 1 else ''} above the header left out: {title!r}")
    except UnicodeError as error:
        raise _bad_encoding(path, codec, error) from error
    except PermissionError as error:
        raise DataError(f"{path} cannot be read: permission denied") from error
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise DataError(f"{path.name} cannot be unpacked: {error}") from error
    return read._replace(said=(*said, *read.said))


def _parse(
    path: Path,
    lines: list[str],
    above: int,
    missing_values: MissingValues,
    codec: str,
    texts: Collection[str],
    codes: bool,
) -> Read:
    """The table whose header is the line after so many."""
    given, separator, skip = _header(path, lines, above)
    names, said = named(given)
    options = {
        "sep": separator,
        "encoding": codec,
        "na_values": {place: missing_in(missing_values, name) for place, name in enumerate(names)},
        "index_col": False,
        "header": None,
        "names": range(len(names)),
        "skiprows": skip,
    }
    try:
        frame = _frame(path, {**options, "dtype": {place: str for place, name in enumerate(names) if name in texts}})
        for place in _codes(path, frame, options) if codes else ():
            column = _frame(path, {**options, "usecols": [place], "dtype": str})[place]
            if are_codes(column.dropna().unique()):
                frame[place] = column
    except pd.errors.EmptyDataError:
        frame = pd.DataFrame(columns=range(len(names)))
    except (pd.errors.ParserError, pd.errors.ParserWarning, csv.Error) as error:
        is_warning = isinstance(error, pd.errors.ParserWarning)
        found = "rows have more fields than the header" if is_warning else str(error).strip()
        raise _NotTheHeader(
            f"{path.name} cannot be read as a table separated by {separator!r}: {found}. "
            "Check quotes and the number of fields in that line"
        ) from error
    frame.columns = pd.Index(names)
    frame, left_out = without_blanks(frame, given)
    return Read(frame, (*said, *left_out), separator)


def _header(path: Path, lines: list[str], above: int) -> tuple[list[str], str, int]:
    """The names in the line after so many, what separates them, and the lines before the first row."""
    if not lines[above].strip():
        raise _NotTheHeader(f"{path.name}: the first line is blank; expected column names")
    if _EXCEL.fullmatch(lines[above].strip()):
        raise _NotTheHeader(f"{path.name} names a separator and has no header")
    separator = _separator(lines[above])
    try:
        reader = csv.reader(lines[above:], delimiter=separator)
        given = next(reader)
        skip = above + reader.line_num
        rows = list(reader)
    except csv.Error as error:
        raise _NotTheHeader(f"{path.name} cannot be read as a table separated by {separator!r}: {error}") from error
    if len(given) > 2 and sum(bool(name.strip()) for name in given) == 1 and _header_below(lines) > above:
        # A title that a spreadsheet wrote over the header.
        raise _NotTheHeader(f"{path.name}: line {above + 1} names one of {len(given)} columns; expected all")
    if rows and all(len(row) == len(given) + 1 and not row[-1].strip() for row in rows if row):
        given.append("")  # rows that end with a separator, under a header that does not
    return given, separator, skip


def _codes(path: Path, frame: pd.DataFrame, options: dict[str, Any]) -> list[int]:
    """Columns of whole numbers that may have begun with zeros; in some encodings, only a second look tells."""
    whole = {place for place in range(frame.shape[1]) if _maybe_whole(frame[place])}
    if whole and _NARROW.match(options["encoding"]):
        with stream(path) as file:
            whole &= zero_led(file, options["sep"], options["skiprows"])
    return sorted(whole)


def _frame(path: Path, options: dict[str, Any]) -> pd.DataFrame:
    """What pandas reads; types are guessed chunk by chunk, which is faster, unless they differ within a column."""
    with warnings.catch_warnings():
        # Rows with more fields than the header would lose them with no more than a warning.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        warnings.simplefilter("error", pd.errors.DtypeWarning)
        try:
            with stream(path) as file:
                frame: pd.DataFrame = pd.read_csv(file, **options)
        except pd.errors.DtypeWarning:
            with stream(path) as file:
                frame = pd.read_csv(file, low_memory=False, **options)
    return frame


def _maybe_whole(column: pd.Series[Any]) -> bool:
    """Whether a column was read as whole numbers, some of which may be missing."""
    if pd.api.types.is_integer_dtype(column):
        return True
    if not pd.api.types.is_float_dtype(column):
        return False
    values = column.to_numpy()
    some = values[:10_000]
    some = some[~np.isnan(some)]
    return bool((some == np.round(some)).all())


def header_place(rows: list[list[str]]) -> int:
    """The row with the names, among rows of texts: the first as full as most are; 0 if there is nothing above it."""
    filled = [sum(bool(field.strip()) for field in row) for row in rows]
    counts = Counter(count for count in filled if count)
    if not counts:
        return 0
    usual, times = counts.most_common(1)[0]
    if times < 2 or usual < 2:
        return 0
    place = next(place for place, count in enumerate(filled) if count >= usual)
    return 0 if any(_is_number(field) for field in rows[place] if field.strip()) else place


def _codec(encoding: str | None) -> str:
    try:
        name = codecs.lookup(encoding or "utf-8").name
    except LookupError as error:
        raise ConfigError(f"unknown encoding {encoding!r}; for example utf-8, cp1252, latin-1, utf-16, gbk") from error
    return "utf-8-sig" if name == "utf-8" else name  # without its mark at the beginning


def _separator(header: str) -> str:
    return max(_SEPARATORS, key=header.count)


def _header_below(lines: list[str]) -> int:
    """Lines above the header, if there seem to be any; 0 otherwise."""
    fullest, above = 1, 0
    for separator in _SEPARATORS:
        reader = csv.reader(lines, delimiter=separator)
        try:
            rows = [(row, reader.line_num) for row in reader]
        except csv.Error:
            continue
        place = header_place([row for row, _ in rows])
        fields = sum(bool(field.strip()) for field in rows[place][0])
        if place and fields > fullest:
            fullest, above = fields, rows[place - 1][1]
    return above


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _bad_encoding(path: Path, encoding: str, error: UnicodeError) -> DataError:
    with stream(path) as file:
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
