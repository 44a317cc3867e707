"""One look for all figures, and SVG that is the same on every run and can stand in a page beside others."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from polytask.study.outcome.numbers import Numbers

__all__ = [
    "DASHES",
    "INK",
    "LINE",
    "MUTED",
    "Figure",
    "Look",
    "Omitted",
    "Panel",
    "beside",
    "clip_at",
    "few_ticks",
    "look_of",
    "panel",
    "pick_tasks",
    "shades",
    "short",
]

INK, MUTED, RULE, LINE = "#1d2329", "#6a727c", "#d9dde2", "#3c4a57"
WIDTH = 3.35
"""Width of a panel in inches; a page shows one to three side by side, so text keeps its size on a phone."""

# Okabe and Ito's palette, whose colours stay apart for all common kinds of colour blindness; dashes and markers keep
# lines apart in grey print.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES: tuple[tuple[float, ...], ...] = ((), (4, 1.6), (1.2, 1.4), (6, 1.5, 1.2, 1.5), (3, 1, 1, 1, 1, 1), (8, 2))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_RC: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 7.0,
    "axes.titlesize": 7.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 7.0,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": RULE,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "text.parse_math": False,
    "path.simplify": False,
}


@dataclasses.dataclass(frozen=True)
class Look:
    """How one method is drawn, everywhere in the report."""

    colour: str
    dashes: tuple[float, ...]
    marker: str


@dataclasses.dataclass(frozen=True)
class Panel:
    """One small drawing.

    Attributes:
        svg: The drawing, ready to stand in a page.
        alt: What it shows, for those who do not see it.
        width: Its width in units of a usual panel's; wider ones have a row of the page to themselves.
    """

    svg: str
    alt: str
    width: float = 1.0


@dataclasses.dataclass(frozen=True)
class Figure:
    """A section of the report.

    Attributes:
        id: Anchor and prefix of all ids inside.
        name: What the section is about.
        title: What it found, in words.
        caption: How to read it.
        panels: Its drawings; may be empty when a table says it all.
        data: What is drawn, to download.
        legend: Methods whose look a reader must know.
        table: Header and rows of a table to show.
        notes: Sentences to list below the table.
    """

    id: str
    name: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
    data: pd.DataFrame
    legend: tuple[tuple[str, Look], ...] = ()
    table: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Omitted:
    """A section with nothing to say, and why."""

    name: str
    why: str


def look_of(comparison: Numbers) -> dict[str, Look]:
    """The look of each method: the reference grey and solid, the others in fixed order."""
    looks, index = {}, 0
    for method in comparison.methods:
        if method == comparison.reference:
            looks[method] = Look("#8b929b", (), "x")
            continue
        pick = (index % len(_COLOURS), index % len(DASHES), index % len(_MARKERS))
        looks[method] = Look(_COLOURS[pick[0]], DASHES[pick[1]], _MARKERS[pick[2]])
        index += 1
    return looks


def shades(count: int) -> list[str]:
    """Colours from dark to light, for areas that touch: apart by lightness alone."""
    scale = mpl.colormaps["YlGnBu_r"]
    return [mpl.colors.to_hex(scale(0.12 + 0.68 * index / max(count - 1, 1))) for index in range(count)]


def few_ticks(axis: Axis, most: int, *, whole: bool = False) -> None:
    """At most so many intervals between ticks, at whole numbers if asked for."""
    axis.set_major_locator(MaxNLocator(most, integer=whole, steps=[1, 2, 2.5, 5, 10]))


def clip_at(extents: Sequence[float]) -> float:
    """Where an axis of gains in per cent ends, so that a few outliers do not flatten the rest; infinity for no limit.

    Outliers are fewer than half, lie more than five times as far out as all others, and beyond 5 %.

    Examples:
        >>> clip_at([2.0, 1.0, 3.0, 122.0]), clip_at([2.0, 1.0, 3.0, 12.0]), clip_at([0.1, 2.0])
        (5.0, inf, inf)
    """
    ranked = sorted(abs(value) for value in extents if math.isfinite(value))
    for place in range(max((len(ranked) - 1) // 2, 0), len(ranked) - 1):
        limit = max(1.3 * ranked[place], 5.0)
        if ranked[place + 1] > max(5 * ranked[place], limit):
            return limit
    return math.inf


def short(words: str, most: int = 12) -> str:
    """Words that fit beside an axis; what is cut is marked.

    Examples:
        >>> short("a rather long name"), short("brief")
        ('a rather lo…', 'brief')
    """
    return words if len(words) <= most else f"{words[: most - 1]}…"


def beside(axes: Axes, words: str, x: float, y: float, colour: str = INK) -> None:
    """Words just right of a point."""
    axes.annotate(words, (x, y), (3, 0), textcoords="offset points", va="center", color=colour, fontsize=6.5)


@contextlib.contextmanager
def panel(uid: str, alt: str, made: list[Panel], height: float = 2.1, width: float = WIDTH) -> Iterator[Axes]:
    """Axes to draw on; on leaving, the drawing is appended to ``made``.

    Args:
        uid: Prefix of the drawing's ids, unique in the page.
        alt: What it shows.
        made: Where the finished panel goes.
        height: Inches.
        width: Inches.
    """
    settings: Any = {**_RC, "svg.hashsalt": uid}
    with mpl.rc_context(settings):
        canvas = Canvas(figsize=(width, height), layout="constrained")
        axes = canvas.add_subplot()
        axes.tick_params(pad=2)
        yield axes
        layout = canvas.get_layout_engine()
        if layout is not None:  # once, where savefig would arrange everything twice
            layout.execute(canvas)
            canvas.set_layout_engine("none")
        buffer = io.StringIO()
        canvas.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    made.append(Panel(_clean(buffer.getvalue(), uid, alt), alt, width / WIDTH))


def _clean(svg: str, uid: str, alt: str) -> str:
    """Without prologue, metadata, comments, name spaces and fixed size; every id prefixed."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = svg.replace("xlink:href=", "href=")
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{uid}-\1"', svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{uid}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{uid}-\1)", svg)
    box = re.search(r'viewBox="([^"]+)"', svg)
    assert box is not None
    label = alt.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    head = f'<svg viewBox="{box[1]}" role="img" aria-label="{label}">'
    return re.sub(r"\n\s*", "\n", head + svg[svg.index(">") + 1 :]).strip()


def pick_tasks(tasks: Sequence[str], gains: pd.DataFrame, most: int = 9) -> list[str]:
    """The ``most`` tasks with the largest gain or loss, in the order given."""
    if len(tasks) <= most:
        return list(tasks)
    size: Mapping[Any, float] = gains.abs().max().to_dict()
    chosen = set(sorted(tasks, key=lambda task: -size.get(task, 0.0))[:most])
    return [task for task in tasks if task in chosen]
