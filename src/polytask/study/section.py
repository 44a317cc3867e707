"""``[protocol]`` of the configuration."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from polytask.section import Section

__all__ = ["SELECTIONS", "ProtocolSection", "Selection"]

Selection = Literal["val", "last", "test"]
SELECTIONS: tuple[str, ...] = get_args(Selection)


class ProtocolSection(Section):
    """``[protocol]``: how methods are compared.

    Attributes:
        methods: Registry names, names of estimators (``"ridge"``, ``"joint_feature"``), ``"name:option=value"``, or
            tables with a ``name``; ``"stl"`` is one network per task; ``"uw @ hard"`` has an architecture of its own.
            By default these baselines, the plain sum, and
            ``[method]``'s own (``uw`` if that is the sum).
        seeds: Number of paired seeds, or the seeds themselves.
        selection: Which epoch of a trial is reported: the best on validation, the last, or the best on test (then
            every table is marked, because such numbers are too good).
        baseline: Which of the methods gains are measured against; ``"stl"`` by default, or the first one without it.
        split_seeds: Whether every seed has a split of its own; by default for tables whose test rows are not given.
        workers: Trials run side by side, in processes of their own.
        out: Folder of the study; ``runs/<name of the data>`` by default.
        keep: Which trained models are kept: of all trials, of the best, or none.
        refit: Whether the best model is trained again on all rows with labels.
    """

    methods: tuple[str | dict[str, Any], ...] | None = None
    seeds: Annotated[int, Field(ge=1)] | tuple[Annotated[int, Field(ge=0)], ...] = 3
    selection: Selection = "val"
    baseline: str | None = None
    split_seeds: bool | None = None
    workers: Annotated[int, Field(ge=1)] = 1
    out: str | None = None
    keep: Literal["all", "best", "none"] = "all"
    refit: bool = False
