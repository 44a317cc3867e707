"""From which data? Ready-made datasets, user tables, and loaders over one source or several."""

from polytask.data.datasets import DATASETS, load
from polytask.data.loader import Batch, MultiTaskLoader, mixing_shares
from polytask.data.multitask import SPLITS, InputSpec, MultiTaskData
from polytask.data.source import Inputs, MapSource, Part, Source, TensorSource, batches, only
from polytask.data.split import split_rows

__all__ = [
    "DATASETS",
    "SPLITS",
    "Batch",
    "InputSpec",
    "Inputs",
    "MapSource",
    "MultiTaskData",
    "MultiTaskLoader",
    "Part",
    "Source",
    "TensorSource",
    "batches",
    "load",
    "mixing_shares",
    "only",
    "split_rows",
]
