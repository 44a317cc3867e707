import pickle

import pytest
import torch

from polytask.data import MapSource, TensorSource, batches, only
from polytask.errors import DataError


def test_rows_come_in_the_order_asked_for():
    source = TensorSource({"x": torch.arange(12.0).reshape(6, 2)}, {"a": torch.arange(6)})
    inputs, targets = source.batch(torch.tensor([4, 0, 4]))
    assert inputs["x"][:, 0].tolist() == [8.0, 0.0, 8.0]
    assert targets["a"].tolist() == [4, 0, 4]


def test_a_batch_is_a_copy():
    source = TensorSource(torch.zeros(3, 1), {"a": torch.zeros(3)})
    inputs, targets = source.batch(torch.arange(3))
    inputs += 1
    targets["a"] += 1
    assert source.inputs.sum() == 0
    assert source.targets["a"].sum() == 0


def test_different_numbers_of_rows_are_named():
    with pytest.raises(DataError, match=r"input 'inputs': 3 rows, target 'age': 2 rows"):
        TensorSource(torch.zeros(3, 1), {"age": torch.zeros(2)})
    with pytest.raises(DataError, match=r"target 'age': a scalar"):
        TensorSource(torch.zeros(3, 1), {"age": torch.tensor(1.0)})
    with pytest.raises(DataError, match="empty dictionary"):
        TensorSource({}, {"age": torch.zeros(2)})


def test_subset_only_and_digest():
    source = TensorSource(torch.arange(4.0)[:, None], {"a": torch.arange(4), "b": torch.arange(4.0)})
    assert source.subset(torch.tensor([3, 1])).targets["b"].tolist() == [3.0, 1.0]
    assert list(only(source, ["b"]).batch(torch.tensor([0]))[1]) == ["b"]
    assert only(source, ["b"]).inputs is source.inputs
    same = TensorSource(torch.arange(4.0)[:, None], {"a": torch.arange(4), "b": torch.arange(4.0)})
    assert source.digest() == same.digest()
    same.targets["b"][2] += 1e-6
    assert source.digest() != same.digest()


def test_digest_reads_scalars_of_every_type():
    for dtype in (torch.bool, torch.int32, torch.float64, torch.bfloat16):
        assert len(TensorSource(torch.ones(2, 1, dtype=dtype), {}).digest()) == 64


def test_map_source_fills_the_gaps_by_type():
    rows = [
        (torch.zeros(2), {"age": 30.0, "box": torch.tensor([1.0, 2.0])}),
        (torch.ones(2), {"sex": 1}),
        (torch.ones(2), {"sex": torch.tensor(0, dtype=torch.int8), "flag": True}),
    ]
    inputs, targets = MapSource(rows).batch(torch.tensor([1, 0, 2]))
    assert inputs[:, 0].tolist() == [1.0, 0.0, 1.0]
    torch.testing.assert_close(targets["age"], torch.tensor([torch.nan, 30.0, torch.nan]), equal_nan=True)
    assert targets["sex"].tolist() == [1, -100, 0]
    assert targets["flag"].tolist() == [-100, -100, 1]
    assert targets["box"].shape == (3, 2)
    assert targets["box"][0].isnan().all()


def test_map_source_leaves_out_a_task_no_row_has():
    rows = [(torch.zeros(2), {"age": 30.0}), (torch.ones(2), {"sex": 1})]
    assert list(MapSource(rows).batch(torch.tensor([0]))[1]) == ["age"]
    assert list(only(MapSource(rows), ["sex"]).batch(torch.tensor([0, 1]))[1]) == ["sex"]
    rows = [(torch.zeros(2), {"age": None}), (torch.ones(2), {"age": None, "sex": 1})]
    assert list(MapSource(rows).batch(torch.tensor([0, 1]))[1]) == ["sex"]


def test_map_source_with_own_collate():
    rows = [("abc", {"n": 3.0}), ("de", {"n": 2.0})]
    source = MapSource(rows, collate=lambda texts: torch.tensor([[len(t)] for t in texts]))
    assert source.batch(torch.tensor([0, 1]))[0].tolist() == [[3], [2]]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([torch.zeros(2)], r"row 0 of list: expected \(inputs, \{task: target\}\), found Tensor"),
        ([(1, 2, 3)], "found a tuple of 3"),
        ([(torch.zeros(1), {"sex": "male"})], "target 'sex' of row 0 is 'male'"),
        (
            [(torch.zeros(1), {"box": torch.zeros(2)}), (torch.zeros(1), {"box": torch.zeros(3)})],
            r"target 'box' has shape \(2,\) in row 0 and \(3,\) in row 1",
        ),
    ],
)
def test_map_source_names_the_bad_row(rows, message):
    with pytest.raises(DataError, match=message):
        MapSource(rows).batch(torch.arange(len(rows)))


def test_map_source_refuses_an_iterable_dataset():
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            yield torch.zeros(1), {}

    with pytest.raises(DataError, match=r"Stream lacks one of them\. Read an iterable dataset into a list first"):
        MapSource(Stream())


def test_batches_covers_every_row_once_in_order():
    source = TensorSource(torch.zeros(7, 1), {"a": torch.arange(7)})
    parts = list(batches(source, 3))
    assert [part.targets["a"].tolist() for part in parts] == [[0, 1, 2], [3, 4, 5], [6]]


def _many(rows: int = 40) -> TensorSource:
    generator = torch.Generator().manual_seed(0)
    floats = {f"f{k}": torch.randn(rows, generator=generator) for k in range(6)}
    wholes = {f"w{k}": torch.randint(0, 3, (rows,), generator=generator) for k in range(5)}
    return TensorSource(torch.eye(rows), {**floats, "wide": torch.randn(rows, 2, generator=generator), **wholes})


def test_batches_of_many_tasks_are_the_rows_in_the_tasks_order() -> None:
    source, index = _many(), torch.tensor([3, 0, 39, 3])
    _, targets = source.batch(index)
    assert list(targets) == list(source.targets)
    assert all(torch.equal(targets[name], y[index]) for name, y in source.targets.items())
    targets["f0"].zero_()
    assert all(torch.equal(source.batch(index)[1][name], y[index]) for name, y in source.targets.items())


def test_labels_that_are_changed_or_replaced_are_those_of_the_next_batch() -> None:
    source, index = _many(), torch.tensor([1, 2])
    source.batch(index)
    source.targets["f1"][1] = 7.0
    source.targets["w2"] = torch.full((40,), 2)
    source.targets["new"] = torch.full((40,), 0.5)
    del source.targets["f3"]
    _, targets = source.batch(index)
    assert targets["f1"][0] == 7.0
    assert targets["w2"].tolist() == [2, 2]
    assert targets["new"].tolist() == [0.5, 0.5]
    assert "f3" not in targets


def test_a_source_travels_and_is_saved_without_the_copies_it_made() -> None:
    source = _many()
    size = len(pickle.dumps(source))
    source.batch(torch.tensor([0]))
    again = pickle.dumps(source)
    assert len(again) == size
    index = torch.tensor([5, 6])
    assert all(torch.equal(y, source.targets[n][index]) for n, y in pickle.loads(again).batch(index)[1].items())
