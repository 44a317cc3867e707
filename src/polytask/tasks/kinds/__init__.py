"""The kinds of targets: one file each, and one line in :data:`KINDS`."""

from __future__ import annotations

from polytask.tasks.kind import Kind
from polytask.tasks.kinds.binary import Binary
from polytask.tasks.kinds.custom import Custom
from polytask.tasks.kinds.multiclass import Multiclass
from polytask.tasks.kinds.regression import Regression

__all__ = ["KINDS", "Binary", "Custom", "Multiclass", "Regression"]

KINDS: dict[str, type[Kind]] = {
    "regression": Regression,
    "binary": Binary,
    "multiclass": Multiclass,
    "custom": Custom,
}
