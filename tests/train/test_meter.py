import tracemalloc

import numpy as np
import pytest
import torch

from polytask.balance import StepRecord
from polytask.train import EpochMeter, History


def records(steps=7, seed=0):
    """Steps with both tasks or one of them, the gradients sometimes not looked at."""
    rng = np.random.default_rng(seed)
    made = []
    for step in range(steps):
        present = (("a", "b", "c"), ("a", "c"), ("b",))[step % 3]
        size = len(present)
        rows = rng.standard_normal((size, 5))
        gramian = None if step == 4 else rows @ rows.T
        record = StepRecord(step, present, rng.random(size), rng.random(size), gramian, iterations=step)
        made.append((record, {task: int(rng.integers(1, 9)) for task in present}))
    return made


def fill(meter, made):
    for record, counts in made:
        meter.add(record, counts)
    return meter


def test_summary_equals_plain_means_over_records():
    made = records()
    summary = fill(EpochMeter(["a", "b", "c"]), made).summary()
    for task in "abc":
        seen = [(record, counts[task]) for record, counts in made if task in record.tasks]
        at = [record.tasks.index(task) for record, _ in seen]
        losses = [record.raw_losses[i] * count for (record, count), i in zip(seen, at, strict=True)]
        assert summary.losses[task] == pytest.approx(sum(losses) / sum(count for _, count in seen))
        assert summary.weights[task] == pytest.approx(np.mean([record.weights[task] for record, _ in seen]))
        assert summary.shares[task] == pytest.approx(np.mean([record.shares[task] for record, _ in seen]))
        norms = [record.norms[task] for record, _ in seen if record.norms is not None]
        assert summary.norms[task] == pytest.approx(np.mean(norms))
        assert summary.labels[task] == sum(count for _, count in seen)
    cosines = [record.cosines["a", "c"] for record, _ in made if record.cosines and ("a", "c") in record.cosines]
    assert summary.cosines["a", "c"] == pytest.approx(np.mean(cosines))
    pairs = [value for record, _ in made for value in (record.cosines or {}).values()]
    assert summary.conflicts == pytest.approx(np.mean([value < 0 for value in pairs]))
    assert summary.steps == len(made)
    assert summary.iterations == pytest.approx(np.mean([record.iterations for record, _ in made]))


@pytest.mark.parametrize("tasks", [3, 40])
def test_sums_are_means_however_long_the_epoch(tasks, monkeypatch):
    """Records are summed up in chunks on the way; the means are those over all records at once."""
    names = [f"t{i}" for i in range(tasks)]
    rng = np.random.default_rng(0)
    made = []
    for step in range(60):
        present = tuple(name for name in names if rng.random() < 0.8) or (names[0],)
        rows = rng.standard_normal((len(present), 7))
        made.append((StepRecord(step, present, rng.random(len(present)), rng.random(len(present)), rows @ rows.T), {}))
    whole = fill(EpochMeter(names), made).summary()
    monkeypatch.setattr("polytask.train.meter._CHUNK", 500)
    parts = fill(EpochMeter(names), made).summary()
    for name in ("weights", "shares", "norms", "cosines"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name), rel=1e-12)
    assert (parts.steps, parts.conflicts) == (whole.steps, whole.conflicts)
    every = {}
    for record, _ in made:
        for pair, value in record.cosines.items():
            every.setdefault(pair, []).append(value)
    lowest = sorted(np.mean(values) for values in every.values())[:512]
    assert sorted(whole.cosines.values()) == pytest.approx(lowest)


def test_an_epoch_of_many_tasks_and_steps_holds_no_more_than_a_short_one():
    names = [f"t{i}" for i in range(100)]
    gramian, ones = np.eye(100) + 0.1, np.ones(100)

    def held(steps):
        meter = EpochMeter(names)
        tracemalloc.start()
        for step in range(steps):
            meter.add(StepRecord(step, tuple(names), ones.copy(), ones.copy(), gramian.copy()), {})
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(meter.summary().cosines) == 512
        return size

    assert held(400) < 1.5 * held(40) < 10e6


def test_zero_gradient_has_no_cosine():
    meter = EpochMeter(["a", "b"])
    meter.add(StepRecord(0, ("a", "b"), np.ones(2), np.ones(2), np.diag([1.0, 0.0])), {"a": 1, "b": 1})
    summary = meter.summary()
    assert summary.cosines == {}
    assert summary.conflicts is None
    assert summary.norms == {"a": 1.0, "b": 0.0}


def test_absent_and_skipped_tasks():
    meter = EpochMeter(["a", "b"])
    meter.add(StepRecord(0, ("a",), np.ones(1), np.ones(1), skipped=("b",)), {"a": 2, "b": 3})
    meter.add(None, {"a": 0})
    summary = meter.summary()
    assert summary.labels == {"a": 2, "b": 3}
    assert summary.skipped == {"b": 1}
    assert "b" not in summary.losses
    meter.reset()
    assert meter.summary().labels == {"a": 0, "b": 0}


@pytest.mark.parametrize("cut", [0, 3, 7])
def test_state_round_trips_bit_for_bit(cut, tmp_path):
    made = records()
    whole = fill(EpochMeter(["a", "b", "c"]), made).summary()
    first = fill(EpochMeter(["a", "b", "c"]), made[:cut])
    torch.save(first.state_dict(), tmp_path / "state")
    second = EpochMeter(["a", "b", "c"])
    second.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    assert vars(fill(second, made[cut:]).summary()) == vars(whole)


def test_history_is_tidy_and_round_trips():
    history = History()
    meter = fill(EpochMeter(["a", "b", "c"]), records())
    history.add_training(1, 7, meter.summary(), {"shared": 0.1})
    history.add_training(2, 14, meter.summary(), {"shared": 0.05})
    assert list(history.frame.columns) == ["epoch", "step", "split", "task", "other", "quantity", "value"]
    assert history.curve("lr", "shared").tolist() == [0.1, 0.05]
    assert history.value("lr", "shared", epoch=1) == 0.1
    assert (history.epochs, history.steps) == (2, 14)
    assert history.labels_seen == {task: 2 * count for task, count in meter.summary().labels.items()}
    matrix = history.cosines()
    assert matrix.loc["a", "c"] == matrix.loc["c", "a"] == pytest.approx(meter.summary().cosines["a", "c"])
    copy = History.from_dict(history.to_dict())
    assert copy.rows == history.rows
    copy.add(3, 21, "train", "a", "loss", 0.0)
    assert history.epochs == 2
