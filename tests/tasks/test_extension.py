"""A new kind is one class and one registry line: dense and sequence targets get the rest without another change."""

from functools import partial
from typing import final

import pytest
import torch
from torch import nn
from torch.nn import functional
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from polytask.share import HardSharing
from polytask.tasks import KINDS, Kind, Score, Task, TaskSet
from polytask.tasks.kind import whole


class Classes(Kind):
    """What the two kinds below have in common: classes, predictions arranged with the classes last."""

    takes = ("classes",)

    def setup(self):
        self.levels = self.classes

    @property
    def out_features(self):
        return self.classes

    def check(self, target):
        return whole(self, target, self.classes, "recode the labels")

    def loss(self, prediction, target):
        return functional.cross_entropy(prediction, target, reduction="none")

    def decode(self, prediction):
        return prediction.softmax(-1)

    def point(self, decoded):
        return decoded


@final
class Segmentation(Classes):
    target_dims = 3
    layer = partial(nn.Conv2d, kernel_size=1)
    default_metrics = ("iou",)

    def arrange(self, prediction):
        return prediction.movedim(1, -1)

    def scores(self):
        return {"iou": Score(partial(MulticlassJaccardIndex, num_classes=self.classes))}


@final
class Tagging(Classes):
    target_dims = 2
    default_metrics = ("accuracy",)

    def arrange(self, prediction):
        return prediction

    def scores(self):
        return {"accuracy": Score(partial(MulticlassAccuracy, num_classes=self.classes, average="micro"))}


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(KINDS, "segmentation", Segmentation)
    monkeypatch.setitem(KINDS, "tagging", Tagging)


def test_segmentation_with_unlabelled_pixels():
    task = Task("seg", "segmentation", classes=3)
    model = HardSharing(nn.Conv2d(1, 4, 3, padding=1), [task], width=None, heads={"seg": nn.Conv2d(4, 3, 1)})
    prediction = model(torch.randn(2, 1, 5, 6))["seg"]
    target = torch.randint(3, (2, 5, 6))
    target[0, :3] = -100
    torch.testing.assert_close(task.loss(prediction, target), functional.cross_entropy(prediction, target))
    assert task.count(target) == 2 * 30 - 18
    assert task.present(target).tolist() == [True, True]

    meter = TaskSet([task]).meter()
    for z, y in zip(prediction, target, strict=True):
        meter.update({"seg": z[None]}, {"seg": y[None]})
    known = target >= 0
    best = prediction.argmax(1)[known]
    shares = [((best == c) & (target[known] == c)).sum() / ((best == c) | (target[known] == c)).sum() for c in range(3)]
    assert meter.compute()["seg"]["iou"] == pytest.approx(float(torch.stack(shares).mean()), rel=1e-6)
    assert meter.loss()["seg"] == pytest.approx(float(task.loss(prediction, target).detach()), rel=1e-5)


def test_tagging_with_padding():
    task = Task("ner", "tagging", classes=4)
    prediction = torch.randn(3, 7, 4, requires_grad=True)
    target = torch.randint(4, (3, 7))
    padding = torch.arange(7) >= torch.tensor([[7], [4], [2]])
    loss = task.loss(prediction, target, ~padding)
    expected = functional.cross_entropy(prediction.movedim(2, 1), target.masked_fill(padding, -100))
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert (prediction.grad[padding] == 0).all()
    meter = TaskSet([task]).meter()
    meter.update({"ner": prediction}, {"ner": target}, {"ner": ~padding})
    right = (prediction.argmax(-1) == target)[~padding]
    assert meter.compute() == {"ner": {"accuracy": pytest.approx(float(right.double().mean()))}}
    assert meter.counts == {"ner": 13}
