"""The report: one HTML file that needs nothing else, with every figure's finding in words."""

from __future__ import annotations

import base64
import dataclasses
import importlib.resources
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from polytask.share.stored import predicting
from polytask.study.outcome import text
from polytask.study.outcome.answers import Kept
from polytask.study.outcome.figures import OF_ROWS, SECTIONS, Figure, Look, Omitted
from polytask.study.outcome.numbers import Numbers
from polytask.study.outcome.statistics import LEVEL
from polytask.study.outcome.verdict import judge

__all__ = ["provenance", "render", "sections"]


def sections(comparison: Numbers, kept: Kept) -> list[Figure | Omitted]:
    """All sections in their order: gains, what is drawn from single rows, and the rest."""
    first, *rest = (section(comparison) for section in SECTIONS)
    return [first, *(section(comparison, kept) for section in OF_ROWS), *rest]


def render(comparison: Numbers, stamp: str = "", best: Path | None = None, kept: Kept | None = None) -> str:
    """The report as one HTML page: no script, no external address, equal for equal results.

    Args:
        comparison: The study.
        stamp: What tells the results from others.
        best: Folder of the best model, if one was kept.
        kept: What models answered on single rows; figures of rows are left out without.
    """
    made = sections(comparison, kept or {})
    warnings = text.warnings(comparison)
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["csv"] = _csv
    environment.filters["swatch"] = _swatch
    environment.filters["typeset"] = _typeset
    page = environment.get_template("report.html.j2").render(
        comparison=comparison,
        stamp=stamp,
        protocol=comparison.protocol,
        judgement=judge(comparison),
        sections=made,
        drawn=[section for section in made if isinstance(section, Figure)],
        header=[text.header(comparison, task) for task in comparison.tasks],
        delta_header=text.delta_header(comparison),
        rows=[
            (method, comparison.verdict_of(method), *text.cells(comparison, method)) for method in comparison.methods
        ],
        trivial=text.trivial_cells(comparison),
        warnings=warnings,
        footer=[line for line in text.footer(comparison) if line not in warnings],
        level=f"{100 * LEVEL:.0f} %",
        provenance=provenance(comparison, best),
        configuration=json.dumps(dataclasses.asdict(comparison.protocol), indent=2, ensure_ascii=False),
        style=_template("report.css"),
        is_figure=lambda section: isinstance(section, Figure),
    )
    return str(page)


def _template(name: str) -> str:
    return importlib.resources.files("polytask.study").joinpath("templates", name).read_text(encoding="utf-8")


def _csv(frame: pd.DataFrame) -> str:
    """A table as the address of a CSV file that is part of the page."""
    content = frame.to_csv(index=False, float_format="%.10g", lineterminator="\n").encode()
    return f"data:text/csv;charset=utf-8;base64,{base64.b64encode(content).decode()}"


def _swatch(look: Look) -> Markup:
    """The line and marker by which a method is drawn."""
    dashes = ",".join(f"{2 * part:g}" for part in look.dashes) or "none"
    line = f'<line x1="0" y1="7" x2="40" y2="7" stroke="{look.colour}" stroke-width="2.4" stroke-dasharray="{dashes}"/>'
    marker = f'<path d="{_MARKERS[look.marker]}" fill="{look.colour}" stroke="{look.colour}" stroke-width="1.6"/>'
    return Markup(f'<svg viewBox="0 0 40 14" aria-hidden="true">{line}{marker}</svg>')


_MARKERS = {
    "o": "M15.5 7a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0",
    "s": "M16 3h8v8h-8z",
    "^": "M20 2.5l4.5 8.5h-9z",
    "D": "M20 2l5 5l-5 5l-5-5z",
    "v": "M20 11.5l4.5-8.5h-9z",
    "P": "M18.5 2.5h3v3h3v3h-3v3h-3v-3h-3v-3h3z",
    "X": "M16 3l8 8M24 3l-8 8",
    "x": "M16.5 3.5l7 7M23.5 3.5l-7 7",
}


def _typeset(words: str) -> str:
    """Hyphens before numbers become minus signs; a value, its sign of per cent and its interval stay on one line."""
    words = re.sub(r"(?<![\w.])-(?=\d)", "−", words)
    words = re.sub(r" ?\[[−+\d][^\]]*\]", lambda interval: interval[0].replace(" ", "\u00a0"), words)
    return words.replace(" %", "\u00a0%").replace("Δm ", "Δm\u00a0").replace(" ± ", "\u00a0±\u00a0")


def provenance(comparison: Numbers, best: Path | None) -> list[tuple[str, str]]:
    """What is needed to repeat the numbers, in words."""
    protocol = comparison.protocol
    rule = {
        "val": "each trial is judged at the epoch that was best on validation; the numbers come from the test rows",
        "last": "each trial is judged at its last epoch; the numbers come from the test rows",
        "test": "each trial is judged at the epoch that was best on TEST: the numbers are too good",
    }
    train: dict[str, Any] = {key: value for key, value in protocol.train.items() if value not in (None, [], {}, ())}
    items = [
        ("Data", f"{protocol.name}, split {protocol.fingerprint}. {protocol.about}".strip()),
        ("Selection", rule[protocol.selection]),
        ("Seeds", ", ".join(map(str, protocol.seeds))),
        ("Model", f"{protocol.encoder}, {protocol.architecture} sharing" if protocol.encoder else ""),
        *((name, f"{what}. {_chosen(comparison, name)}") for name, what in protocol.estimators.items()),
        ("Training", ", ".join(f"{key} {value}" for key, value in train.items())),
        ("Engine", ", ".join(f"{key} {value}" for key, value in protocol.balancer.items()) or _defaults(comparison)),
        ("Use", "" if best is None else predicting(best)),
        ("Versions", ", ".join(f"{name} {version}" for name, version in protocol.versions.items())),
    ]
    return [(name, value) for name, value in items if value]


def _defaults(comparison: Numbers) -> str:
    return "defaults" if comparison.protocol.encoder else ""


def _chosen(comparison: Numbers, method: str) -> str:
    """What cross-validation chose, by task and over the seeds."""
    found: dict[str, dict[str, list[float]]] = {}
    for trial in comparison.trials:
        for tasks, facts in trial.fitted.items() if trial.method == method else ():
            for key in ("alpha", "ridge", "trees"):
                values = facts.get(key, [])
                found.setdefault(tasks, {}).setdefault(key, []).extend(values if isinstance(values, list) else [values])
    parts = [
        f"{tasks.replace('+', ', ')}: {key} {_span(values)}"
        for tasks, chosen in found.items()
        for key, values in chosen.items()
        if values
    ]
    return f"Chosen: {'; '.join(parts)}." if parts else ""


def _span(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
