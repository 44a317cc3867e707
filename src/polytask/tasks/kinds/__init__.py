"""The kinds of targets: one file each, and one line in :data:`KINDS`.

Kinds for images and text have their place here, too: a kind *arranges* its prediction so that the target's dimensions
come first, and everything else (missing labels, means over present labels, metrics) follows from that; see
:class:`polytask.tasks.Kind`.
"""

from __future__ import annotations

from collections.abc import Container

from polytask.errors import TaskError
from polytask.registry import Registry
from polytask.tasks.kind import Kind
from polytask.tasks.kinds.binary import Binary
from polytask.tasks.kinds.censored import Censored
from polytask.tasks.kinds.count import Count
from polytask.tasks.kinds.custom import Custom
from polytask.tasks.kinds.multiclass import Multiclass
from polytask.tasks.kinds.multilabel import Multilabel
from polytask.tasks.kinds.ordinal import Ordinal
from polytask.tasks.kinds.quantile import Quantile
from polytask.tasks.kinds.regression import Regression
from polytask.tasks.nature import Nature

__all__ = [
    "KINDS",
    "Binary",
    "Censored",
    "Count",
    "Custom",
    "Multiclass",
    "Multilabel",
    "Ordinal",
    "Quantile",
    "Regression",
    "kinds_of",
    "usual_kind",
]

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
        "censored": "censored:Censored",
        "custom": "custom:Custom",
    },
    package="polytask.tasks.kinds",
    group="polytask.kinds",
    fits=lambda found: isinstance(found, type) and issubclass(found, Kind),
    expected="a subclass of polytask.tasks.Kind",
    error=TaskError,
)


def kinds_of(natures: Container[Nature]) -> tuple[str, ...]:
    """Names of the kinds that are one of ``natures``, those of other packages too.

    Examples:
        >>> kinds_of((Nature.ORDERED, Nature.NUMBER))
        ('regression', 'ordinal')
    """
    return tuple(name for name, kind in KINDS.items() if kind.nature in natures)


def usual_kind(nature: Nature) -> str:
    """The kind that is meant where only the nature of a target is known: the first of its nature.

    Examples:
        >>> usual_kind(Nature.CLASSES)
        'multiclass'
    """
    return next(name for name, kind in KINDS.items() if kind.nature is nature)
