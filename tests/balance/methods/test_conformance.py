"""What holds for every method: one list of entries, one suite."""

import inspect
import io
import json
import math
import re
from typing import ClassVar

import numpy as np
import pytest
import torch

from polytask.balance import METHODS, GramianMethod, JacobianMethod, LossMethod, Solution, get_method
from polytask.balance.contract.options import Choice, Flag, PerTask, Real, TaskName, Whole
from polytask.balance.contract.penalty import PenaltyMethod
from polytask.errors import CheckpointError, ConfigError, NonFiniteError

from .drive import NAMES, evidence, make, rows, run, solve
from .entries import ENTRIES
from .entries_jacobian import JACOBIAN_ENTRIES
from .entries_penalty import PENALTY_ENTRIES

conforming = pytest.mark.parametrize("entry", ENTRIES, ids=str)
ALL = ENTRIES + JACOBIAN_ENTRIES + PENALTY_ENTRIES
of_any_kind = pytest.mark.parametrize("entry", ALL, ids=str)


def frozen(state):
    """State as comparable plain values."""
    if isinstance(state, dict):
        return {key: frozen(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return [frozen(value) for value in state]
    return state.tolist() if torch.is_tensor(state) else state


def skip_exempt(entry, test):
    if test in entry.exempt:
        pytest.skip(entry.exempt[test])


def test_every_registered_method_is_in_the_list():
    assert {entry.name for entry in ALL} == set(METHODS)


def test_exemptions_name_tests_and_give_reasons():
    tests = {name.removeprefix("test_") for name in globals() if name.startswith("test_")} | {"json"}
    for entry in ENTRIES:
        assert set(entry.exempt) <= tests
        assert all(entry.exempt.values())


@of_any_kind
def test_the_card_is_filled_in(entry):
    card = METHODS[entry.name].card
    assert card.title
    assert card.paper
    assert card.url.startswith("https://")
    assert card.idea.endswith(".")
    assert card.cost
    assert card.verified
    assert "order of tasks" in card.invariances


@of_any_kind
def test_the_class_is_documented_and_final(entry):
    method = METHODS[entry.name]
    assert issubclass(method, (LossMethod, GramianMethod, JacobianMethod, PenaltyMethod))
    assert method.__final__
    for section in ("Examples:", "References:"):
        assert section in method.__doc__
    assert ("Raises:" in method.__doc__) == bool(method.limits)
    assert all(f"{name}: " in method.__doc__ for name in method.limits)
    assert set(method.limits) == set(inspect.signature(method).parameters)


def outside(limit):
    """Values a limit must refuse, said without asking it."""
    if isinstance(limit, PerTask):
        return [*outside(limit.each), *({"age": bad} for bad in outside(limit.each) if not isinstance(bad, str))]
    wrong = ["nonsense", float("nan"), b"bytes", [[]]]
    if isinstance(limit, Real):
        below = [limit.low - 1e-9 * max(1, abs(limit.low))] if limit.low > -math.inf else []
        above = [limit.high + 1e-9 * max(1, abs(limit.high))] if limit.high < math.inf else []
        edges = [limit.low] * limit.open_low + [limit.high] * limit.open_high
        return [*wrong, math.inf, -math.inf, True, None, *below, *above, *edges]
    if isinstance(limit, Whole):
        return [*wrong, limit.low - 1, limit.low + 0.5, True, *([] if limit.optional else [None])]
    if isinstance(limit, Flag):
        return [*wrong, 0, 1, None]
    if isinstance(limit, TaskName):
        return [float("nan"), b"bytes", "", 0, True, *([] if limit.optional else [None])]
    return [*wrong, "", 0, True, None]


@of_any_kind
def test_options_outside_their_limits_are_refused_by_the_constructor(entry):
    """Every option of every class, by keyword and through the registry, whatever the constructor does itself."""
    method = METHODS[entry.name]
    for option, limit in method.limits.items():
        for bad in outside(limit):
            message = rf"{method.__name__}\({option}=…\) must be .*, found {re.escape(repr(bad))}$"
            with pytest.raises(ConfigError, match=message):
                method(**{**entry.options, option: bad})
            with pytest.raises(ConfigError, match=message):
                get_method(entry.name, **{**entry.options, option: bad})


def test_a_constructor_that_checks_nothing_is_checked_all_the_same():
    class Careless(LossMethod):
        limits: ClassVar = {"rate": Real(0, 1)}

        def __init__(self, rate=0.5):
            self.half = rate / 2
            super().__init__()
            self.rate = rate

        def solve(self, evidence):
            return Solution(np.ones(evidence.size))

    class Inheriting(Careless):
        limits: ClassVar = {"name": TaskName()}

        def __init__(self, name):
            super().__init__(rate=7)
            self.name = name

    class Silent(Careless):
        pass

    assert Careless().half == 0.25
    assert Careless(1).rate == 1
    for kind in (Careless, Silent):
        for call in (lambda kind=kind: kind(2), lambda kind=kind: kind(rate="x"), lambda kind=kind: kind(rate=-0.1)):
            with pytest.raises(ConfigError, match=rf"{kind.__name__}\(rate=…\) must be a number in \[0, 1\]"):
                call()
    # The options of a class are those of its own constructor; what it hands to its base is its own affair.
    assert Inheriting("a").rate == 7
    with pytest.raises(ConfigError, match=r"Inheriting\(name=…\)"):
        Inheriting("")
    with pytest.raises(TypeError, match="unexpected keyword"):
        Careless(ratio=1)


def test_limits_say_what_is_allowed():
    assert [Real(0).allows(x) for x in (0, 1.5, -1, float("inf"))] == [True, True, False, False]
    assert [Real(0, 1, open_low=True, open_high=True).allows(x) for x in (0, 0.5, 1)] == [False, True, False]
    assert [Choice(("a", "b")).allows(x) for x in ("a", "c", 1)] == [True, False, False]
    assert [PerTask(Real(0)).allows(x) for x in (1.0, {"t": 2.0}, {"t": -1.0})] == [True, True, False]
    words = (Real(), Real(0), Real(high=1, open_high=True), Real(0, 1, open_low=True), Choice(("a",)), PerTask(Real()))
    assert [str(limit) for limit in words] == [
        "a finite number",
        "a finite number ≥ 0",
        "a finite number < 1",
        "a number in (0, 1]",
        "one of 'a'",
        "a finite number, or one per task name",
    ]


@conforming
def test_another_order_of_tasks_gives_the_same_weights(entry):
    order = [3, 0, 4, 1, 2]
    straight, mixed = make(entry), make(entry)
    one = run(straight, range(7))
    two = run(mixed, range(7), [NAMES[i] for i in order])
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a[order], b, rtol=1e-9, atol=1e-12)


@conforming
def test_zero_row(entry):
    """A task with a zero gradient changes nothing for the others and gets its preference."""
    skip_exempt(entry, "zero_row")
    J = rows("plain", 4, 1.0, 0)
    with_zero = np.insert(J, 2, 0.0, axis=0)
    method = make(entry)
    without = method.weights(torch.tensor(J @ J.T), tasks=[NAMES[i] for i in (0, 1, 3, 4)])
    given = method.weights(torch.tensor(with_zero @ with_zero.T), tasks=NAMES)
    np.testing.assert_allclose(np.delete(given.numpy(), 2), without.numpy(), rtol=1e-12)
    assert given[2] == pytest.approx(1 / 5)
    alone = method.weights(torch.zeros(2, 2, dtype=torch.float64))
    np.testing.assert_allclose(alone, [0.5, 0.5])


@conforming
def test_a_single_task_gets_the_stated_weight(entry):
    for d in (1e-3, 1.0, 50.0):
        method = make(entry)
        w = solve(method, evidence(method, ["age"], 0, np.array([d]), J=np.array([[0.6 * d, 0.8 * d]]))).weights
        np.testing.assert_allclose(w, [entry.alone(d)], rtol=1e-9)


@conforming
def test_two_tasks(entry):
    skip_exempt(entry, "two_tasks")
    for a, c in ((1.0, 1.0), (1.0, 9.0), (1e-6, 4.0), (1e4, 0.01)):
        for rho in (-0.99, -0.5, -0.01, 0.0, 0.3, 0.9):
            b = rho * (a * c) ** 0.5
            w = make(entry).weights(torch.tensor([[a, b], [b, c]], dtype=torch.float64))
            np.testing.assert_allclose(w, entry.two(a, b, c), rtol=1e-6, atol=1e-9)


@conforming
def test_few_columns(entry):
    """Fewer parameters than tasks, or dependent gradients: finite weights, and a step that is not noise."""
    skip_exempt(entry, "few_columns")
    for kind in ("few_columns", "duplicate", "antiparallel", "nearly_parallel"):
        for size in (2, 3, 5, 12):
            for spread in (0.0, 4.0):
                J = torch.tensor(rows(kind, size, spread, 0))
                w = make(entry).weights(J @ J.T)
                assert torch.isfinite(w).all()
                w32 = make(entry).weights((J @ J.T).float())
                assert torch.isfinite(w32).all()


@conforming
def test_single_precision(entry):
    """Inner products in float32 give nearly the weights of those in float64."""
    skip_exempt(entry, "single_precision")
    for size in (2, 3, 8, 40):
        for spread in (0.0, 3.0):
            J = torch.tensor(rows("plain", size, spread, 3))
            exact = make(entry).weights(J @ J.T)
            rough = make(entry).weights(J.float() @ J.float().T)
            assert rough.dtype == torch.float32
            np.testing.assert_allclose(rough.double(), exact, rtol=2e-3, atol=2e-5 * float(exact.abs().max()))


@conforming
def test_scale_law(entry):
    skip_exempt(entry, "scale_law")
    for size in (2, 3, 9):
        J = torch.tensor(rows("plain", size, 1.0, 1))
        w = make(entry).weights(J @ J.T)
        for s in (1e-6, 1e5):
            scaled = make(entry).weights(s * s * J @ J.T)
            np.testing.assert_allclose(scaled, w * s**entry.power, rtol=1e-7, atol=1e-9 * s**entry.power)


@conforming
def test_row_scaling(entry):
    """Loss scales: a method whose direction ignores them says so, and one that does not, does not."""
    skip_exempt(entry, "row_scaling")
    J = torch.tensor(rows("plain", 5, 0.0, 2))
    s = torch.tensor([1e-3, 0.5, 1.0, 20.0, 3.0], dtype=torch.float64)
    d = make(entry).direction(J)
    scaled = make(entry).direction(J * s[:, None])
    cosine = float(d @ scaled / d.norm() / scaled.norm())
    assert (cosine > 1 - 1e-9) == entry.per_row


@conforming
def test_unlike_norms(entry):
    """Norms of e^±4 and of e^±10: the weights are those of rescaled units, to working precision, and finite."""
    skip_exempt(entry, "unlike_norms")
    for size in (2, 3, 8):
        for spread in (4.0, 10.0):
            J = torch.tensor(rows("plain", size, spread, 5))
            w = make(entry).weights(J @ J.T)
            assert torch.isfinite(w).all()
            again = make(entry).weights(J.flip(0) @ J.flip(0).T, tasks=[str(i) for i in reversed(range(size))])
            np.testing.assert_allclose(again.flip(0), w, rtol=1e-6, atol=1e-12 * float(w.abs().max()))


@conforming
def test_an_absent_task_freezes(entry):
    """What is learned about a task does not move while it is absent, and does not depend on who else was there."""
    method = make(entry)
    run(method, range(3))
    before = {name: values.get("tag") for name, values in method.state_dict().items()}
    run(method, range(3, 5), [name for name in NAMES if name != "tag"])
    assert {name: values.get("tag") for name, values in method.state_dict().items()} == before
    assert len(run(method, range(5, 6))[0]) == len(NAMES)


@conforming
def test_solving_changes_no_state(entry):
    method = make(entry)
    run(method, range(4))
    state = frozen(method.state_dict())
    solve(method, evidence(method, NAMES, 9))
    assert frozen(method.state_dict()) == state


@conforming
@pytest.mark.parametrize("through", ["json", "torch"])
def test_a_saved_and_restored_method_continues_as_if_uninterrupted(entry, through):
    straight, saved, restored = make(entry), make(entry), make(entry)
    whole = run(straight, range(11))
    run(saved, range(5))
    if through == "json":
        skip_exempt(entry, "json")
        restored.load_state_dict(json.loads(json.dumps(saved.state_dict())))
    else:
        buffer = io.BytesIO()
        torch.save(saved.state_dict(), buffer)
        buffer.seek(0)
        restored.load_state_dict(torch.load(buffer, weights_only=True))
    for a, b in zip(whole[5:], run(restored, range(5, 11)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert frozen(restored.state_dict()) == frozen(straight.state_dict())


@of_any_kind
def test_state_of_another_method_is_refused(entry):
    with pytest.raises(CheckpointError, match="another method"):
        make(entry).load_state_dict({"something": {}})


@conforming
def test_reset_forgets_everything(entry):
    method = make(entry)
    first = run(method, range(7))
    method.reset()
    for a, b in zip(first, run(method, range(7)), strict=True):
        np.testing.assert_array_equal(a, b)


@conforming
def test_the_seed_alone_decides(entry):
    one, two, other = run(make(entry), range(6)), run(make(entry), range(6)), run(make(entry), range(6), seed=8)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)
    differs = any(not np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert differs == entry.random


@conforming
def test_preference_is_used_as_declared(entry):
    method = make(entry)
    given = evidence(method, NAMES, 3)
    liking = np.array([0.1, 0.2, 0.4, 0.2, 0.1])
    plain = solve(method, given).weights
    liked = solve(method, type(given)(given.tasks, given.losses, liking, given.gramian, 3, 1, 7)).weights
    assert np.array_equal(plain, liked) != method.uses_preference


@conforming
def test_weights_keep_dtype_and_refuse_what_is_not_finite(entry):
    method = make(entry)
    losses = torch.tensor([1.0, 2.0, 3.0])
    broken = torch.tensor([1.0, float("nan"), 3.0])
    if isinstance(method, GramianMethod):
        assert method.weights(torch.eye(3)).dtype == torch.float32
        with pytest.raises(NonFiniteError, match="finite"):
            method.weights(torch.diag(broken))
    else:
        assert method.weights(losses).dtype == torch.float32
        with pytest.raises(NonFiniteError, match="finite"):
            method.weights(broken)


@of_any_kind
def test_repr_shows_the_options(entry):
    text = repr(make(entry))
    assert text.startswith(METHODS[entry.name].__name__)
    for name, value in entry.options.items():
        assert f"{name}={value!r}" in text
