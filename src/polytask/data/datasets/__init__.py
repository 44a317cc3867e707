"""Ready-made datasets by name; one file each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from polytask.data.datasets.exam import exam
from polytask.data.datasets.flights import flights
from polytask.data.datasets.movielens import movielens
from polytask.data.datasets.multidigits import multidigits
from polytask.data.datasets.star import star
from polytask.data.multitask import MultiTaskData
from polytask.errors import ConfigError
from polytask.registry import Registry, check_options

__all__ = ["DATASETS", "exam", "flights", "load", "movielens", "multidigits", "star"]

DATASETS: Registry[Callable[..., MultiTaskData]] = Registry(
    "dataset",
    {
        "multidigits": "multidigits:multidigits",
        "star": "star:star",
        "exam": "exam:exam",
        "movielens": "movielens:movielens",
        "flights": "flights:flights",
    },
    package="polytask.data.datasets",
    group="polytask.datasets",
    expected="a function that returns a MultiTaskData",
)


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
    if name not in DATASETS and ("." in name or "/" in name):
        raise ConfigError(f"{name!r} is no dataset; polytask.data.read_table(path, targets) reads tables")
    made = DATASETS.find(name)
    check_options(f"dataset {name!r}", made, options)
    return made(**options)
