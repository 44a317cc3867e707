"""Rows of a study: networks, estimators, and whatever else learns tasks and is judged beside them.

The walk of an entry::

    "uw:…" | table ──Request.of──▶ name, options ──the kind whose name it is──▶ Contender.read(request, setting)
                                                                                            │ rows: label, groups
    TrialResult ◀── run(data, tasks, seed, folder) ◀── TrialSpec(row, tasks, seed): id = hash of config ◀──┘

A kind is one file and one line in :data:`CONTENDERS`. Nothing else in study, command line or deployment asks what kind
a row is.
"""

from polytask.study.contenders.contender import Contender, Setting, Step
from polytask.study.contenders.registry import (
    CONTENDERS,
    contender_names,
    names_by_kind,
    read_contender,
    read_contenders,
)
from polytask.study.contenders.request import Request

__all__ = [
    "CONTENDERS",
    "Contender",
    "Request",
    "Setting",
    "Step",
    "contender_names",
    "names_by_kind",
    "read_contender",
    "read_contenders",
]
