"""Texts that mean "no value": in every column, or in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from polytask.errors import DataError

__all__ = ["EVERYWHERE", "MissingValues", "by_column", "check_missing", "missing_in", "plain_missing"]

MissingValues = Sequence[str] | Mapping[str, Sequence[str]]
"""Texts for all columns, or by column; those of :data:`EVERYWHERE` hold in all."""
EVERYWHERE = "*"
"""Stands for all columns."""


def missing_in(given: MissingValues, column: str) -> list[str]:
    """The texts that mean "no value" in a column.

    Examples:
        >>> missing_in(["?"], "age"), missing_in({"*": ["?"], "age": ["-9"]}, "age"), missing_in({"age": ["-9"]}, "sex")
        (['?'], ['?', '-9'], [])
    """
    if isinstance(given, Mapping):
        return [*given.get(EVERYWHERE, ()), *(given.get(column, ()) if column != EVERYWHERE else ())]
    return list(given)


def by_column(given: MissingValues) -> list[str]:
    """The columns that have texts of their own."""
    return [name for name in given if name != EVERYWHERE] if isinstance(given, Mapping) else []


def plain_missing(given: MissingValues) -> list[str] | dict[str, list[str]]:
    """The same as JSON and TOML have it."""
    return {name: list(texts) for name, texts in given.items()} if isinstance(given, Mapping) else list(given)


def check_missing(given: MissingValues) -> None:
    """Check that texts stand in lists.

    Raises:
        DataError: A text stands alone, or is none.
    """
    named = given.items() if isinstance(given, Mapping) else [("", given)]
    for name, texts in named:
        where = f"missing_values of column {name!r}" if name else "missing_values"
        if isinstance(texts, str):
            raise DataError(f"{where} must be a list of texts, found {texts!r}; write [{texts!r}]")
        wrong = [text for text in texts if not isinstance(text, str)]
        if wrong:
            raise DataError(f"{where} must be texts, found {wrong[0]!r}; write {str(wrong[0])!r}")
