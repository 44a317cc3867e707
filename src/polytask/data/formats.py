"""Tables that are no text: Parquet, Feather, JSON lines, workbooks, databases."""

from __future__ import annotations

import datetime as dt
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd

from polytask.data.delimited import header_place
from polytask.data.naming import Read, flat, named, without_blanks
from polytask.data.packed import stream
from polytask.errors import DataError, MissingExtraError, require, unknown

__all__ = ["from_frame", "read_columnar", "read_database", "read_lines", "read_sheet"]

_LOOK = 30  # rows among which a header is looked for


def read_columnar(path: Path, *, feather: bool) -> Read:
    """A Parquet or Feather file; named levels of its index become columns.

    Raises:
        DataError: It cannot be read.
        MissingExtraError: pyarrow is not installed.
    """
    what = "Feather" if feather else "Parquet"
    try:
        arrow = require("pyarrow", "data", f"reading {what} files")
    except MissingExtraError as error:
        raise MissingExtraError(f"{path.name}: {error}") from error
    try:
        frame = pd.read_feather(path) if feather else pd.read_parquet(path, engine="pyarrow")
    except PermissionError as error:
        raise DataError(f"{path} cannot be read: permission denied") from error
    except (OSError, ValueError, MemoryError) as error:  # pyarrow's ArrowInvalid is a ValueError
        found = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"{path.name} cannot be read as {what}: {found}") from error
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
    return from_frame(frame)


def from_frame(frame: pd.DataFrame) -> Read:
    """A DataFrame with names that are texts and rows numbered from 0; named levels of its index become columns."""
    taken = set(frame.columns)
    levels = [level for level, name in enumerate(frame.index.names) if name is not None and name not in taken]
    if levels:
        frame = pd.concat([frame.index.to_frame(index=True).iloc[:, levels], frame], axis=1)
    frame = frame.reset_index(drop=True)
    names, said = named(flat(frame.columns))
    frame.columns = pd.Index(names)
    return Read(frame, tuple(said))


def read_lines(path: Path) -> Read:
    """A file with one JSON object per line.

    Raises:
        DataError: A line is none.
    """
    rows: list[dict[str, Any]] = []
    try:
        with stream(path) as file:
            text = file.read().decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"{path.name} cannot be read as UTF-8 text: {error}") from error
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_object)
        except ValueError as error:
            raise DataError(f"{path.name}, line {number}: {error}; expected one JSON object per line") from None
        if not isinstance(row, dict):
            raise DataError(f"{path.name}, line {number}: expected a JSON object, found {line[:40]!r}")
        rows.append(row)
    if not rows:
        raise DataError(f"{path.name} holds no rows; expected one JSON object per line")
    return from_frame(pd.DataFrame(rows))


def read_sheet(path: Path, sheet: str = "") -> Read:
    """A sheet of an Excel workbook.

    Args:
        path: The workbook.
        sheet: Its sheet; the first when empty.

    Raises:
        DataError: It cannot be read, or has no such sheet.
        MissingExtraError: openpyxl is not installed.
    """
    try:
        openpyxl = require("openpyxl", "excel", "reading Excel workbooks")
    except MissingExtraError as error:
        raise MissingExtraError(f"{path.name}: {error}") from error
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except PermissionError as error:
        raise DataError(f"{path} cannot be read: permission denied") from error
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{path.name} cannot be read as an Excel workbook: {error}") from error
    try:
        names = book.sheetnames
        if sheet and sheet not in names:
            raise DataError(f"{path.name}: {unknown('sheet', sheet, names)}")
        rows = [list(row) for row in book[sheet or names[0]].iter_rows(values_only=True)]
    finally:
        book.close()
    said = []
    if not sheet and len(names) > 1:
        others = ", ".join(map(repr, names[1:]))
        said.append(f"sheet {names[0]!r} is read; for another ({others}): '{path.name}#{names[1]}'")
    while rows and not any(value is not None for value in rows[-1]):
        rows.pop()
    if not rows:
        raise DataError(f"{path.name}: sheet {sheet or names[0]!r} is empty; expected a header and rows")
    place = header_place([["" if value is None else str(value) for value in row] for row in rows[:_LOOK]])
    if place:
        said.append(f"{place} row{'s' if place > 1 else ''} above the header left out")
    given = ["" if value is None else str(value) for value in rows[place]]
    unique, twice = named(given)
    columns = [[_cell(row[i]) for row in rows[place + 1 :]] for i in range(len(given))]
    frame = pd.DataFrame(dict(enumerate(columns)))
    frame.columns = pd.Index(unique)
    frame, blank = without_blanks(frame, given)
    return Read(frame, (*said, *twice, *blank))


def read_database(url: str) -> Read:
    """A table of a database, or the answer to a query.

    Args:
        url: SQLAlchemy's address of the database, a ``#``, and the name of a table or a query:
            ``"sqlite:///clinic.db#SELECT age, pain FROM visits"``. Variables of the environment (``$PASSWORD``) are
            filled in.

    Raises:
        DataError: It cannot be reached, or the query fails.
        MissingExtraError: SQLAlchemy, or the driver of the database, is not installed.
    """
    address, _, wanted = url.partition("#")
    alchemy = require("sqlalchemy", "sql", "reading from databases")
    try:
        known = alchemy.engine.make_url(os.path.expandvars(address))
        where = known.render_as_string(hide_password=True)
        if known.get_backend_name() == "sqlite" and known.database and not Path(known.database).is_file():
            raise DataError(f"no such file: {known.database}")
        engine = alchemy.create_engine(known)
    except alchemy.exc.ArgumentError as error:
        raise DataError(f"the address of a database is not understood: {error}") from None
    except ImportError as error:
        raise MissingExtraError(f"{address.partition(':')[0]}: its driver is not installed: {error}") from error
    said = []
    try:
        with engine.connect() as connection:
            if not wanted:
                tables = sorted(alchemy.inspect(connection).get_table_names())
                if len(tables) != 1:
                    listed = ", ".join(tables[:8]) or "none"
                    raise DataError(f"{where} holds the tables {listed}: name one, or a query, after a #: '{where}#…'")
                wanted, said = tables[0], [f"the only table, {tables[0]!r}, is read"]
            if len(wanted.split()) == 1:
                wanted = f"SELECT * FROM {engine.dialect.identifier_preparer.quote(wanted)}"
            result = connection.execute(alchemy.text(wanted))
            frame = pd.DataFrame.from_records(result.fetchall(), columns=list(result.keys()), coerce_float=True)
    except alchemy.exc.SQLAlchemyError as error:
        found = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise DataError(f"{where}: {found}; expected '{where}#TABLE' or '{where}#SELECT …'") from None
    finally:
        engine.dispose()
    read = from_frame(frame)
    return read._replace(said=(*said, *read.said))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys differ and whose values are single."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _cell(value: Any) -> Any:
    """A cell as a CSV file would have it, but for dates and numbers, which have their types."""
    if isinstance(value, dt.time):
        return value.isoformat()
    if isinstance(value, str):
        return value if value.strip() else None
    return value
