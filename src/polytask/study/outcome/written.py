"""The report in other forms: Markdown, and a notebook to go on from; both in one file, drawings included."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polytask.study.outcome import text
from polytask.study.outcome.answers import Kept
from polytask.study.outcome.figures import Figure, Omitted, Panel
from polytask.study.outcome.numbers import Numbers
from polytask.study.outcome.report import provenance, sections
from polytask.study.outcome.verdict import judge

__all__ = ["markdown", "notebook"]


def markdown(comparison: Numbers, stamp: str = "", best: Path | None = None, kept: Kept | None = None) -> str:
    """The report as Markdown: the words, the tables, and the drawings as images within the file.

    Args:
        comparison: The study.
        stamp: What tells the results from others.
        best: Folder of the best model, if one was kept.
        kept: What models answered on single rows; figures of rows are left out without.
    """
    made = sections(comparison, kept or {})
    parts = [f"<!-- {stamp} -->", *_summary(comparison)]
    for section in made:
        if isinstance(section, Figure):
            parts += _section(section)
            parts += [f"![{_plain(panel.alt)}](data:image/svg+xml;base64,{_coded(panel)})" for panel in section.panels]
    return "\n\n".join([*parts, *_ending(comparison, made, best)]) + "\n"


def notebook(comparison: Numbers, stamp: str = "", best: Path | None = None, kept: Kept | None = None) -> str:
    """The report as a Jupyter notebook (format 4.5): words and tables as text, every section's numbers one cell away.

    Arguments as for :func:`markdown`.
    """
    made = sections(comparison, kept or {})
    cells = [_words(f"<!-- {stamp} -->", *_summary(comparison)), _code(_LOAD)]
    for section in made:
        if isinstance(section, Figure):
            cells.append(_words(*_section(section)))
            cells += [_code(f"# {panel.alt}".replace("\n", " "), panel) for panel in section.panels]
    cells.append(_words(*_ending(comparison, made, best)))
    numbered = [{**cell, "id": f"cell-{place}"} for place, cell in enumerate(cells)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    document = {"cells": numbered, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


_LOAD = (
    "from polytask.study import Comparison\n\n"
    'study = Comparison.load(".")  # the folder of the study, where this notebook was written\n'
    "study.frame  # every value: method, seed, task, metric, split\n"
    "# study.gains, study.deltas, study.summary, study.negative_transfer, study.answers hold the rest"
)


def _summary(comparison: Numbers) -> list[str]:
    judgement = judge(comparison)
    warnings = text.warnings(comparison)
    if comparison.protocol.selection == "test":
        warnings = ["Epochs were selected on the test rows. Every number here is too good.", *warnings]
    head = [
        "",
        *(text.header(comparison, task) for task in comparison.tasks),
        text.delta_header(comparison),
        "",
        "time",
    ]
    rows = []
    for method in comparison.methods:
        values, *rest = text.cells(comparison, method)
        rows.append((method, *values, *rest))
    trivial = text.trivial_cells(comparison)
    if trivial:
        rows.append((text.TRIVIAL, *trivial, "", "(no inputs)", ""))
    below = [line for line in text.footer(comparison) if line not in warnings]
    return [
        f"# {_plain(judgement.headline)}",
        *(f"> **Attention:** {_plain(line)}" for line in warnings),
        _list(judgement.details),
        *(f"**Next:** {_plain(step)}" for step in judgement.next),
        "## Results on the test rows",
        _table([head, *rows]),
        _list([*below, "mean ± standard deviation over seeds"]),
    ]


def _section(section: Figure) -> list[str]:
    parts = [f"## {_plain(section.name)}", f"**{_plain(section.title)}**", _plain(section.caption)]
    parts += [_table(section.table)] if section.table else []
    return [*parts, *([_list(section.notes)] if section.notes else [])]


def _ending(comparison: Numbers, made: Sequence[Figure | Omitted], best: Path | None) -> list[str]:
    facts = [f"**{name}**: {_plain(value)}" for name, value in provenance(comparison, best)]
    facts += [f"**Not shown**: {_plain(s.name)}: {_plain(s.why)}" for s in made if isinstance(s, Omitted)]
    return ["## How to get the same numbers again", "\n".join(f"* {fact}" for fact in facts)]


def _plain(words: str) -> str:
    """Words on one line, in which no letter means anything to Markdown or HTML."""
    words = " ".join(words.split()).replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{letter}" if letter in "\\`*_[]|#" else letter for letter in words)


def _list(sentences: Sequence[str]) -> str:
    return "\n".join(f"* {_plain(sentence)}" for sentence in sentences)


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = [f"| {' | '.join(_plain(cell) for cell in row)} |" for row in rows]
    return "\n".join([head, "|" + " --- |" * len(rows[0]), *body])


def _coded(panel: Panel) -> str:
    return base64.b64encode(_standing(panel).encode()).decode()


def _standing(panel: Panel) -> str:
    """A drawing that stands alone, as a file would."""
    return panel.svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)


def _words(*parts: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": "\n\n".join(parts)}


def _code(source: str, panel: Panel | None = None) -> dict[str, Any]:
    shown = [] if panel is None else [{"output_type": "display_data", "metadata": {}, "data": _data(panel)}]
    return {"cell_type": "code", "metadata": {}, "execution_count": None, "source": source, "outputs": shown}


def _data(panel: Panel) -> dict[str, str]:
    return {"image/svg+xml": _standing(panel), "text/plain": panel.alt}
