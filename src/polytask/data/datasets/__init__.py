"""Ready-made datasets by name; one file each."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from polytask.data.datasets.exam import exam
from polytask.data.datasets.flights import flights
from polytask.data.datasets.movielens import movielens
from polytask.data.datasets.multidigits import multidigits
from polytask.data.datasets.star import star
from polytask.data.multitask import MultiTaskData
from polytask.errors import ConfigError, unknown

__all__ = ["DATASETS", "exam", "flights", "load", "movielens", "multidigits", "star"]

DATASETS: dict[str, Callable[..., MultiTaskData]] = {
    "multidigits": multidigits,
    "star": star,
    "exam": exam,
    "movielens": movielens,
    "flights": flights,
}


def load(name: str, **options: Any) -> MultiTaskData:
    """A ready-made dataset.

    Args:
        name: One of :data:`DATASETS`; all but ``"multidigits"`` need the ``data`` extra.
        **options: Passed to the dataset's function.

    Raises:
        ConfigError: The name or an option is unknown.
        MissingExtraError: The dataset needs the ``data`` extra.

    Examples:
        >>> load("multidigits", n=60).tasks.names
        ('left', 'right', 'parity')
    """
    if name not in DATASETS:
        if "." in name or "/" in name:
            raise ConfigError(f"{name!r} is no dataset; polytask.data.read_table(path, targets) reads tables")
        raise ConfigError(unknown("dataset", name, DATASETS))
    known = list(inspect.signature(DATASETS[name]).parameters)
    for option in options:
        if option not in known:
            raise ConfigError(unknown(f"option of dataset {name!r}", option, known))
    return DATASETS[name](**options)
