"""Rows as people hold them give the same numbers as a source of tensors."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, WeightedRandomSampler

from polytask.data import TensorSource, batches, given_rows
from polytask.errors import ConfigError, DataError
from polytask.tasks import Task
from polytask.train import Trainer

X = torch.randn(24, 8, generator=torch.Generator().manual_seed(0))
Y = X[:, 0].clone()
Y[3] = float("nan")
LABEL = (X[:, 1] > 0).long()
LABEL[5] = -100
TARGETS = {"a": Y, "b": LABEL}


class Rows(Dataset):
    def __len__(self):
        return len(X)

    def __getitem__(self, i):
        return X[i], {name: y[i] for name, y in TARGETS.items()}


def collate(rows):
    return torch.stack([x for x, _ in rows]), {n: torch.stack([y[n] for _, y in rows]) for n in TARGETS}


def missing_as_none():
    return [None if np.isnan(value) else value for value in Y.tolist()]


FORMS = {
    "tensors": lambda: (X, TARGETS),
    "arrays": lambda: (X.numpy(), {"a": Y.numpy(), "b": LABEL.numpy()}),
    "double arrays": lambda: (X.double().numpy(), {"a": Y.double().numpy(), "b": LABEL.numpy().astype(np.int32)}),
    "frame": lambda: (pd.DataFrame(X.numpy()), {"a": pd.Series(Y.numpy()), "b": LABEL.tolist()}),
    "nullable": lambda: (pd.DataFrame(X.numpy()), {"a": pd.array(missing_as_none(), dtype="Float64"), "b": LABEL}),
    "lists": lambda: (X.tolist(), {"a": missing_as_none(), "b": LABEL.tolist()}),
    "frame of targets": lambda: (X, {"a": pd.DataFrame({"a": Y.numpy()})["a"], "b": pd.Series(LABEL.numpy())}),
    "list of rows": lambda: [Rows()[i] for i in range(len(X))],
    "dataset": Rows,
    "loader": lambda: DataLoader(Rows(), batch_size=8),
    "loader with a collate_fn": lambda: DataLoader(Rows(), batch_size=8, collate_fn=collate),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_holds_the_same_rows(form):
    source = given_rows(FORMS[form](), ["a", "b"]).sources
    (part,) = batches(source, 100)
    assert torch.equal(part.inputs, X)
    assert part.inputs.dtype == torch.float32
    assert torch.equal(part.targets["a"], Y) or torch.allclose(part.targets["a"], Y, equal_nan=True, rtol=0, atol=0)
    assert torch.equal(part.targets["b"], LABEL)


def net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return _Net()


class _Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk, self.a, self.b = torch.nn.Linear(8, 4), torch.nn.Linear(4, 1), torch.nn.Linear(4, 1)

    def forward(self, x):
        z = self.trunk(x).relu()
        return {"a": self.a(z), "b": self.b(z)}


@pytest.mark.parametrize("form", FORMS)
def test_trainer_takes_every_form(form):
    tasks = [Task("a"), Task("b", "binary")]
    expected, found = net(), net()
    plain = Trainer(expected, tasks, epochs=2, batch_size=8, progress=False)
    plain.fit(TensorSource(X, TARGETS), val=TensorSource(X, TARGETS))
    trainer = Trainer(found, tasks, epochs=2, batch_size=8, progress=False)
    given = FORMS[form]()
    if isinstance(given, DataLoader):
        given = type(given)(given.dataset, batch_size=8, shuffle=True, drop_last=True, collate_fn=given.collate_fn)
    trainer.fit(given, val=FORMS[form]())
    assert all(torch.equal(p, q) for p, q in zip(expected.parameters(), found.parameters(), strict=True))
    assert trainer.history.rows == plain.history.rows
    assert trainer.evaluate(FORMS[form]()) == plain.evaluate(TensorSource(X, TARGETS))
    assert torch.equal(trainer.predict(X.double().numpy())["a"], plain.predict(X)["a"])
    assert torch.equal(trainer.predict(pd.DataFrame(X.numpy()))["a"], plain.predict(X)["a"])


def test_targets_without_a_name_belong_to_the_only_task():
    for given in ((X, Y), DataLoader(TensorDataset(X, Y), 8), TensorDataset(X, Y), list(zip(X, Y, strict=True))):
        (part,) = batches(given_rows(given, ["a"]).sources, 100)
        assert torch.equal(part.targets["a"].nan_to_num(9), Y.nan_to_num(9))
        with pytest.raises(DataError, match=r"no names, and there are 2 tasks \(a, b\)"):
            given_rows(given, ["a", "b"])


def test_a_loaders_own_choices_hold():
    given = given_rows(DataLoader(Rows(), batch_size=5), ["a", "b"])
    assert given.batching == {"batch_size": 5, "shuffle": False, "drop_last": False}
    trainer = Trainer(net(), [Task("a"), Task("b", "binary")], epochs=1, progress=False)
    assert trainer.fit(DataLoader(Rows(), batch_size=5)).steps == 5
    with pytest.raises(ConfigError, match="batches of 5 rows and batch_size= is 7; leave one out"):
        Trainer(net(), [Task("a"), Task("b", "binary")], batch_size=7).fit(DataLoader(Rows(), batch_size=5))


class Stream(IterableDataset):
    def __iter__(self):
        return iter(Rows())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda: Stream(), "neither shuffled nor resumed"),
        (lambda: DataLoader(Stream(), 4), "neither shuffled nor resumed"),
        (lambda: DataLoader(Rows(), batch_size=None), "neither shuffled nor resumed"),
        (lambda: DataLoader(Rows(), sampler=WeightedRandomSampler([1.0] * 24, 24)), "WeightedRandomSampler.*resume"),
        (lambda: DataLoader(TensorDataset(X, Y, Y), 4), r"found 3 things; name the targets"),
        (lambda: [1.0, 2.0], r"a row of list must be \(inputs, \{task: target\}\), found float"),
        (lambda: 3, r"expected a source.*found int"),
        (list, r"expected a source.*found list"),
        (lambda: (X, {"a": ["x"] * 24}), r"target 'a' must be numbers, found list of type <U1"),
        (lambda: (X, {"a": ["x", None] * 12}), r"target 'a' must be numbers, found list \(there is a text in it\)"),
        (lambda: (pd.DataFrame({"x": ["u"] * 24}), {"a": Y}), r"inputs must be numbers, found DataFrame"),
        (lambda: (X, {"a": [[1.0], [2.0, 3.0]]}), r"target 'a' must be numbers, found list"),
        (lambda: (X, {"a": [1.0] * 23}), r"same number of rows"),
        (lambda: (X, {"a": np.array([1.0] * 23 + [1e300])}), r"target 'a': 1e\+300 in row 23 is too large for float32"),
    ],
)
def test_what_is_no_rows_is_said(given, message):
    with pytest.raises(DataError, match=message):
        given_rows(given(), ["a", "b"])


def test_a_model_in_double_precision_gets_it():
    model = net().double()
    source = TensorSource(X.double(), TARGETS)
    Trainer(model, [Task("a"), Task("b", "binary")], epochs=1, progress=False).fit(source)
    assert all(p.dtype == torch.float64 for p in model.parameters())
