"""``polytask methods``: what the balancing methods need, remember, cost and promise."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.table import Table
from rich.text import Text

from polytask.cli.answer import Answer, Debug, Json, verb
from polytask.cli.catalogue import catalogue

__all__ = ["methods"]

_WIDE, _WIDEST = 120, 240
_NEEDS = {
    "losses": "loss values only",
    "gramian": "inner products of the tasks' gradients",
    "jacobian": "the tasks' gradients, coordinate by coordinate",
    "features": "gradients at the shared representation (grads='features')",
    "graph": "the tasks' gradients, to be differentiated again",
}


@verb
def methods(
    name: Annotated[str | None, typer.Argument(help="Print this method's card.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> Answer:
    """List the balancing methods and the estimators, or print the card of one."""
    from polytask.errors import MethodError, unknown

    known = catalogue()
    others = {entry["name"]: entry for entry in known["others"]}
    listed = {entry["name"]: entry for entry in (*known["methods"], *known["estimators"], *known["others"])}
    if name is None:
        lost = (Text(f"left out: {message}") for message in known["broken"].values())
        fitted = _Names("estimators: fitted, not trained; in polytask compare beside networks", known["estimators"])
        more = _Names("others that polytask compare takes", known["others"])
        return Answer(known, (_List(known["methods"]), *lost, fitted, more))
    if name in known["broken"]:
        raise MethodError(known["broken"][name])
    if name not in listed:
        raise MethodError(unknown("method", name, listed))
    found = listed[name]
    if name in others:
        return Answer(found, (Text(f"{name}: {found['idea']}"),))
    return Answer(found, (_estimator_card(found) if "estimators" in found else _card(found),))


def _state_in_words(facts: Mapping[str, Any]) -> str:
    """For example ``2 per task, K·P``; ``-`` for none."""
    state = facts["state"]
    if state is None:
        return "?"
    parts = [f"{len(state[per])} per {per}" for per in ("task", "pair") if state[per]]
    if state["coordinate"]:
        count = len(state["coordinate"])
        parts.append("K·P" if count == 1 else f"{count}·K·P")
    return ", ".join([*parts, *(["inner's"] * len(state["inner"])), *state["object"]]) or "-"


def _passes(facts: Mapping[str, Any]) -> str:
    """The number of backward passes is the first word of the cost; the card has the rest."""
    return str(facts["cost"].split()[0].rstrip(",;"))


@dataclasses.dataclass(frozen=True)
class _List:
    """All methods, grouped by what they need: a table where there is room for one, else one entry below the other."""

    found: Sequence[Mapping[str, Any]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        groups: dict[str, list[Mapping[str, Any]]] = {}
        for facts in self.found:
            heading = f"needs {facts['needs']}: {'; and '.join([_NEEDS[facts['needs']], *facts['also_needs']])}"
            groups.setdefault(heading, []).append(facts)
        order = sorted(groups, key=lambda heading: list(_NEEDS).index(heading.split()[1].rstrip(":")))
        name_width = max(len(facts["name"]) for facts in self.found)
        for heading in order:
            yield Text(heading, style="bold underline")
            yield self._block(groups[heading], name_width, options.max_width)
            yield Text()
        yield Text(
            "passes: backward passes through the shared part; state: numbers remembered from step to step, P the "
            "shared parameters; unchanged by: what does not change the step. `polytask methods NAME` says more."
        )

    def _block(self, group: Sequence[Mapping[str, Any]], name_width: int, width: int) -> RenderableType:
        if width < _WIDE:
            return Group(*(_entry(facts, name_width) for facts in group))
        table = Table(box=None, pad_edge=False, header_style="bold", expand=width < _WIDEST)
        table.add_column("method", no_wrap=True, width=name_width)
        table.add_column("passes", no_wrap=True, width=6)
        table.add_column("state", width=13)
        if width >= _WIDEST:
            table.add_column("idea")
        for heading, ratio in (("unchanged by", 8), ("checked against", 12), ("paper", 8)):
            table.add_column(heading, ratio=ratio)
        for facts in group:
            texts = [_passes(facts), _state_in_words(facts), *([facts["idea"]] if width >= _WIDEST else [])]
            texts += ["; ".join(facts["invariances"]), "; ".join(facts["verified"]), _paper(facts)]
            table.add_row(facts["name"], *(Text(text) for text in texts))
        return table


def _entry(facts: Mapping[str, Any], name_width: int) -> Table:
    """One method on a narrow terminal."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, width=name_width, style="bold")
    table.add_column()
    state, passes = _state_in_words(facts), _passes(facts)
    cost = f"{passes} pass{'' if passes == '1' else 'es'}, {'no state' if state == '-' else f'state {state}'}"
    lines = {
        cost: facts["idea"],
        "unchanged by": "; ".join(facts["invariances"]),
        "checked against": "; ".join(facts["verified"]),
        "paper": _paper(facts),
    }
    body = Text("\n").join(Text.assemble((f"{label}: ", "dim"), text) for label, text in lines.items() if text)
    table.add_row(facts["name"], body)
    return table


def _paper(facts: Mapping[str, Any]) -> str:
    return str(facts["paper"]) + ("" if facts["package"] == "polytask" else f" (package {facts['package']})")


def _card(facts: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    state = facts["state"] or {}
    per = {
        "task": " per task",
        "pair": " per pair of tasks",
        "coordinate": " per task and coordinate",
        "inner": "'s state",
        "object": "",
    }
    remembered = [f"{', '.join(names)}{per[kind]}" for kind, names in state.items() if names]
    shown = {
        **facts,
        "asks": [
            f"{ask['what']}, by {' or '.join(ask['by'])}: {ask['call']}; without it, {ask['without']}"
            for ask in facts["asks"]
        ],
        "state": "; ".join(remembered) or ("unknown" if facts["state"] is None else "none"),
    }
    keys = ["name", "title", "idea", "needs", "asks", "state", "cost", "task_weights", "heads"]
    keys += ["invariances", "verified", "notes", "paper", "url"]
    for key in [*keys, *(["package"] if facts["package"] != "polytask" else [])]:
        text = "; ".join(shown[key]) if isinstance(shown[key], list) else str(shown[key])
        table.add_row(key, Text(text or "-"))
    return table


def _estimator_card(found: Mapping[str, Any]) -> Table:
    """The card of one estimator."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    baseline = not found["estimators"]
    options = [f"{key}: {value}" if baseline else f"{key}={value}" for key, value in found["options"].items()]
    shown = {
        **found,
        "learns": f"{', '.join(found['learns'])} tasks, {found['tasks']}",
        "estimators": ", ".join(found["estimators"]),
        "options": ("\n" if baseline else ", ").join(options),
        "use": f"polytask compare --methods stl,equal,{found['name']}"
        + ("" if baseline or "alpha" not in found["options"] else f"; {found['name']}:alpha=0.1 fixes its α"),
    }
    for key in ("name", "idea", "objective", "learns", "estimators", "options", "use", "notes", "paper"):
        if shown[key]:
            table.add_row(key, Text(shown[key]))
    return table


@dataclasses.dataclass(frozen=True)
class _Names:
    """Names with an idea each, one below the other."""

    heading: str
    found: Sequence[Mapping[str, Any]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield Text(f"\n{self.heading}", style="bold underline")
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(no_wrap=True, style="bold")
        table.add_column()
        for one in [one for one in self.found if one["name"] != "logistic"]:
            learns = f" ({', '.join(one['learns'])})" if "learns" in one else ""
            table.add_row(one["name"], Text(f"{one['idea']}{learns}"))
        yield table
