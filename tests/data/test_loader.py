import itertools
from collections import Counter

import numpy as np
import pytest
import torch

from polytask.data import MultiTaskLoader, TensorSource, mixing_shares
from polytask.errors import CheckpointError, ConfigError, DataError


def rows(n, task="a", offset=0):
    number = torch.arange(n) + offset
    return TensorSource(number[:, None].float(), {task: number})


def seen(batch):
    return [tuple(y.tolist()) for part in batch.parts for y in part.targets.values()]


def epoch(loader):
    return [seen(batch) for batch in loader]


THREE = {"a": rows(100, "a"), "b": rows(37, "b", 1000), "c": rows(5, "c", 2000)}
SETUPS = [
    {},
    {"mode": "alternating"},
    {"mode": "alternating", "mixing": "temperature", "temperature": 3.0},
    {"mode": "alternating", "mixing": {"a": 1, "b": 0, "c": 2.5}, "epoch": 17},
    {"mode": "joint", "epoch": "one pass of b"},
    {"mode": "alternating", "mixing": "uniform", "epoch": "one pass of b", "drop_last": False},
    {"shuffle": False, "mode": "alternating"},
]


@pytest.mark.parametrize("shuffle", [True, False])
def test_one_pass_shows_each_row_once(shuffle):
    loader = MultiTaskLoader(rows(103), batch_size=10, drop_last=False, shuffle=shuffle)
    for _ in range(3):
        sizes = []
        numbers = []
        for batch in loader:
            sizes.append(batch.size)
            numbers += batch.parts[0].targets["a"].tolist()
            assert torch.equal(batch.parts[0].inputs[:, 0].long(), batch.parts[0].targets["a"])
        assert sorted(numbers) == list(range(103))
        assert (numbers == list(range(103))) != shuffle
        assert sizes == [10] * 10 + [3]
    assert loader.epoch == 3


def test_drop_last_leaves_out_other_rows_each_pass():
    loader = MultiTaskLoader(rows(103), batch_size=10)
    left_out = []
    for _ in range(4):
        numbers = list(itertools.chain.from_iterable(seen(batch)[0] for batch in loader))
        assert len(numbers) == len(set(numbers)) == 100
        left_out.append(frozenset(range(103)) - set(numbers))
    assert len(set(left_out)) == 4


def test_alternating_proportional_pass_shows_every_source_exactly_once():
    loader = MultiTaskLoader(THREE, batch_size=4, mode="alternating", drop_last=False)
    assert len(loader) == 25 + 10 + 2
    for _ in range(3):
        numbers, order = [], []
        for batch in loader:
            assert len(batch.parts) == 1
            order.append(batch.sources[0])
            numbers += seen(batch)[0]
        assert sorted(numbers) == [*range(100), *range(1000, 1037), *range(2000, 2005)]
        assert order != sorted(order)


def test_joint_steps_hold_every_source_and_short_ones_start_again():
    loader = MultiTaskLoader(THREE, batch_size={"a": 10, "b": 8, "c": 8}, drop_last=False)
    assert len(loader) == 10
    counts = Counter()
    for batch in loader:
        assert batch.sources == ("a", "b", "c")
        assert batch.tasks == ("a", "b", "c")
        counts.update(itertools.chain.from_iterable(seen(batch)))
    assert all(counts[i] == 1 for i in range(100))
    assert all(counts[i] == 2 for i in range(1000, 1037))  # 5 batches a pass, 10 steps
    assert all(counts[i] == 10 for i in range(2000, 2005))  # smaller than a batch: one batch


def test_short_epochs_carry_on_where_the_last_one_left():
    loader = MultiTaskLoader(rows(100), batch_size=10, epoch=4)
    numbers = [i for _ in range(5) for batch in loader for i in seen(batch)[0]]
    assert Counter(numbers) == dict.fromkeys(range(100), 2)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_temperature_frequencies_follow_the_formula(temperature):
    sizes = np.array([25, 9, 1])  # batches of 4 with the rest left out
    formula = sizes ** (1 / temperature)
    formula = formula / formula.sum()
    loader = MultiTaskLoader(
        THREE, batch_size=4, mode="alternating", mixing="temperature", temperature=temperature, epoch=10
    )
    counts = Counter()
    epochs = 200
    for _ in range(epochs):
        within = Counter(batch.sources[0] for batch in loader)
        for name, share in zip(THREE, formula, strict=True):
            assert abs(within[name] - 10 * share) < 1 + 1e-9
        counts.update(within)
    found = np.array([counts[name] for name in THREE]) / (10 * epochs)
    # The rounding of one epoch has a variance of at most 1/4, so the mean over 200 epochs is within 4·0.5/√200/10.
    np.testing.assert_allclose(found, formula, atol=4 * 0.5 / np.sqrt(epochs) / 10)
    assert list(loader.shares.values()) == pytest.approx(formula)


def test_a_source_without_weight_is_never_drawn():
    loader = MultiTaskLoader(THREE, batch_size=4, mode="alternating", mixing={"a": 1, "b": 0, "c": 1}, epoch=200)
    counts = Counter(batch.sources[0] for batch in loader)
    assert counts == {"a": 100, "c": 100}


def test_a_rare_source_is_drawn_at_its_rate():
    loader = MultiTaskLoader(
        {"a": rows(8), "b": rows(8, "b")}, mode="alternating", mixing={"a": 999, "b": 1}, epoch=10, batch_size=8
    )
    drawn = sum(batch.sources[0] == "b" for _ in range(1000) for batch in loader)
    assert 1 <= drawn <= 30  # expectation 10


def test_limits_of_the_temperature():
    sizes = {"a": 90, "b": 10}
    assert mixing_shares(sizes, "temperature", 1.0) == mixing_shares(sizes, "proportional")
    hot = mixing_shares(sizes, "temperature", 1e9)
    assert hot == pytest.approx(mixing_shares(sizes, "uniform"))


@pytest.mark.parametrize("setup", SETUPS)
@pytest.mark.parametrize("stop", [0, 1, 7, "last"])
def test_resume_in_the_middle_of_an_epoch_is_exact(setup, stop):
    whole = MultiTaskLoader(THREE, batch_size=4, seed=3, **setup)
    stop = len(whole) if stop == "last" else stop
    expected = [epoch(whole) for _ in range(4)]

    first = MultiTaskLoader(THREE, batch_size=4, seed=3, **setup)
    assert epoch(first) == expected[0]
    running = iter(first)
    before = [seen(next(running)) for _ in range(stop)]
    state = first.state_dict()

    second = MultiTaskLoader(THREE, batch_size=4, seed=3, **setup)
    second.load_state_dict(state)
    got = [epoch(second) for _ in range(2)]
    if stop == len(whole):
        assert before == expected[1]
        assert got == expected[2:4]
    else:
        assert before + got[0] == expected[1]
        assert got[1] == expected[2]


def test_state_survives_json():
    import json

    loader = MultiTaskLoader(THREE, batch_size=4, mode="alternating")
    next(iter(loader))
    state = json.loads(json.dumps(loader.state_dict()))
    MultiTaskLoader(THREE, batch_size=4, mode="alternating").load_state_dict(state)


def test_a_look_at_the_first_batch_changes_nothing():
    loader = MultiTaskLoader(rows(40), batch_size=4)
    first = seen(next(iter(loader)))
    assert epoch(loader)[0] == first


def test_set_epoch_goes_anywhere():
    setup = {"batch_size": 4, "mode": "alternating", "mixing": "uniform"}
    loader = MultiTaskLoader(THREE, **setup)
    expected = [epoch(loader) for _ in range(4)]
    loader.set_epoch(1)
    assert epoch(loader) == expected[1]
    other = MultiTaskLoader(THREE, **setup)
    other.set_epoch(3)
    assert epoch(other) == expected[3]


def test_state_of_another_loader_is_refused():
    state = MultiTaskLoader(rows(40), batch_size=4).state_dict()
    with pytest.raises(CheckpointError, match=r"batch_sizes: saved \{'data': 4\}, here \{'data': 5\}"):
        MultiTaskLoader(rows(40), batch_size=5).load_state_dict(state)
    with pytest.raises(CheckpointError, match="seed: saved 0, here 1"):
        MultiTaskLoader(rows(40), batch_size=4, seed=1).load_state_dict(state)


@pytest.mark.parametrize("setup", SETUPS)
def test_the_seed_decides_and_global_random_numbers_are_untouched(setup):
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002
    torch_state = torch.get_rng_state()
    runs = [epoch(MultiTaskLoader(THREE, batch_size=4, seed=seed, **setup)) for seed in (0, 0, 1)]
    assert runs[0] == runs[1]
    assert (runs[0] != runs[2]) == setup.get("shuffle", True)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_one_more_source_does_not_change_the_order_of_the_others():
    two = MultiTaskLoader({"a": THREE["a"], "b": THREE["b"]}, batch_size=4)
    three = MultiTaskLoader({"c": THREE["c"], **two.sources}, batch_size=4)
    for old, new in zip(two, three, strict=True):
        assert seen(old) == seen(new)[1:]


def test_without_shuffling_sources_take_turns():
    loader = MultiTaskLoader({"a": rows(8), "b": rows(4, "b")}, batch_size=2, mode="alternating", shuffle=False)
    assert [batch.sources[0] for batch in loader] == ["a", "b", "a", "a", "b", "a"]


def test_describe_epoch_says_the_consequences():
    assert (
        "one pass over the 103 rows in batches of 10, 3 rows of a pass left out"
        in MultiTaskLoader(rows(103), batch_size=10).describe_epoch()
    )
    words = MultiTaskLoader(THREE, batch_size=4, mode="alternating", mixing="uniform").describe_epoch()
    assert "An epoch is 35 steps, each on one source." in words
    assert "c: 33.3% of the steps, each row seen 11.7 times" in words
    words = MultiTaskLoader(THREE, batch_size=4).describe_epoch()
    assert "each with a part of every source" in words
    assert "b: each row seen 2.78 times (37 rows in batches of 4, 1 row of a pass left out)" in words


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "jiont"}, "unknown mode 'jiont'; did you mean 'joint'"),
        ({"mode": "alternating", "mixing": "temprature"}, "unknown mixing 'temprature'; did you mean 'temperature'"),
        ({"mode": "alternating", "mixing": "temperature", "temperature": 0.0}, "temperature must be .* found 0.0"),
        ({"mode": "alternating", "mixing": {"a": 1, "b": 1}}, "no weight for 'c'"),
        ({"mode": "alternating", "mixing": {"a": 1, "b": 1, "d": 1}}, "unknown source in mixing 'd'"),
        ({"mode": "alternating", "mixing": {"a": 1, "b": -2, "c": 1}}, "source 'b' .* found -2"),
        ({"mode": "alternating", "mixing": {"a": 0, "b": 0, "c": 0}}, "all mixing weights are 0"),
        ({"mixing": "uniform"}, "no effect in joint steps"),
        ({"epoch": "one pass of d"}, "unknown source in epoch 'd'"),
        ({"epoch": "two passes"}, "'two passes'"),
        ({"epoch": 0}, "at least 1 step"),
        ({"batch_size": 0}, "batch_size must be at least 1, found 0 for source 'a'"),
        ({"batch_size": {"a": 3}}, "no size for source 'b'"),
        ({"batch_size": {"a": 3, "x": 3}}, "unknown source in batch_size 'x'"),
        ({"seed": -1}, "found -1"),
        (
            {"mode": "alternating", "mixing": {"a": 1, "b": 0, "c": 1}, "epoch": "one pass of b"},
            "'b': its mixing weight is 0",
        ),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        MultiTaskLoader(THREE, **options)


def test_empty_sources_are_refused():
    with pytest.raises(DataError, match="source 'b' has no rows"):
        MultiTaskLoader({"a": rows(3), "b": rows(0)})
    with pytest.raises(DataError, match="at least one source"):
        MultiTaskLoader({})


def test_to_moves_every_tensor():
    source = TensorSource({"x": torch.zeros(4, 2)}, {"a": torch.zeros(4)})
    batch = next(iter(MultiTaskLoader(source, batch_size=4))).to("meta")
    assert batch.parts[0].inputs["x"].is_meta
    assert batch.parts[0].targets["a"].is_meta
    assert batch.size == 4


def test_batches_are_fetched_whole_not_row_by_row():
    calls = []

    class Counting:
        def __len__(self):
            return 336_000

        def batch(self, index):
            calls.append(len(index))
            return torch.zeros(len(index), 1), {}

    list(MultiTaskLoader(Counting(), batch_size=4096))
    assert calls == [4096] * 82
