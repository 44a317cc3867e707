import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from polytask import data as room
from polytask.data import load
from polytask.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def data():
    return load("multidigits")


def test_sizes_and_types(data):
    assert {split: len(source) for split, source in data.splits.items()} == {"train": 4000, "val": 1000, "test": 1000}
    inputs, targets = data.train.batch(torch.arange(4000))
    assert inputs.shape == (4000, 1, 14, 14)
    assert inputs.dtype == torch.float32
    assert inputs.min() == 0
    assert inputs.max() == 1
    assert {name: y.dtype for name, y in targets.items()} == dict.fromkeys(("left", "right", "parity"), torch.long)
    assert data.inputs == room.InputSpec("image", (1, 14, 14))
    assert data.tasks["parity"].primary == "accuracy"
    assert data.tasks["left"].primary == "accuracy"


def test_no_handwritten_digit_is_in_two_splits(data):
    used = {split: set(pairs.ravel().tolist()) for split, pairs in data.details["source_digits"].items()}
    assert used["train"].isdisjoint(used["val"])
    assert used["train"].isdisjoint(used["test"])
    assert used["val"].isdisjoint(used["test"])
    assert len(used["train"]) > 1200


def test_the_picture_is_made_of_the_digits_it_names(data):
    digits = load_digits()
    images = digits.images / 16
    for split, source in data.splits.items():
        inputs, targets = source.batch(torch.arange(50))
        for picture, left, right, (i, j) in zip(
            inputs[:, 0].numpy(), targets["left"], targets["right"], data.details["source_digits"][split], strict=False
        ):
            assert (digits.target[i], digits.target[j]) == (left, right)
            explained = []
            for r, c, s, t in np.ndindex(3, 3, 3, 3):
                expected = np.zeros((14, 14))
                expected[r : r + 8, c : c + 8] = images[i]
                corner = (slice(6 - s, 14 - s), slice(6 - t, 14 - t))
                expected[corner] = np.maximum(expected[corner], images[j])
                explained.append(np.allclose(expected, picture))
            assert any(explained)


def test_parity_is_of_the_sum(data):
    for source in data.splits.values():
        targets = source.targets
        assert torch.equal(targets["parity"], (targets["left"] + targets["right"]) % 2)
        assert 0.45 < targets["parity"].float().mean() < 0.55
        for name in ("left", "right"):
            assert torch.bincount(targets[name], minlength=10).min() > 0.05 * len(source)


def test_the_seed_fixes_everything(data):
    assert load("multidigits").fingerprint == data.fingerprint
    assert load("multidigits", seed=1).fingerprint != data.fingerprint
    # Recorded once: other machines and versions must draw the same pairs.
    assert data.details["source_digits"]["train"][:2].tolist() == RECORDED
    assert data.train.digest()[:16] == "4dad06f276439244"


RECORDED = [[348, 175], [1306, 1265]]


def test_options():
    small = load("multidigits", n=60, canvas=20, shift=0)
    assert small.inputs.shape == (1, 20, 20)
    assert len(small.train) + len(small.val) + len(small.test) == 60
    inputs, _ = small.train.batch(torch.arange(5))
    assert (inputs[:, :, :8, 8:] == 0).all()
    assert inputs[:, :, :8, :8].sum() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 3}, "at least 6, found 3"),
        ({"canvas": 7}, "at least 8 pixels.*found 7"),
        ({"shift": 7}, "between 0 and canvas - 8 = 6 pixels, found 7"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(DataError, match=message):
        load("multidigits", **options)


def test_unknown_names():
    with pytest.raises(ConfigError, match="unknown dataset 'multidigit'; did you mean 'multidigits'"):
        load("multidigit")
    with pytest.raises(ConfigError, match="unknown option of dataset 'multidigits': 'canvass'; did you mean 'canvas'"):
        load("multidigits", canvass=3)
