"""What ``polytask methods`` knows, kept in a file so that it need not import every method to say it.

The file is written by ``make format``. It counts only for the sources
it was made from, and only where no other package adds methods; otherwise everything is read off the classes.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Collection
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from polytask.balance import Ask, Method

__all__ = ["catalogue", "fresh", "method_facts", "write"]

FILE = Path(__file__).with_suffix(".json")
_SOURCES = ("balance", "linear", "study/classical", "study/contenders", "cli/catalogue.py", "cli/estimators.py")


def catalogue() -> dict[str, Any]:
    """Facts of all ``methods`` and ``estimators``, and ``others`` that can be compared.

    In ``broken`` is why a method of another package cannot be had.
    """
    if not any(entry_points(group=group) for group in ("polytask.methods", "polytask.contenders")):
        kept = json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {}
        if kept.get("sources") == _digest():
            return dict(kept["facts"])
    return fresh()


def fresh() -> dict[str, Any]:
    """The same, read off the classes."""
    from polytask.balance import METHODS
    from polytask.cli import estimators
    from polytask.errors import MethodError

    found, broken = [], {}
    for name in METHODS:
        try:
            found.append(method_facts(name, METHODS[name]))
        except MethodError as error:  # another package's, which should not hide all others
            broken[name] = str(error)
    fitted = estimators.every()
    known = {entry["name"] for entry in (*found, *fitted)} | set(broken)
    return {"methods": found, "estimators": fitted, "others": _others(known), "broken": broken}


def _others(known: Collection[str]) -> list[dict[str, str]]:
    """Name and idea of what can be compared besides balancing methods and estimators."""
    from polytask.study.contenders import CONTENDERS, names_by_kind

    return [
        {"name": name, "idea": CONTENDERS[kind].idea(name)}
        for kind, names in names_by_kind()[0].items()
        for name in names
        if name not in known
    ]


def method_facts(name: str, method: type[Method]) -> dict[str, Any]:
    """What is known of a balancing method, as plain values: its card, what it asks for, what it remembers."""
    from polytask.balance import METHODS
    from polytask.balance.contract.method import heads_in_words

    card = method.card
    plugin = METHODS.plugins.get(name)
    return {
        "name": name,
        "title": card.title,
        "needs": method.needs,
        "needs_after_step": any(ask.hook == "after_step" for ask in method.asks),
        "needs_metrics": any(ask.hook == "observe_metrics" for ask in method.asks),
        "also_needs": [ask.in_words for ask in _sorted(method.asks)],
        "asks": [
            {
                "name": ask.name,
                "what": ask.what,
                "call": ask.give,
                "by": sorted(ask.by),
                "without": ask.without if isinstance(ask.without, str) else "=".join(ask.without),
            }
            for ask in _sorted(method.asks)
        ],
        "state": _state(method),
        "cost": card.cost,
        "idea": card.idea,
        "invariances": list(card.invariances),
        "verified": list(card.verified),
        "notes": card.notes,
        "task_weights": card.preference,
        "heads": heads_in_words(method),
        "paper": card.paper,
        "url": card.url,
        "package": "polytask" if plugin is None else plugin.dist.name if plugin.dist else plugin.value,
    }


def _sorted(asks: Iterable[Ask]) -> list[Ask]:
    return sorted(asks, key=lambda ask: ask.name)


def _state(method: type[Method]) -> dict[str, list[str]] | None:
    """Names of what a method remembers from step to step: per task, per pair of tasks, per task and coordinate.

    Of a method made of another one, ``"inner"`` holds the option's name; the other's state comes on top. ``None``
    where no example can be made to ask.
    """
    signature = inspect.signature(method).parameters.values()
    wanted = {p.name: "a" for p in signature if p.default is p.empty and p.kind is not p.VAR_KEYWORD}
    try:
        example = method(**wanted)
    except Exception:  # noqa: BLE001 - whatever a method of another package needs, the list goes on
        return None
    found: dict[str, list[str]] = {"task": [], "pair": [], "coordinate": [], "inner": [], "object": []}
    found["object"] += example.state.attached
    for quantity, declared in [*example.state.declared.items(), *example.memory.declared.items()]:
        found["task" if declared.per == "tensor" else declared.per].append(quantity)
    if hasattr(example, "inner"):
        found["inner"].append("inner")
    return found


def _digest() -> str:
    """A hash of the sources that the facts are read off."""
    root = FILE.parents[1]
    found = hashlib.sha256()
    for source in _SOURCES:
        place = root / source
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            found.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def write() -> None:
    """Keep the facts of the present sources."""
    kept = {"sources": _digest(), "facts": fresh()}
    FILE.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
