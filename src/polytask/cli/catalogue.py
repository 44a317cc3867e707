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
    from polytask.balance import Method

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
    from polytask.balance.method import heads_in_words

    card = method.card
    plugin = METHODS.plugins.get(name)
    return {
        "name": name,
        "title": card.title,
        "needs": method.needs,
        "needs_after_step": method.needs_after_step,
        "needs_metrics": method.needs_metrics,
        "also_needs": _also(method),
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


def _also(method: type[Method]) -> list[str]:
    """What a method wants besides the evidence of a step."""
    wanted = []
    if method.needs_after_step:
        wanted.append("the losses of the same batch after the step")
    if method.needs_twin:
        wanted.append("the losses of a second, independent batch in every step")
    if method.needs_metrics:
        wanted.append(
            "each task's validation metric, in [0, 1] with 1 the best"
            if method.takes_skill
            else "numbers that only a loop of your own can measure (not available in train and compare)"
        )
    return wanted


def _state(method: type[Method]) -> dict[str, list[str]] | None:
    """Names of what a method remembers from step to step: per task, per pair of tasks, per task and coordinate.

    Of a method made of another one, ``"inner"`` holds the option's name; the other's state comes on top. The
    names are read off an example that has combined one small Jacobian; ``None`` where none can be made.
    """
    import numpy as np
    import torch

    from polytask.balance import Block, Evidence, JacobianMethod

    signature = inspect.signature(method).parameters.values()
    tasks = ("a", "b")
    try:
        example = method(
            **{p.name: tasks[0] for p in signature if p.default is p.empty and p.kind is not p.VAR_KEYWORD}
        )
        found: dict[str, list[str]] = {"task": [], "pair": [], "coordinate": [], "inner": [], "object": []}
        found["object"] += example.state.attached
        for quantity in [name for name in example.state.state_dict() if name not in found["object"]]:
            found["task" if example.state.read(quantity, tasks).ndim == 1 else "pair"].append(quantity)
        if hasattr(example, "inner"):
            found["inner"].append("inner")
        if isinstance(example, JacobianMethod):
            rows, point = torch.tensor([[1.0, 0.5, 0.0], [0.2, 1.0, 0.3]]), torch.ones(3)
            evidence = Evidence(tasks, np.ones(2), np.full(2, 0.5), (rows @ rows.T).double().numpy())
            block = Block("example", rows, (slice(0, 3),), point, 1, (point,))
            memory = example.combine(block, *example.solve_blocks(evidence, [block])).memory
            for quantity, values in memory.items():
                found["coordinate" if values.shape[1] == 3 else "task"].append(quantity)
    except Exception:  # noqa: BLE001 - whatever a method of another package needs, the list goes on
        return None
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
