"""Which tasks each row of a study learns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from polytask.data import MultiTaskData
from polytask.study.contenders import Contender

__all__ = ["learned_by", "left_out_of"]


def left_out_of(rows: Sequence[Contender], data: MultiTaskData, baseline: str) -> dict[str, dict[str, str]]:
    """Tasks that a row cannot learn though it can learn others, by its label, each with the reason.

    What gains are measured against has to learn all, and so is in no way left out: it is refused when it is checked.

    Args:
        rows: The rows of the study.
        data: What they learn from.
        baseline: Label of what gains are measured against; empty for the default.
    """
    reference = baseline or next((row.label for row in rows if row.is_reference), rows[0].label)
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        against = row.cannot(data)
        if row.label != reference and against and len(against) < len(data.tasks):
            found[row.label] = dict(against)
    return found


def learned_by(row: Contender, data: MultiTaskData, left_out: Mapping[str, Mapping[str, str]]) -> tuple[str, ...]:
    """The tasks that a row learns."""
    return tuple(name for name in data.tasks.names if name not in left_out.get(row.label, {}))
