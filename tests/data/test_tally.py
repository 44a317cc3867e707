"""Rows of each class in each split, against pandas."""

import numpy as np
import pandas as pd
import pytest
import torch

from polytask.data import InputSpec, MultiTaskData, TensorSource, read_table
from polytask.data.tally import tally, too_few
from polytask.tasks import Task, TaskSet


def test_counts_are_those_of_the_rows():
    draw = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "x": draw.normal(size=200),
            "row": np.arange(200) + 0.5,
            "sold": draw.choice(["yes", "no", None], 200),
            "grade": draw.integers(1, 5, 200),
            "price": draw.normal(size=200),
        }
    )
    data = read_table(frame, ["sold", "grade", "price"], ignore=["row"])
    found = tally(data)
    assert set(found) == {"sold", "grade"}
    for task, splits in found.items():
        total = {name: sum(counts[name] for counts in splits.values()) for name in splits["train"]}
        expected = frame[task].astype(object).value_counts()
        assert total == {str(name): count for name, count in expected.items()}
        assert {split: sum(counts.values()) for split, counts in splits.items()} == {
            split: int(data.counts().loc[task, split]) for split in splits
        }


def source(labels):
    return TensorSource(torch.zeros(len(labels), 1), {"y": torch.tensor(labels)})


@pytest.mark.parametrize("missing", [-100, 1])
def test_missing_labels_and_classes_without_a_row(missing):
    task = Task("y", "multiclass", classes=3, labels=("a", "b", "c"))
    data = MultiTaskData(
        "toy",
        TaskSet([task]),
        source([0] * 9 + [missing] * 6),
        source([0] * 3 + [2] * 7),
        source([2, 2]),
        InputSpec("vector", (1,)),
        "mlp:4",
    )
    found = tally(data)["y"]
    assert found["train"] == {"a": 9, "b": 0 if missing < 0 else 6, "c": 0}
    assert found["test"] == {"a": 0, "b": 0, "c": 2}
    said = too_few({"y": found})
    assert ("target 'y': no training row of 'b', 'c': no model can know it" in said) == (missing < 0)
    assert any(line.startswith("target 'y': 3 rows of 'a' in val") for line in said)
    assert any(line.startswith("target 'y': no row of 'a', 'b' in test") for line in said)


def test_enough_rows_are_no_warning():
    assert too_few({"y": {split: {"no": 50, "yes": 5} for split in ("train", "val", "test")}}) == []
    assert too_few({"y": {"test": {"no": 0, "yes": 0}}}) == []  # no label at all is said elsewhere
