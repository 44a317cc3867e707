"""Ties, dependent rows, zero rows and scales of 1e±10, with task weights and without, for every registered method.

Where several answers are equally good the one taken depends on the tasks' names at most, never on their order.
"""

import itertools

import numpy as np
import pytest
import torch

from polytask.balance import METHODS, GramianMethod

from .drive import NAMES, make
from .entries import ENTRIES
from .entries_jacobian import JACOBIAN_ENTRIES

HALF = 3**0.5 / 2
TIES = {
    "one against two": [[3.0, 4.0], [-3.0, 4.0], [0.0, -5.0]],
    "duplicates": [[1.0, 2.0], [1.0, 2.0], [2.0, -1.0]],
    "opposites": [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]],
    "all alike": [[1.0, 1.0]] * 3,
    "a cross": [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]],
    "a turned cross": [[2.0, 1.0], [-1.0, 2.0], [-2.0, -1.0], [1.0, -2.0]],
    "one line": [[1.0, 2.0], [2.0, 4.0], [-3.0, -6.0]],
    "a star": [[1.0, 0.0], [-0.5, HALF], [-0.5, -HALF]],
    "equal columns": [[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]],
}
LIKING = torch.tensor([2.0, 1.0, 0.5, 3.0], dtype=torch.float64)
UNITS = "its step size is in the gradients' units: at 1e10 rounding decides ties"
EXEMPT = {"modo": UNITS, "pike": UNITS, "moco": UNITS}

on_gramians = [entry for entry in ENTRIES if issubclass(METHODS[entry.name], GramianMethod)]
on_losses = [entry for entry in ENTRIES if not issubclass(METHODS[entry.name], GramianMethod)]


def tasks_for(entry, size):
    named = entry.options.get("primary") or entry.options.get("residual") or entry.options.get("reference")
    first = named if isinstance(named, str) else NAMES[0]
    return [first, *[name for name in NAMES if name != first]][:size]


def orders(size):
    return [list(order) for order in itertools.islice(itertools.permutations(range(size)), 0, None, 1 + (size > 3) * 5)]


@pytest.mark.parametrize("scale", [1e-10, 1.0, 1e10])
@pytest.mark.parametrize("entry", on_gramians, ids=str)
def test_ties_do_not_depend_on_the_order_of_tasks(entry, scale):
    if scale > 1 and entry.name in EXEMPT:
        pytest.skip(EXEMPT[entry.name])
    for rows in TIES.values():
        J = scale * torch.tensor(rows, dtype=torch.float64)
        norms, tasks = J.norm(dim=1), tasks_for(entry, len(J))
        usual = max(abs(entry.alone(float(norm))) * float(norm) for norm in norms)
        for liking in (None, LIKING[: len(J)]):
            first = None
            for order in orders(len(J)):
                p = None if liking is None else liking[order]
                w = make(entry).weights(J[order] @ J[order].T, tasks=[tasks[i] for i in order], preference=p)
                assert torch.isfinite(w).all()
                d, size = w @ J[order], max(usual, float(abs(w) @ norms[order]))
                first = d if first is None else first
                torch.testing.assert_close(d, first, rtol=0, atol=2e-6 * size)


@pytest.mark.parametrize("scale", [1e-10, 1.0, 1e10])
@pytest.mark.parametrize("entry", [entry for entry in JACOBIAN_ENTRIES if not entry.features], ids=str)
def test_ties_of_coordinates_do_not_depend_on_the_order_of_tasks(entry, scale):
    if scale > 1 and entry.name in EXEMPT:
        pytest.skip(EXEMPT[entry.name])
    for rows in TIES.values():
        J = scale * torch.tensor(rows, dtype=torch.float64)
        tasks = tasks_for(entry, len(J))
        usual = (
            scale**entry.power if entry.alone is None else max(float(entry.alone(row, 1.0).abs().max()) for row in J)
        )
        for liking in (None, LIKING[: len(J)]):
            found = [
                make(entry).direction(
                    J[order], tasks=[tasks[i] for i in order], preference=None if liking is None else liking[order]
                )
                for order in orders(len(J))
            ]
            for d in found:
                assert torch.isfinite(d).all()
                torch.testing.assert_close(d, found[0], rtol=1e-6, atol=1e-6 * usual)


@pytest.mark.parametrize("entry", on_losses, ids=str)
def test_equal_losses_of_any_size_do_not_depend_on_the_order_of_tasks(entry):
    for losses in ([1.0] * 3, [1e-10] * 3, [1e10] * 3, [1e-10, 1.0, 1e10], [2.0, 2.0, 1.0]):
        L, tasks = torch.tensor(losses, dtype=torch.float64), tasks_for(entry, 3)
        for liking in (None, LIKING[:3]):
            first = None
            for order in orders(3):
                p = None if liking is None else liking[order]
                w = make(entry).weights(L[order], tasks=[tasks[i] for i in order], preference=p)
                assert torch.isfinite(w).all()
                back = torch.empty_like(w)
                back[order] = w
                first = back if first is None else first
                # PBI's direction away from the ray is a small difference of large losses.
                torch.testing.assert_close(back, first, rtol=1e-3 if entry.name == "pbi" else 1e-9, atol=1e-12)


@pytest.mark.parametrize("entry", [entry for entry in on_gramians if "zero_row" not in entry.exempt], ids=str)
def test_a_zero_row_changes_nothing_for_the_others_with_task_weights(entry):
    rng = np.random.default_rng(3)
    for zero in ([2], [0, 3]):
        J, liking = torch.tensor(rng.standard_normal((5, 20))), torch.tensor([2.0, 1.0, 0.5, 3.0, 1.0]).double()
        J[zero] = 0.0
        tasks = ["zip", *tasks_for(entry, 5)]
        tasks = list(dict.fromkeys(tasks))[:5]
        keep = [i for i in range(5) if i not in zero]
        w = make(entry).weights(J @ J.T, tasks=tasks, preference=liking)
        torch.testing.assert_close(w[zero], liking[zero] / liking.sum())
        alone = make(entry).weights(J[keep] @ J[keep].T, tasks=[tasks[i] for i in keep], preference=liking[keep])
        if make(entry).uses_preference:
            torch.testing.assert_close(w[keep], alone, rtol=1e-9, atol=1e-12)
        else:
            # The factor is K·p over all tasks of the step, where zero rows count.
            factor = 5 * liking[keep] / liking.sum() / (len(keep) * liking[keep] / liking[keep].sum())
            torch.testing.assert_close(w[keep], alone * factor, rtol=1e-9, atol=1e-12)
