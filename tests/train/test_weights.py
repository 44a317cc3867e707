"""Weights from the source through the loader and the loop: the same steps as with repeated rows."""

import pickle

import pytest
import torch
from torch import nn

import polytask as pt
from polytask.data import Batch, MultiTaskLoader, Part, TensorSource
from polytask.data.source import only, part_of, together
from polytask.train.forward import Forward


def model():
    torch.manual_seed(0)
    return pt.HardSharing(nn.Sequential(nn.Linear(3, 4), nn.Tanh()), TASKS, seed=0)


TASKS = pt.TaskSet([pt.Task("a"), pt.Task("b", "binary"), pt.Task("c")])
X = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
Y = {
    "a": X[:, 0].clone(),
    "b": (X[:, 1] > 0).long(),
    "c": X[:, 2].clone(),
}
W = torch.tensor([2, 0, 1, 3, 1, 2, 1, 0, 1, 1, 2, 1])


def trained(source, size=100, **options):
    net = model()
    trainer = pt.Trainer(net, TASKS, epochs=3, lr=0.1, optimizer="sgd", **options)
    trainer.fit(pt.MultiTaskLoader(source, batch_size=size, shuffle=False, drop_last=False))
    return net, trainer


def test_training_with_weights_is_training_with_repeated_rows():
    weighed, one = trained(TensorSource(X, Y, dict.fromkeys(Y, W)))
    repeated, two = trained(
        TensorSource(X.repeat_interleave(W, 0), {name: y.repeat_interleave(W, 0) for name, y in Y.items()})
    )
    for ours, theirs in zip(weighed.parameters(), repeated.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    source = TensorSource(X, Y, dict.fromkeys(Y, W))
    other = TensorSource(X.repeat_interleave(W, 0), {name: y.repeat_interleave(W, 0) for name, y in Y.items()})
    ours, theirs = one.evaluate(source), two.evaluate(other)
    assert ours.losses == pytest.approx(theirs.losses, rel=1e-5)
    for name in Y:
        assert ours.metrics[name] == pytest.approx(theirs.metrics[name], rel=1e-5)


def test_accumulated_micro_batches_are_one_batch():
    source = TensorSource(X, Y, {"a": W, "b": W})
    forward = Forward(model(), TASKS, device=torch.device("cpu"))
    parts = [part_of(source, torch.arange(0, 5)), part_of(source, torch.arange(5, 12))]
    whole = forward.losses(Batch((part_of(source, torch.arange(12)),), ("data",)))
    pieces = [Batch((part,), ("data",)) for part in parts]
    masses = [forward.counts(piece) for piece in pieces]
    for name in Y:
        total = sum(mass[name][1] for mass in masses)
        joined = sum(forward.losses(p).values[name] * m[name][1] / total for p, m in zip(pieces, masses, strict=True))
        torch.testing.assert_close(joined, whole.values[name])
    torch.testing.assert_close(forward.losses(Batch(tuple(parts), ("one", "two"))).values, whole.values)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_weights_of_one_are_todays_numbers(accumulate):
    ones = TensorSource(X, Y, {name: torch.ones(12) for name in Y})
    weighed, _ = trained(ones, 12 // accumulate, accumulate=accumulate)
    plain, _ = trained(TensorSource(X, Y), 12 // accumulate, accumulate=accumulate)
    for ours, theirs in zip(weighed.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


def test_weights_follow_their_rows_everywhere():
    source = TensorSource(X, Y, {"a": W})
    index = torch.tensor([3, 0])
    assert part_of(source, index).weights["a"].tolist() == [3, 2]
    assert source.subset(index).weights["a"].tolist() == [3, 2]
    assert len(part_of(source, index)) == 2  # a pair still, which loops take apart
    assert pickle.loads(pickle.dumps(part_of(source, index))).weights["a"].tolist() == [3, 2]
    assert part_of(only(source, ["b"]), index).weights is None
    both = together([source, source.subset(index)])
    assert part_of(both, torch.tensor([12, 3, 13])).weights["a"].tolist() == [3, 3, 2]
    batch = next(iter(MultiTaskLoader(source, batch_size=4)))
    assert batch.only(["a"]).to("cpu").parts[0].weights["a"].shape == (4,)
    assert source.digest() != TensorSource(X, Y).digest()


def test_classes_are_balanced_over_the_training_rows():
    tasks = pt.TaskSet([pt.Task("b", "binary", class_weight="balanced")])
    rare = torch.tensor([1, 1] + [0] * 10)
    trainer = pt.Trainer(pt.HardSharing(nn.Linear(3, 4), tasks), tasks, epochs=1)
    trainer.fit(TensorSource(X, {"b": rare}))
    assert trainer._forward.tasks["b"].class_weight == pytest.approx((12 / 20, 12 / 4))
    assert Part(X, {"b": rare}).weights is None
