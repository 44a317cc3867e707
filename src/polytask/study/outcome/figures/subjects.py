"""Which methods figures of single rows are about."""

from __future__ import annotations

from collections.abc import Iterator

from polytask.study.outcome.answers import Answers, Kept
from polytask.study.outcome.numbers import Numbers
from polytask.study.outcome.verdict import ranked

__all__ = ["answered", "subjects"]


def subjects(comparison: Numbers) -> tuple[str, ...]:
    """The reference and the best of the other methods, where there is one."""
    others = ranked(comparison, [method for method in comparison.methods if method != comparison.reference])
    return (comparison.reference, *(method for method, _ in others[:1]))


def answered(kept: Kept, task: str) -> Iterator[Answers]:
    """What was kept of a task, by any method."""
    return (answers for (name, _, _), answers in kept.items() if name == task)
