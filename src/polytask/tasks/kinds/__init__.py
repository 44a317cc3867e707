"""The kinds of targets: one file each, and one line in :data:`KINDS`.

Kinds for images and text have their place here, too: a kind *arranges* its prediction so that the target's dimensions
come first, and everything else (missing labels, means over present labels, metrics) follows from that; see
:class:`polytask.tasks.Kind`.
"""

from __future__ import annotations

from polytask.errors import TaskError
from polytask.registry import Registry
from polytask.tasks.kind import Kind
from polytask.tasks.kinds.binary import Binary
from polytask.tasks.kinds.count import Count
from polytask.tasks.kinds.custom import Custom
from polytask.tasks.kinds.multiclass import Multiclass
from polytask.tasks.kinds.multilabel import Multilabel
from polytask.tasks.kinds.ordinal import Ordinal
from polytask.tasks.kinds.quantile import Quantile
from polytask.tasks.kinds.regression import Regression

__all__ = ["KINDS", "Binary", "Count", "Custom", "Multiclass", "Multilabel", "Ordinal", "Quantile", "Regression"]

KINDS: Registry[type[Kind]] = Registry(
    "kind",
    {
        "regression": "regression:Regression",
        "binary": "binary:Binary",
        "multiclass": "multiclass:Multiclass",
        "multilabel": "multilabel:Multilabel",
        "ordinal": "ordinal:Ordinal",
        "count": "count:Count",
        "quantile": "quantile:Quantile",
        "custom": "custom:Custom",
    },
    package="polytask.tasks.kinds",
    group="polytask.kinds",
    fits=lambda found: isinstance(found, type) and issubclass(found, Kind),
    expected="a subclass of polytask.tasks.Kind",
    error=TaskError,
)
