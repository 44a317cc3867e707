"""Layouts: a table answers, nobody asks which it is."""

import ast
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import KFold

import polytask.linear
from polytask.errors import TaskError
from polytask.linear import Squared, TaskStratifiedKFold, to_long
from polytask.linear.folds import row_folds
from polytask.linear.tables import LAYOUTS, Long, Single, Wide

#: what may know layouts apart: tables, what reads them, and what codes raw classes
KNOWING = {"tables.py", "layout.py", "families/_classes.py"}
ROOM = Path(polytask.linear.__file__).parent
_NAMES = {"_is_dict", "Wide", "Single", "Long"}


def _asked(tree):
    """Lines of a module that tell one layout from another."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            for side in (node.left, *node.comparators):
                if isinstance(side, ast.Attribute) and side.attr in {"mode", "mode_"}:
                    yield node.lineno
        elif isinstance(node, ast.Attribute) and node.attr in {"_wide", "codes"}:
            if not (isinstance(node.value, ast.Attribute) and node.value.attr == "_coding"):
                yield node.lineno
        elif isinstance(node, ast.Name) and node.id in _NAMES:
            yield node.lineno


@pytest.mark.parametrize("path", sorted(path.relative_to(ROOM).as_posix() for path in ROOM.rglob("*.py")))
def test_only_tables_know_layouts_apart(path):
    asked = sorted(set(_asked(ast.parse((ROOM / path).read_text()))))
    assert bool(asked) == (path in KNOWING), f"{path} asks which layout it is in lines {asked}"


def _tables():
    """The same targets in wide and in long layout."""
    rng = np.random.default_rng(0)
    X, Y, weight = rng.normal(size=(12, 2)), rng.normal(size=(12, 3)), rng.uniform(1, 2, size=12)
    Y[::3, 1] = np.nan
    weight[2] = 0
    inputs, y, task = to_long(X, Y)
    rows = np.nonzero(~np.isnan(Y.T))[1]
    wide = Wide(X=X, y=Y, tasks=np.arange(3), weight=weight)
    return wide, Long(X=inputs, y=y, codes=task, tasks=np.arange(3), weight=weight[rows])


def test_every_layout_has_its_name():
    assert {mode: layout.mode for mode, layout in LAYOUTS.items()} == {
        "wide": "wide",
        "single": "single",
        "long": "long",
    }


def test_wide_and_long_tables_answer_alike():
    wide, long = _tables()
    for weighted in (False, True):
        counts = [table.count(~np.isnan(table.y), weighted=weighted) for table in (wide, long)]
        assert counts[0].tolist() == counts[1].tolist() == ([12, 8, 12] if not weighted else [11, 7, 11])
    for t in range(3):
        assert wide.of_task(t)[1].tolist() == long.of_task(t)[1].tolist()
    values = np.array([1.0, 2.0, 3.0])
    spread = np.broadcast_to(wide.spread(values), wide.y.shape)
    assert spread.T[~np.isnan(wide.y.T)].tolist() == long.spread(values).tolist()
    silenced = [table.without(np.array([np.nan, 0.5, np.nan])) for table in (wide, long)]
    for table in silenced:
        assert table.count(~np.isnan(table.y)).tolist() == [11, 0, 11]
        part, kept = table.seen()
        assert kept.tolist() == part.tasks.tolist() == [0, 2]
        assert part.count(~np.isnan(part.y)).tolist() == [11, 11]


def test_wide_and_long_tables_are_one_problem():
    wide, long = (table.problem(Squared(), intercept=True, task_weight="samples") for table in _tables())
    W = np.random.default_rng(1).normal(size=(2, 3))
    pulls = [p.design.adjoint(p.weight * (p.y - p.design.forward(W))) for p in (wide, long)]
    assert pulls[0] == pytest.approx(pulls[1])
    assert wide.intercept(W, np.zeros(3)) == pytest.approx(long.intercept(W, np.zeros(3)))


def test_rows_keep_all_tasks_and_forget_levels():
    for table in _tables():
        part = table.without(np.array([0.0, np.nan, np.nan])).rows(np.array([0, 1]))
        assert part.levels is None
        assert part.tasks.tolist() == [0, 1, 2]
        assert len(part.y) == part.X.shape[0] == len(part.weight) == 2


def test_folds_hold_every_task_of_a_long_table_and_rows_of_a_wide_one():
    wide, long = _tables()
    for train, test in row_folds(4, long):
        assert set(long.codes[train].tolist()) == set(long.codes[test].tolist()) == {0, 1, 2}
    expected = list(KFold(4, shuffle=True, random_state=0).split(wide.X))
    for (train, test), (again, left) in zip(row_folds(4, wide), expected, strict=True):
        assert train.tolist() == again.tolist()
        assert test.tolist() == left.tolist()
    with pytest.raises(TaskError, match="every row serves all tasks"):
        row_folds(TaskStratifiedKFold(3), wide)


def test_what_a_fitted_model_shows():
    coef, level, scores = np.array([[1.0, 2.0]]), np.array([3.0]), np.array([[4.0], [5.0]])
    assert [part.tolist() for part in Wide.coefficients(coef, level)] == [[[1.0, 2.0]], [3.0]]
    shown = Single.coefficients(coef, level)
    assert shown[0].tolist() == [1.0, 2.0]
    assert isinstance(shown[1], float)
    assert Wide.scores(scores).shape == (2, 1)
    assert Single.scores(scores).tolist() == [4.0, 5.0]
    with pytest.raises(TaskError, match="fitted with task labels"):
        Long.scores(scores)
