"""What ``polytask methods`` knows of estimators, which ``polytask compare`` can fit beside networks."""

from __future__ import annotations

import inspect
import re
from typing import Any

from polytask.study.classical import BASELINES, Entry, entry_names, find_entry

__all__ = ["every", "facts"]


def facts(name: str) -> dict[str, Any]:
    """What is known of an estimator, as plain values; read off its documentation.

    Args:
        name: Single-task baseline, or family of polytask.linear.

    Returns:
        Name, idea, objective, kinds of tasks, classes, options with defaults, notes, paper.

    Examples:
        >>> found = facts("trace_norm")
        >>> found["learns"], found["estimators"][0], found["tasks"]
        (['regression', 'binary', 'count'], 'TraceNormRegressorCV', 'together')
    """
    entry = find_entry(name, {})
    described: Any = type(entry) if name in BASELINES else _documented(name)
    sections = _sections(_without_markup(inspect.getdoc(described) or ""))
    return {
        "name": name,
        "idea": sections["idea"],
        "objective": sections["objective"],
        "learns": list(entry.learns),
        "tasks": "each by itself" if entry.alone else "together",
        "estimators": [made.__name__ for made in _family(name)] if name not in BASELINES else [],
        "options": _options(entry, described),
        "notes": sections.get("Notes", ""),
        "paper": sections.get("References", ""),
    }


def _family(name: str) -> list[Any]:
    """Its estimators, the cross-validated ones first."""
    from polytask.study.classical.families import estimator_class

    pairs = [(fixed, role) for fixed in (False, True) for role in ("Regressor", "Classifier")]
    found = [estimator_class(name, role, fixed=fixed) for fixed, role in pairs]
    return list(dict.fromkeys(made for made in found if made is not None))


def _documented(name: str) -> Any:
    """The estimator that documents the family: at one α, the regressor if there is one."""
    from polytask.study.classical.families import estimator_class

    return estimator_class(name, "Regressor", fixed=True) or estimator_class(name, "Classifier", fixed=True)


def _without_markup(text: str) -> str:
    """Names as names: neither double backticks nor roles."""
    return re.sub(r":\w+:`~?([^`]+)`", r"\1", text).replace("``", "")


def _sections(text: str) -> dict[str, str]:
    """First line, what follows up to the first heading, and the paragraphs below each heading."""
    head, *rest = re.split(r"^(\w+):$", text, flags=re.MULTILINE)
    idea, _, objective = head.partition("\n")
    paragraphs = inspect.cleandoc(objective).split("\n\n")
    found = {"idea": idea.strip(), "objective": "\n\n".join(" ".join(part.split()) for part in paragraphs)}
    for heading, body in zip(rest[::2], rest[1::2], strict=True):
        found[heading] = " ".join(inspect.cleandoc(body).split())
    return found


def _options(entry: Entry, described: Any) -> dict[str, str]:
    """Options with their defaults; of a baseline as its documentation lists them."""
    if entry.name in BASELINES:
        text = _without_markup(inspect.getdoc(described) or "")
        body = re.split(r"^Args:$", text, flags=re.MULTILINE)[1].split("\n\n")[0]
        parts = re.split(r"^    (\*{0,2}\w+): ", body, flags=re.MULTILINE)[1:]
        return {key: " ".join(words.split()) for key, words in zip(parts[::2], parts[1::2], strict=True)}
    from polytask.study.classical.families import OURS

    parameters: dict[str, inspect.Parameter] = {}
    for made in _family(entry.name):
        parameters |= dict(inspect.signature(made).parameters)
    return {key: repr(value.default) for key, value in parameters.items() if key not in OURS}


def every() -> list[dict[str, Any]]:
    """Facts of all estimators."""
    return [facts(name) for name in entry_names()]
