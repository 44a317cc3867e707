"""From which data? Ready-made datasets, user tables, and loaders over one source or several."""

from typing import TYPE_CHECKING

from polytask.data.batch import Batch, halves
from polytask.data.given import Given, are_inputs, given_rows
from polytask.data.loader import MultiTaskLoader
from polytask.data.multitask import SPLITS, MultiTaskData, Splitter
from polytask.data.plan import Alternating, Joint, Plan, mixing_shares
from polytask.data.source import (
    ArrayLike,
    Inputs,
    MapSource,
    Part,
    Source,
    TensorSource,
    batches,
    inputs_of,
    only,
    together,
)
from polytask.data.spec import InputSpec
from polytask.lazy import lazy

if TYPE_CHECKING:  # what reads tables comes with pandas, on first use
    from polytask.data.datasets import DATASETS, load
    from polytask.data.encoder import TableEncoder
    from polytask.data.inspect import ColumnReport, TableReport, inspect_table
    from polytask.data.leakage import LeakageWarning
    from polytask.data.split import split_rows
    from polytask.data.split_rule import SplitRule
    from polytask.data.table import read_table

__all__ = [
    "DATASETS",
    "SPLITS",
    "Alternating",
    "ArrayLike",
    "Batch",
    "ColumnReport",
    "Given",
    "InputSpec",
    "Inputs",
    "Joint",
    "LeakageWarning",
    "MapSource",
    "MultiTaskData",
    "MultiTaskLoader",
    "Part",
    "Plan",
    "Source",
    "SplitRule",
    "Splitter",
    "TableEncoder",
    "TableReport",
    "TensorSource",
    "are_inputs",
    "batches",
    "given_rows",
    "halves",
    "inputs_of",
    "inspect_table",
    "load",
    "mixing_shares",
    "only",
    "read_table",
    "split_rows",
    "together",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "datasets": ("DATASETS", "load"),
        "encoder": ("TableEncoder",),
        "inspect": ("ColumnReport", "TableReport", "inspect_table"),
        "leakage": ("LeakageWarning",),
        "split": ("split_rows",),
        "split_rule": ("SplitRule",),
        "table": ("read_table",),
    },
)
