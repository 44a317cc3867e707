"""Which tasks each method of a study learns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from polytask.data import MultiTaskData
from polytask.study.classical import reasons_against
from polytask.study.methods import MethodSpec
from polytask.tasks import Task

__all__ = ["learned_by", "left_out_of"]


def left_out_of(specs: Sequence[MethodSpec], data: MultiTaskData, baseline: str) -> dict[str, dict[str, str]]:
    """Tasks that an estimator cannot learn though it can learn others, by its label, each with the reason.

    What gains are measured against has to learn all, and so is in no way left out: it is refused when it is rehearsed.

    Args:
        specs: The methods.
        data: What they learn from.
        baseline: Label of what gains are measured against; empty for ``"stl"``, or the first method without it.
    """
    labels = [spec.label for spec in specs]
    reference = baseline or ("stl" if "stl" in labels else labels[0])
    found: dict[str, dict[str, str]] = {}
    for spec in specs:
        if spec.is_estimator and spec.label != reference:
            against = {name: reasons_against(spec.estimator, [task]) for name, task in data.tasks.items()}
            if any(against.values()) and not all(against.values()):
                found[spec.label] = {name: why for name, why in against.items() if why}
    return found


def learned_by(spec: MethodSpec, data: MultiTaskData, left_out: Mapping[str, Mapping[str, str]]) -> list[Task]:
    """The tasks that a method learns."""
    return [task for task in data.tasks.values() if task.name not in left_out.get(spec.label, {})]
