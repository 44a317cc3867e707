"""Kinds say what they are: what a nature promises of a head's output, and that nobody else lists kinds by name."""

import ast
import inspect
from pathlib import Path

import pytest
import torch

import polytask
from polytask.data.targets import target_kinds
from polytask.tasks import KINDS, Nature, Task
from polytask.tasks.kind import RESERVED
from polytask.tasks.kinds import kinds_of, usual_kind
from polytask.tasks.section import TaskSection

from .cases import CASES

PACKAGE = Path(polytask.__file__).parent

ALLOWED = {
    "data/interface.py": "'custom' is a kind of inputs there",
    "share/network.py": "'custom' is a kind of inputs there",
    "study/classical/fit.py": "'custom' is a kind of inputs there",
}
"""Places outside the tasks' own room that may name a kind, and why."""


def sigmoid(z):
    return 1 / (1 + (-z).exp())


def softmax(z):
    return z.exp() / z.exp().sum(-1, keepdim=True)


def between(z):
    """Class probabilities from P(y > k), which the head's logits say."""
    above = sigmoid(z)
    return torch.stack(
        [1 - above[:, 0], *(above[:, k - 1] - above[:, k] for k in range(1, z.shape[1])), above[:, -1]], 1
    )


PROMISES = {
    Nature.NUMBER: (lambda task: 1, lambda z: z[:, 0]),
    Nature.YES_NO: (lambda task: 1, lambda z: sigmoid(z[:, 0])),
    Nature.CLASSES: (lambda task: task.classes, softmax),
    Nature.SEVERAL_YES_NO: (lambda task: task.classes, sigmoid),
    Nature.ORDERED: (lambda task: task.classes - 1, between),
    Nature.COUNT: (lambda task: 1, lambda z: z[:, 0].exp()),
    Nature.BOUNDED: (lambda task: 2, lambda z: z[:, 0]),
    Nature.QUANTILES: (lambda task: len(task.quantiles), lambda z: z.sort(-1).values),
}
"""Number of outputs, and what they mean, by nature: what estimators rely on."""


@pytest.mark.parametrize("name", CASES)
def test_a_head_puts_out_what_its_nature_says(name):
    task = CASES[name].task()
    if task.rule.nature is Nature.OTHER:
        pytest.skip("promises nothing")
    outputs, meaning = PROMISES[task.rule.nature]
    assert task.out_features == outputs(task)
    z = torch.randn(7, task.out_features, dtype=torch.float64).sort(-1, descending=True).values
    torch.testing.assert_close(task.decode(z), meaning(z))
    assert (task.rule.levels is not None) == (task.rule.nature.classes or task.rule.nature is Nature.SEVERAL_YES_NO)


def test_every_nature_has_a_kind_and_the_usual_one_is_the_first():
    for nature in Nature:
        assert kinds_of([nature])[0] == usual_kind(nature)
    assert [usual_kind(nature) for nature in (Nature.NUMBER, Nature.COUNT, Nature.OTHER)] == [
        "regression",
        "count",
        "custom",
    ]


def test_a_table_takes_the_kinds_of_one_column():
    assert target_kinds() == (
        "regression", "binary", "multiclass", "multilabel", "ordinal", "count", "quantile", "censored"
    )  # fmt: skip


def test_no_option_of_a_kind_can_hide_an_argument_or_a_key():
    arguments = {
        name for name, value in inspect.signature(Task).parameters.items() if value.kind is not value.VAR_KEYWORD
    }
    assert arguments | set(TaskSection.model_fields) | {"task"} == RESERVED
    for kind in KINDS.values():
        assert not RESERVED & set(kind.declared)


def listed(source, names):
    """Lines on which kinds are told apart by name: compared with a ``kind``, or several of them in one display.

    One name that is a usual word ("count", "custom") in a display is no list of kinds; two names are.
    """
    lines = []
    for node in ast.walk(ast.parse(source)):
        parts = []
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            if any(
                "kind" in ast.unparse(side).rpartition(".")[2] for side in sides if not isinstance(side, ast.Constant)
            ):
                parts = [side for side in ast.walk(node) if isinstance(side, ast.Constant)]
            if sum(isinstance(part.value, str) and part.value in names for part in parts) >= 1:
                lines.append(node.lineno)
        elif isinstance(node, (ast.Tuple, ast.List, ast.Set)):
            parts = node.elts
        elif isinstance(node, ast.Dict):
            parts = [key for key in node.keys if key is not None]
        elif isinstance(node, ast.Match):
            parts = [v.value for case in node.cases for v in ast.walk(case.pattern) if isinstance(v, ast.MatchValue)]
        found = {part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)} & names
        if not isinstance(node, ast.Compare) and len(found) >= 2:
            lines.append(node.lineno)
    return lines


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("task.kind == 'regression'", 1),
        ("if kind in ('binary', 'robust'): pass", 1),
        ("WORDS = {'regression': 1, 'count': 2}", 1),
        ("LEARNS = ['ordinal', 'quantile']", 1),
        ("match kind:\n    case 'binary': pass\n    case 'count': pass", 1),
        ("{'a': 'regression', 'b': 'binary'}", 0),
        ("Task('a', 'regression')", 0),
        ("for name in ('mean', 'count'): pass", 0),
        ("loss == 'quantile'", 0),
    ],
)
def test_the_scan_sees_lists_of_kinds_and_nothing_else(source, found):
    assert bool(listed(source, set(KINDS.own))) == bool(found)


def test_no_kind_is_listed_by_name_outside_its_room():
    names = set(KINDS.own)
    places = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE).as_posix()
        lines = [] if place.startswith("tasks/kinds/") else listed(path.read_text(encoding="utf-8"), names)
        if lines:
            places[place] = lines
    assert places.keys() <= ALLOWED.keys(), f"ask the kind instead (Kind.nature): {places}"
    assert ALLOWED.keys() <= places.keys(), "an exception that is no longer needed"
