"""Opening a table: what was read, with numbers as people write them turned into numbers, and what to say about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from polytask.data.delimited import separator_of
from polytask.data.files import is_text, read_frame
from polytask.data.written import check_marks, decimal_mark, maybe_thousands, read_written
from polytask.tasks import Nature
from polytask.tasks.kinds import kinds_of

__all__ = ["Opened", "open_table"]

# Kinds of input columns for which "1,5" and "1.5" are two texts, as they are for targets that are classes.
_TEXTS = ("categorical", "boolean", "date")


class Opened(NamedTuple):
    """A table as it was read.

    Attributes:
        frame: Its rows.
        said: One sentence for each column that was not written as programs write numbers.
        decimal: The decimal mark that was asked for, or found where columns had to be read that way: with it, a later
            table is read alike, however few rows it has.
    """

    frame: pd.DataFrame
    said: list[str]
    decimal: str | None


def open_table(
    source: str | Path | pd.DataFrame,
    *,
    missing_values: Sequence[str] = (),
    decimal: str | None = None,
    thousands: str | None = None,
    encoding: str | None = None,
    kinds: Mapping[str, str] | None = None,
) -> Opened:
    """A table with its numbers read as they are written.

    Args:
        source: As for :func:`~polytask.data.files.read_frame`.
        missing_values: Texts that mean "missing".
        decimal: The decimal mark, ``"."`` or ``","``; found from all columns when None.
        thousands: The separator of thousands; any that fits the decimal mark when None.
        encoding: How a CSV file's text is encoded.
        kinds: Kinds that columns were asked to be; those of texts are left as they are.

    Returns:
        The table, what to say about it, and its decimal mark.

    Raises:
        DataError: The table cannot be read.
        ConfigError: A mark or the encoding is not known.
    """
    marks = check_marks(decimal, thousands)
    texts = (*_TEXTS, *kinds_of((Nature.YES_NO, Nature.CLASSES)))
    leave = {column for column, kind in (kinds or {}).items() if kind in texts}
    frame = read_frame(source, missing_values, encoding=encoding)
    separator = separator_of(Path(source), encoding) if not isinstance(source, pd.DataFrame) and is_text(source) else ""
    common, proven = (marks.decimal, True) if marks.decimal else decimal_mark(frame, separator)
    doubtful: list[str] = []
    if common == "," and proven and separator:
        # "1.234" has been read as a fraction; only the text says whether it was one.
        floats = frame.select_dtypes("float")
        doubtful = [
            name for name in map(str, floats) if name not in leave and (decimal or maybe_thousands(floats[name]))
        ]
    if not doubtful:
        opened, said = read_written(frame, marks, common, leave)
        return Opened(opened, said, marks.decimal or (common if said else None))
    as_texts = read_frame(source, missing_values, encoding=encoding, texts=doubtful)
    opened, said = read_written(as_texts, marks, common, leave)
    fractions = [name for name in doubtful if not pd.api.types.is_float_dtype(opened[name])]
    opened[fractions] = frame[fractions]
    return Opened(opened, said, common)
