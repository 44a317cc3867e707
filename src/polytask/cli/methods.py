"""``polytask methods``: what the balancing methods need, cost and promise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from polytask.cli.answer import Answer, Debug, Json, verb

if TYPE_CHECKING:
    from polytask.balance import Method

__all__ = ["methods"]


@verb
def methods(
    name: Annotated[str | None, typer.Argument(help="Print this method's card.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> Answer:
    """List the balancing methods, or print the card of one."""
    from polytask.balance import METHODS
    from polytask.errors import MethodError, unknown

    if name is None:
        return Answer({"methods": [_facts(key, METHODS[key]) for key in METHODS]}, (_table(dict(METHODS)),))
    if name not in METHODS:
        raise MethodError(unknown("method", name, METHODS))
    return Answer(_facts(name, METHODS[name]), (_card(name, METHODS[name]),))


def _facts(name: str, method: type[Method]) -> dict[str, Any]:
    card = method.card
    return {
        "name": name,
        "title": card.title,
        "needs": method.needs,
        "needs_after_step": method.needs_after_step,
        "needs_metrics": method.needs_metrics,
        "cost": card.cost,
        "idea": card.idea,
        "invariances": list(card.invariances),
        "verified": list(card.verified),
        "notes": card.notes,
        "paper": card.paper,
        "url": card.url,
    }


def _table(registry: dict[str, type[Method]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("method", "needs", "passes", "idea"):
        table.add_column(heading, no_wrap=heading != "idea")
    for name, method in registry.items():
        # The number of backward passes is the first word of the cost; the card has the rest.
        passes = method.card.cost.split()[0].rstrip(",;")
        table.add_row(name, method.needs, passes, Text(method.card.idea))
    return table


def _card(name: str, method: type[Method]) -> Table:
    facts = _facts(name, method)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    table.add_row("name", name)
    for key in ("title", "idea", "needs", "cost", "invariances", "verified", "notes", "paper", "url"):
        value = facts[key]
        text = "; ".join(value) if isinstance(value, list) else str(value)
        if key == "needs" and facts["needs_after_step"]:
            text += ", and the losses of the same batch after the step"
        if key == "needs" and facts["needs_metrics"]:
            text += (
                ", and each task's validation metric, in [0, 1] with 1 the best"
                if method.takes_skill
                else ", and numbers that only a loop of your own can measure (not available in train and compare)"
            )
        table.add_row(key, Text(text or "-"))
    return table
