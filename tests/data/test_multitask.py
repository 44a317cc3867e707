import pytest
import torch

from polytask.data import InputSpec, MapSource, MultiTaskData, TensorSource
from polytask.errors import DataError
from polytask.tasks import Task, TaskSet


def toy(shift=0.0, bump=0.0):
    age = torch.tensor([30.0, torch.nan, 50.0, torch.nan])
    sex = torch.tensor([0, 1, -100, 1])
    x = torch.arange(8.0).reshape(4, 2) + bump
    rows = TensorSource(x, {"age": age, "sex": sex})
    other = TensorSource(x[:1], {"age": age[:1]})
    tasks = TaskSet([Task("age", shift=shift), Task("sex", "binary")])
    return MultiTaskData("toy", tasks, rows, other, other, InputSpec("vector", (2,)), "mlp:8", notes="Made up.")


def test_counts_are_of_present_labels():
    counts = toy().counts()
    assert counts.loc["age"].to_dict() == {"train": 2, "val": 1, "test": 1}
    assert counts.loc["sex"].to_dict() == {"train": 3, "val": 0, "test": 0}
    data = toy()
    table = data.counts()
    table.loc["age", "train"] = 99
    assert data.counts().loc["age", "train"] == 2


def test_fingerprint_changes_with_every_part():
    assert toy().fingerprint == toy().fingerprint
    assert len({toy().fingerprint, toy(shift=1.0).fingerprint, toy(bump=1.0).fingerprint}) == 3


def test_fingerprint_of_sources_without_digest():
    class Plain:
        def __init__(self, value):
            self.value = value

        def __len__(self):
            return 3

        def batch(self, index):
            return torch.full((len(index), 1), self.value), {"age": index.float()}

    def made(source):
        return MultiTaskData("x", TaskSet([Task("age")]), source, source, source, InputSpec("vector", (1,)), "mlp:8")

    assert made(Plain(1.0)).fingerprint == made(Plain(1.0)).fingerprint
    assert made(Plain(1.0)).fingerprint != made(Plain(2.0)).fingerprint
    assert made(MapSource([1, 2])).fingerprint != made(MapSource([1])).fingerprint


def test_only_keeps_rows_and_order_asked_for():
    data = toy().only(["sex"])
    assert data.tasks.names == ("sex",)
    assert len(data.train) == 4
    assert list(data.train.batch(torch.tensor([0]))[1]) == ["sex"]
    with pytest.raises(DataError, match="unknown task 'sexx'; did you mean 'sex'"):
        toy().only(["sexx"])
    with pytest.raises(DataError, match="at least one task"):
        toy().only([])


def test_describe_states_shares():
    words = toy().describe()
    assert "toy: 6 rows (4 train, 1 val, 1 test), vectors of 2" in words
    assert "age: regression, 4 labels, 33.3% missing" in words
    assert "Made up." in words


def test_input_spec_round_trip():
    spec = InputSpec("table", numeric=2, cardinalities=(3, 4))
    assert InputSpec.from_dict(spec.to_dict()) == spec
