"""``[data]`` of the configuration."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from polytask.section import Section

__all__ = ["DataSection"]


class DataSection(Section):
    """``[data]``: where the rows come from and how they are split.

    Attributes:
        source: Name of a built-in dataset (``"multidigits"``), a table (``"scores.csv"``, ``"scores.parquet"``,
            ``"book.xlsx#sheet"``, ``"sqlite:///clinic.db#visits"``; relative to the configuration file), or
            ``"module:function"`` returning a
            :class:`~polytask.data.MultiTaskData`.
        val: Fraction of the rows held out to select epochs; tables only.
        test: Fraction of the rows held out to report on; tables only.
        seed: Seed of the split; a study's seed s uses the split of this seed + s; tables only.
        group: Column whose rows must stay in one split (a patient, a school), or several; tables only.
        stratify: Whether every split gets its share of every class, and of low and high numbers; tables only.
        folds: Number of folds of which one holds the test rows, in place of ``test``; tables only.
        time: Column to split by in time, the latest rows being the test rows; tables only.
        gap: Least distance in time between splits, in days for dates; tables only.
        split_column: Column that says train, val or test; tables only.
        test_table: A table of its own with the test rows, in place of ``test``; tables only.
        ignore: Columns that are no input (identifiers, leakage); tables only.
        kinds: Kinds of input columns where the guess is wrong (``{zip = "categorical"}``); tables only.
        missing_values: Strings that mean "no value" besides the usual ones, in all columns or by column
            (``{income = ["-999"]}``, ``"*"`` for all); tables only.
        decimal: Decimal mark of numbers that are texts (``","``); found from the values by default; tables only.
        thousands: Separator of thousands; any that fits the decimal mark by default; tables only.
        encoding: How a CSV file's text is encoded, ``"utf-8"`` by default; tables only.
        weight: Column of weights of the rows, for all tasks without ``weight_column``; tables only.
        options: Keyword arguments of a built-in dataset or of ``module:function``.
    """

    source: str
    val: Annotated[float, Field(gt=0, lt=1)] = 0.2
    test: Annotated[float, Field(gt=0, lt=1)] = 0.2
    seed: Annotated[int, Field(ge=0)] = 0
    group: str | tuple[str, ...] | None = None
    stratify: bool = False
    folds: Annotated[int, Field(ge=2)] | None = None
    time: str | None = None
    gap: Annotated[float, Field(ge=0)] = 0.0
    split_column: str | None = None
    test_table: str | None = None
    ignore: tuple[str, ...] = ()
    kinds: dict[str, str] = Field(default_factory=dict)
    missing_values: tuple[str, ...] | dict[str, tuple[str, ...]] = ()
    decimal: Literal[".", ","] | None = None
    thousands: str | None = None
    encoding: str | None = None
    weight: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)

    @property
    def is_factory(self) -> bool:
        """Whether ``source`` names a function to call."""
        module, colon, function = self.source.partition(":")
        return bool(colon) and function.isidentifier() and all(part.isidentifier() for part in module.split("."))

    @property
    def is_table(self) -> bool:
        """Whether ``source`` is a file."""
        return not self.is_factory and not self.source.replace("-", "_").isidentifier()
