"""What a kind of target is, for all that do not need to know which kind it is."""

from __future__ import annotations

import enum
from typing import final

__all__ = ["Nature"]


@final
class Nature(enum.Enum):
    """What labels are, and what a head puts out for them; estimators, tables and reports ask for nothing else.

    A kind that declares a nature promises that its head's output means what is said here, so that every estimator that
    knows the nature can stand in for the head.

    Examples:
        >>> [nature.name for nature in Nature if not nature.one_column]
        ['SEVERAL_YES_NO', 'OTHER']
        >>> [nature.name for nature in Nature if nature.classes]
        ['YES_NO', 'CLASSES', 'ORDERED']
    """

    NUMBER = "a number; the head puts out its value"
    YES_NO = "0 or 1; the head puts out the logit of 1"
    CLASSES = "one of C classes; the head puts out C logits"
    SEVERAL_YES_NO = "0 or 1 in each of L columns; the head puts out L logits"
    ORDERED = "one of K classes in order; the head puts out K − 1 logits of “above class k”"
    COUNT = "a number of events; the head puts out the logarithm of its expectation"
    QUANTILES = "a number; the head puts out a quantile for each of the task's levels"
    BOUNDED = "a number, or bounds that it lies between; the head puts out its value first"
    OTHER = "whatever the kind's own loss understands"

    @property
    def one_column(self) -> bool:
        """Whether the labels fit into one column of a table."""
        return self not in (Nature.SEVERAL_YES_NO, Nature.OTHER)

    @property
    def classes(self) -> bool:
        """Whether a label is one of several classes."""
        return self in (Nature.YES_NO, Nature.CLASSES, Nature.ORDERED)
