"""The report's sections that are drawn from data, in their order."""

from collections.abc import Callable

from polytask.study.outcome.answers import Kept
from polytask.study.outcome.figures.balance import conflicts, weights
from polytask.study.outcome.figures.changes import changes, disagreements
from polytask.study.outcome.figures.confusion import confusion
from polytask.study.outcome.figures.curves import curves
from polytask.study.outcome.figures.delta import delta
from polytask.study.outcome.figures.pareto import pareto
from polytask.study.outcome.figures.predicted import predicted
from polytask.study.outcome.figures.style import Figure, Look, Omitted, Panel
from polytask.study.outcome.figures.tables import cost, labels
from polytask.study.outcome.numbers import Numbers

__all__ = ["OF_ROWS", "SECTIONS", "Figure", "Look", "Omitted", "Panel"]


def affinity(comparison: Numbers) -> Omitted:
    """Which tasks help which: needs affinities, which a comparison does not measure."""
    return Omitted("Affinity and groups", "affinities between tasks were not measured in this study")


def experts(comparison: Numbers) -> Omitted:
    """How tasks use experts: only architectures with experts have any."""
    return Omitted("Use of experts", f"the trials recorded none (architecture: {comparison.protocol.architecture})")


SECTIONS: tuple[Callable[[Numbers], Figure | Omitted], ...] = (
    delta,
    curves,
    weights,
    conflicts,
    affinity,
    pareto,
    experts,
    labels,
    cost,
)
"""Drawn from the numbers of a study alone."""

OF_ROWS: tuple[Callable[[Numbers, Kept], Figure | Omitted], ...] = (predicted, confusion, changes, disagreements)
"""Drawn from what models answered on single test rows; they stand after the first of the others, the gains."""
