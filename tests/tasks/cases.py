"""One entry per kind: the conformance tests run over all of them. A new kind is one more entry."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from polytask.tasks import Task


@dataclasses.dataclass(frozen=True)
class Case:
    """How to draw a task of a kind, and the loss of one complete row, written independently."""

    options: dict[str, Any]
    target: Callable[[int, torch.Generator], Tensor]
    row_loss: Callable[[Tensor, Tensor], Tensor]  # (out,), () or (L,) -> ()
    decoded: tuple[int, ...]  # shape of a decoded row
    impossible: Any = None  # a label that no row may have

    def task(self, **more: Any) -> Task:
        return Task("t", **{**self.options, **more})

    def draw(self, rows: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[Task, Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        task = self.task()
        prediction = torch.randn(rows, task.out_features, generator=generator, dtype=dtype)
        return task, prediction, self.target(rows, generator)


def cross_entropy(z: Tensor, y: Tensor) -> Tensor:
    p = 1 / (1 + (-z).exp())
    return -(y * p.log() + (1 - y) * (1 - p).log())


def bounds(y: Tensor, how: Tensor) -> Tensor:
    """Known labels, bounds below and above, and intervals in turn."""
    low, high = y.clone(), y.clone()
    low[how < 0.25] = -float("inf")
    high[how > 0.75] = float("inf")
    high[(how > 0.5) & (how < 0.75)] += 0.7
    return torch.stack([low, high], 1)


def tobit_row(z: Tensor, y: Tensor) -> Tensor:
    sigma = 0.01 + (1 + (z[1] + math.log(math.e - 1)).exp()).log()
    normal = torch.distributions.Normal(z[0].double(), sigma.double())
    if y[0] == y[1]:
        return -normal.log_prob(y[0].double()) - math.log(0.01 * math.sqrt(2 * math.pi))
    below = torch.zeros((), dtype=torch.float64) if y[0].isinf() else normal.cdf(y[0].double())
    above = torch.ones((), dtype=torch.float64) if y[1].isinf() else normal.cdf(y[1].double())
    return -(above - below).log()


CASES = {
    "regression": Case(
        {"kind": "regression"},
        lambda n, g: torch.randn(n, generator=g),
        lambda z, y: (z[0] - y) ** 2,
        (),
        float("inf"),
    ),
    "binary": Case(
        {"kind": "binary"},
        lambda n, g: torch.randint(0, 2, (n,), generator=g),
        lambda z, y: cross_entropy(z[0], y),
        (),
        2,
    ),
    "multiclass": Case(
        {"kind": "multiclass", "classes": 5},
        lambda n, g: torch.randint(0, 5, (n,), generator=g),
        lambda z, y: z.exp().sum().log() - z[int(y)],
        (5,),
        7,
    ),
    "multilabel": Case(
        {"kind": "multilabel", "classes": 3},
        lambda n, g: torch.randint(0, 2, (n, 3), generator=g),
        lambda z, y: cross_entropy(z, y).mean(),
        (3,),
        2,
    ),
    "ordinal": Case(
        {"kind": "ordinal", "classes": 4},
        lambda n, g: torch.randint(0, 4, (n,), generator=g),
        lambda z, y: sum((cross_entropy(z[k], (y > k).to(z.dtype)) for k in range(3)), torch.zeros(())),
        (4,),
        4,
    ),
    "count": Case(
        {"kind": "count"},
        lambda n, g: torch.randint(0, 9, (n,), generator=g),
        lambda z, y: -torch.distributions.Poisson(z[0].exp()).log_prob(y.to(z.dtype)),
        (),
        -1,
    ),
    "quantile": Case(
        {"kind": "quantile", "quantiles": (0.1, 0.5, 0.8)},
        lambda n, g: torch.randn(n, generator=g),
        lambda z, y: sum((max(t * (y - q), (t - 1) * (y - q)) for t, q in zip((0.1, 0.5, 0.8), z, strict=True)), 0) / 3,
        (3,),
        float("-inf"),
    ),
    "censored": Case(
        {"kind": "censored"},
        lambda n, g: bounds(torch.randn(n, generator=g), torch.rand(n, generator=g)),
        lambda z, y: tobit_row(z, y),
        (),
        -77.0,  # an upper bound below the lower one
    ),
    "custom": Case(
        {"loss": lambda z, y: (z[:, 0] - y).abs()},
        lambda n, g: torch.randn(n, generator=g),
        lambda z, y: (z[0] - y).abs(),
        (1,),
    ),
}
