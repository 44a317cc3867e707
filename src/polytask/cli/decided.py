"""What ``train``, ``compare`` and ``report`` say of thresholds, calibration and intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.text import Text

__all__ = ["say_decisions"]


def say_decisions(decisions: Mapping[str, Any]) -> Text:
    """Decisions kept with a model, in words.

    Args:
        decisions: As :meth:`polytask.study.decisions.Decisions.plain` gives them; empty for none.

    Examples:
        >>> span = {"promised": 0.9, "labels": 50, "covered": 0.88, "low": 0.757, "high": 0.955, "width": 3.21}
        >>> tasks = {"price": {"without": []}, "sick": {"without": ["threshold: one class only"]}}
        >>> print(say_decisions({"tasks": tasks, "test": {"price": {"labels": 50, "interval": span}}}))
        decided on validation rows, measured on test rows
          price: 90 % intervals hold 88 % of 50 labels [76, 96], mean width 3.21
          sick: no threshold: one class only
    """
    if not decisions:
        return Text()
    lines = [
        f"  {name}: {words}"
        for name, one in decisions["tasks"].items()
        for words in (*_measured(decisions["test"].get(name, {})), *(f"no {reason}" for reason in one["without"]))
    ]
    return Text("\n".join(["decided on validation rows, measured on test rows", *lines]))


def _measured(found: Mapping[str, Any]) -> Iterator[str]:
    if (cut := found.get("threshold")) is not None:
        cuts = cut if isinstance(cut, list) else [cut]
        for place, one in enumerate(cuts):
            if one is not None:
                which = f"label {place}, " if isinstance(cut, list) else ""
                value = f"{which}yes from {one['value']:.3g} on: {one['metric']}"
                yield f"{value} {_number(one['before'])} at 0.5, {_number(one['after'])} there"
    if (map_ := found.get("calibration")) is not None:
        pairs = [map_["ece"], map_["brier"]]
        ece, brier = (pair[0] if pair and isinstance(pair[0], list) else pair for pair in pairs)
        first = " (first label)" if map_["ece"] is not ece else ""
        if ece and brier:
            words = f"{map_['how']}{first}: ECE {_number(ece[0])} → {_number(ece[1])}"
            yield f"{words}, Brier {_number(brier[0])} → {_number(brier[1])}"
    if (span := found.get("interval")) is not None and span["labels"]:
        kind, size = ("sets", "size") if "size" in span else ("intervals", "width")
        held = f"hold {span['covered']:.0%}".replace("%", " %")
        yield (
            f"{100 * span['promised']:g} % {kind} {held} of {span['labels']} labels "
            f"[{100 * span['low']:.0f}, {100 * span['high']:.0f}], mean {size} {_number(span[size])}"
        )


def _number(value: float | None) -> str:
    """Three digits; what is not finite has become nothing in JSON: an interval without an end."""
    return "∞" if value is None else f"{value:.3g}"
