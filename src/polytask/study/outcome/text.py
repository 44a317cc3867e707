"""The results as text: a table that needs no colour."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from polytask.study.outcome.numbers import Numbers
from polytask.study.outcome.statistics import LEVEL, Interval
from polytask.study.outcome.suspicions import suspicions

__all__ = [
    "TRIVIAL",
    "apart",
    "fixed_table",
    "number",
    "over",
    "percent",
    "rich_table",
    "signed_interval",
    "table_for",
    "times",
    "trivial_cells",
    "warnings",
]

TRIVIAL = "trivial"
"""Name of the row of predictions that look at no input."""
_LEAK, _LEAKS = "Possible leakage: ", 5
WIDTH = 118
"""Columns that a fixed-width table may take; wider ones are broken into blocks."""


def number(value: float, sd: float = math.nan, spread: float | None = None) -> str:
    """A value, with as many decimals as its spread allows: two significant digits of the standard deviation.

    Args:
        value: The value.
        sd: Its standard deviation, printed beside it; NaN for none.
        spread: The standard deviation that sets the decimals, when a whole column shares them.

    Examples:
        >>> number(6.4123, 0.0812), number(0.91234), number(1234.5, 20.0), number(float("nan"))
        ('6.412 ± 0.081', '0.9123', '1234 ± 20', 'undefined')
    """
    if not math.isfinite(value):
        return "undefined"
    scale = sd if spread is None else spread
    if math.isfinite(scale) and scale > 0:
        decimals = min(max(1 - math.floor(math.log10(scale)), 0), 6)
    else:
        decimals = 4 if value == 0 else min(max(3 - math.floor(math.log10(abs(value))), 0), 6)
    text = f"{value:.{decimals}f}"
    return f"{text} ± {sd:.{decimals}f}" if math.isfinite(sd) else text


def percent(value: float, decimals: int = 1) -> str:
    """A gain with sign.

    Examples:
        >>> percent(1.52), percent(-0.04), percent(-123.4), percent(-0.04, 2)
        ('+1.5', '0.0', '-123', '-0.04')
    """
    if not math.isfinite(value):
        return "undefined"
    text = f"{value:+.0f}" if abs(value) >= 99.95 else f"{value:+.{decimals}f}"
    return text.lstrip("+-") if float(text) == 0 else text


def signed_interval(interval: Interval) -> str:
    """Mean and bounds of a gain in per cent, with so many decimals that no bound but 0 is printed as 0.

    Examples:
        >>> from polytask.study.outcome.statistics import paired_interval
        >>> signed_interval(paired_interval([1.0, 2.0, 3.0])), signed_interval(paired_interval([1.0]))
        ('+2.0 % [-0.5, +4.5]', '+1.0 %')
        >>> signed_interval(paired_interval([0.10, 0.11, 0.16]))  # "better", and "[0.0, +0.2]" would not look so
        '+0.12 % [+0.04, +0.20]'
    """
    if math.isnan(interval.low):
        return f"{percent(interval.mean)} %"
    bounds = [abs(bound) for bound in (interval.low, interval.high) if bound]
    decimals = next((d for d in range(1, 13) if all(round(bound, d) for bound in bounds)), 12)
    mean, low, high = (percent(value, decimals) for value in (interval.mean, interval.low, interval.high))
    return f"{mean} % [{low}, {high}]"


def times(value: float) -> str:
    """A ratio; at least two significant digits of what is far below 1; empty where it is not known.

    Examples:
        >>> times(1.234), times(0.00312), times(56.0), times(float("nan"))
        ('1.23×', '0.0031×', '56.00×', '')
    """
    if not math.isfinite(value):
        return ""
    return f"{value:.2g}×" if 0 < value < 0.095 else f"{value:.2f}×"


def apart(comparison: Numbers) -> str:
    """The reference in words; with estimators about, a model may be something else than a network."""
    if not comparison.against_singles:
        return comparison.reference
    return "one network per task" if comparison.protocol.estimators else "one model per task"


def header(comparison: Numbers, task: str) -> str:
    """Heading of a task's column: name, metric, unit, direction."""
    info = comparison.protocol.tasks[task]
    unit = f" [{info.unit}]" if info.unit else ""
    return f"{task}  {info.primary}{unit} {info.arrow}"


def over(comparison: Numbers, n: int) -> str:
    """What an interval is over, in words."""
    return f"{n} paired {'splits' if comparison.protocol.splits else 'seeds'}"


def delta_header(comparison: Numbers) -> str:
    """Heading of the Δm column; says which interval it is."""
    n = len(comparison.protocol.seeds)
    what = f"[{LEVEL:.0%} CI, {over(comparison, n)}]".replace("%", " %") if n > 1 else "(one seed: no interval)"
    return f"Δm vs {comparison.reference}  {what}"


def cells(comparison: Numbers, method: str) -> tuple[list[str], str, str, str]:
    """A method's cells: per task, Δm, verdict, relative time."""
    row = comparison.summary.loc[method].to_dict()
    spread = {task: float(comparison.summary[f"{task}:sd"].max()) for task in comparison.tasks}
    values = [number(float(row[task]), float(row[f"{task}:sd"]), spread[task]) for task in comparison.tasks]
    verdict, interval = comparison.verdict_of(method), comparison.interval(method)
    if interval is None and not comparison.cost(method)["parameters"]:
        values = [""] * len(values)
    for place, task in enumerate(comparison.tasks):
        if task in comparison.protocol.left_out.get(method, {}):
            values[place] = ""
    known = interval is not None and not math.isnan(interval.mean) and verdict != "failed"
    delta = signed_interval(interval) if interval is not None and known else ""
    if verdict == "reference":
        delta = "0.0 %"
    ratio = row["seconds_ratio"]
    return values, delta, f"({verdict})" if verdict == "reference" else verdict, times(ratio) if ratio > 0 else ""


def trivial_cells(comparison: Numbers) -> list[str]:
    """Per task, the mean over seeds of the trivial prediction; empty if none was judged."""
    found = [comparison.protocol.trivial.get(task, ()) for task in comparison.tasks]
    known = [[value for value in values if math.isfinite(value)] for values in found]
    if not any(known):
        return []
    spread = {task: float(comparison.summary[f"{task}:sd"].max()) for task in comparison.tasks}
    means = [math.fsum(values) / len(values) if values else math.nan for values in known]
    return [number(mean, spread=spread[task]) for task, mean in zip(comparison.tasks, means, strict=True)]


def warnings(comparison: Numbers) -> list[str]:
    """What puts the numbers in doubt: inputs that may give a target away, results that are too good to be true."""
    lines = [line for line in comparison.protocol.about.splitlines() if line.startswith(_LEAK)]
    more = [f"{len(lines) - _LEAKS} more of them are listed with the data"] if len(lines) > _LEAKS else []
    return [*suspicions(comparison), *lines[:_LEAKS], *more]


def footer(comparison: Numbers) -> list[str]:
    """What must be known beside the numbers: selection, split, versions, missing labels, failures."""
    protocol = comparison.protocol
    words = {
        "val": "best epoch on validation, test reported",
        "last": "last epoch, no selection",
        "test": "BEST EPOCH ON TEST: every number here is too good",
    }
    torch = f" · torch {protocol.versions['torch']}" if "torch" in protocol.versions else ""
    missing = [
        f"{task} {share:.0%}".replace("%", " %") for task, share in missing_labels(comparison).items() if share > 0
    ]
    lines = [f"selection: {words[protocol.selection]} · split {protocol.fingerprint[:6]}{torch}"]
    lines.extend(suspicions(comparison))
    if missing:
        lines.append(f"labels missing in training: {' · '.join(missing)}")
    for task, why in comparison.excluded.items():
        lines.append(f"{task} is left out of Δm: {why}")
    reference = comparison.reference
    constant = [method for method in comparison.constant if method != reference]
    if constant:
        lines.append(
            f"the same at every seed: {', '.join(constant)}; intervals of these, if any, come from {reference}"
        )
    if reference in comparison.constant:
        lines.append(f"the same at every seed: {reference}, the reference; intervals come from the methods alone")
    lines.extend(f"the same numbers at every seed: {' and '.join(group)}" for group in comparison.twins)
    points = [task for task, info in protocol.tasks.items() if info.primary in info.skill]
    if points:
        lines.append(f"gains are differences in points of 0.01, as 0 is no better than chance: {', '.join(points)}")
    known = (comparison.interval(method) for method in comparison.methods if method != reference)
    how = next((interval.how for interval in known if interval is not None and interval.n > 1), "")
    if how:
        lines.append(f"intervals: {how}")
    remarks = {(trial.method, remark): None for trial in comparison.trials for remark in trial.remarks}
    lines.extend(f"{method} warned: {remark}" for method, remark in remarks)
    lines.extend(
        f"{f'not judged, {trial.limit}' if trial.limit else 'failed'}: {trial.method}, seed {trial.seed}, "
        f"{'+'.join(trial.tasks)}: {trial.error}"
        for trial in comparison.failures
    )
    return [*lines, *protocol.notes]


def missing_labels(comparison: Numbers, split: str = "train") -> dict[str, float]:
    """Share of the rows of a split without a label, by task."""
    rows = comparison.protocol.rows.get(split, 0)
    tasks = comparison.protocol.tasks
    return {task: 1 - info.labels.get(split, rows) / rows if rows else 0.0 for task, info in tasks.items()}


def fixed_table(comparison: Numbers, width: int | None = None) -> str:
    """The table in plain text; many tasks are broken into several blocks.

    Args:
        comparison: The study.
        width: Columns it may take, if a block can be so narrow; 118 by default.
    """
    first = ["", *comparison.methods]
    columns = [[header(comparison, task)] for task in comparison.tasks]
    tail = [[delta_header(comparison)], [""], ["time"]]
    for method in comparison.methods:
        values, *rest = cells(comparison, method)
        for column, cell in zip((*columns, *tail), (*values, *rest), strict=True):
            column.append(cell)
    trivial = trivial_cells(comparison)
    if trivial:
        first.append(TRIVIAL)
        for column, cell in zip((*columns, *tail), (*trivial, "", "(no inputs)", ""), strict=True):
            column.append(cell)
    if comparison.protocol.selection == "test":
        tail[0][0] += "  SELECTED ON TEST"
    blocks: list[list[list[str]]] = [[]]
    room = (width or WIDTH) - _width(first)
    for group in (*([column] for column in columns), tail):
        need = sum(_width(item) for item in group)
        if blocks[-1] and sum(map(_width, blocks[-1])) + need > room:
            blocks.append([])
        blocks[-1].extend(group)
    lines = []
    for block in blocks:
        lines.extend([*_lines([first, *block]), ""])
    return "\n".join([*lines[:-1], *footer(comparison)])


def rich_table(comparison: Numbers, *, caption: bool = True) -> Any:
    """The table for a wide terminal.

    Args:
        comparison: The study.
        caption: Whether what must be known beside the numbers stands below.

    Returns:
        A ``rich.table.Table``.
    """
    from rich.table import Table
    from rich.text import Text

    title = Text("selected on test: every number is too good", "bold red") if _on_test(comparison) else None
    below = "\n".join(footer(comparison)) if caption else None
    table = Table(title=title, caption=below, caption_justify="left", box=None, pad_edge=False)
    for name in ("", *(header(comparison, task) for task in comparison.tasks), delta_header(comparison), "", "time"):
        table.add_column(Text(name), justify="left", no_wrap=False)
    styles = {"better": "green", "worse": "red", "failed": "bold red"}
    for method in comparison.methods:
        values, delta, verdict, ratio = cells(comparison, method)
        style = styles.get(comparison.verdict_of(method), "")
        row = [Text(method, "bold"), *map(Text, values), Text(delta, style), Text(verdict, style), Text(ratio)]
        table.add_row(*row)
    trivial = trivial_cells(comparison)
    if trivial:
        table.add_row(*(Text(cell, "dim") for cell in (TRIVIAL, *trivial, "", "(no inputs)", "")))
    return table


def table_for(comparison: Numbers, width: int) -> Any:
    """The table for a terminal where it fits, in plain blocks where its cells would have to be broken.

    Args:
        comparison: The study.
        width: Columns of the terminal.

    Returns:
        Something that rich prints.
    """
    from rich.console import Console
    from rich.text import Text

    wanted = Console(width=10_000).measure(rich_table(comparison, caption=False)).maximum
    return rich_table(comparison) if wanted <= width else Text(fixed_table(comparison, width))


def _on_test(comparison: Numbers) -> bool:
    return comparison.protocol.selection == "test"


def _width(column: Sequence[str]) -> int:
    return max(map(len, column)) + 3


def _lines(columns: Sequence[Sequence[str]]) -> list[str]:
    return [
        "".join(cell.ljust(_width(column)) for cell, column in zip(row, columns, strict=True)).rstrip()
        for row in zip(*columns, strict=True)
    ]
