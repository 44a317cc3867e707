"""Pages about the balancing methods, written from the registry each time the documentation is built."""

from pathlib import Path

from polytask.balance import METHODS, Method
from polytask.balance.contract.method import heads_in_words

_NEEDS = {
    "losses": "the tasks' loss values",
    "gramian": "the inner products of the tasks' gradients",
    "jacobian": "the tasks' gradients, coordinate by coordinate",
    "features": "the tasks' gradients at the shared representation",
    "graph": "the tasks' gradients, to be differentiated again",
}


def write(folder: Path) -> None:
    """Write one page per method and a table of all into the folder, and remove pages of methods that are gone."""
    pages = {f"{name}.md": _page(name, method) for name, method in METHODS.items()} | {"methods.md": _table()}
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.md"):
        if old.name not in pages:
            old.unlink()
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:  # an untouched page is not built again
            path.write_text(text, encoding="utf-8")


def _table() -> str:
    rows = [
        f"| [`{name}`]({name}.md) | {_cell(method.card.title)} | {method.needs} | {_cell(method.card.cost)} "
        f"| {_cell(method.card.idea)} |"
        for name, method in METHODS.items()
    ]
    return "\n".join(
        [
            "# Balancing methods",
            "",
            "A method is a rule that turns the tasks' losses or gradients into one step for all of them, most often by "
            "one weight per task. `polytask methods` prints this table, `polytask methods NAME` a card.",
            "",
            "| name | title | needs | backward passes per step | idea |",
            "|---|---|---|---|---|",
            *rows,
            "",
            "```{toctree}",
            ":hidden:",
            "",
            *METHODS,
            "```",
            "",
        ]
    )


def _page(name: str, method: type[Method]) -> str:
    card = method.card
    needs = _NEEDS.get(method.needs, method.needs)
    for ask in method.asks:
        needs += f", and {ask.in_words}: `{ask.give}`"
    return "\n".join(
        [
            f"# {card.title} (`{name}`)",
            "",
            card.idea,
            "",
            f":Needs: {needs}",
            f":Backward passes per step: {card.cost}",
            f":Task weights q (of mean one): {card.preference}",
            f":Parameters of one task get: {heads_in_words(method)}",
            f":Does not change with: {'; '.join(card.invariances) or 'nothing'}",
            f":Checked against: {'; '.join(card.verified)}",
            *([f":Mind: {card.notes}"] if card.notes else []),
            f":Paper: {card.paper}, <{card.url}>" if card.url else f":Paper: {card.paper}",
            "",
            "```{eval-rst}",
            f".. autoclass:: {method.__module__}.{method.__qualname__}",
            "   :no-members:",
            "   :no-index:",
            "```",
            "",
        ]
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
