"""What the training loop costs beside a minimal loop by hand: CPU time of one epoch, as ratios in the same run.

The work is that of a table: a batch of 64 rows, a trunk of two layers of 64, K linear heads, regression and yes/no
tasks in turn, one label in ten missing. The hand loop does what cannot be left out: cut the batch, forward, drop the
missing labels, sum the losses, backward, fused AdamW. "One pass per task" is the same with one backward pass per task,
the least that a method with exact gradients of its own can do. Every figure is the median over interleaved runs of five
epochs, the making of the model and the start of the loop included.

TorchJD's UPGrad, where it is installed, stands in the place of the hand loop's ``backward``.

    python benchmarks/loop.py [--tasks 2,8,32,200] [--rounds 5]
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from polytask import Balancer
from polytask.data import TensorSource
from polytask.share import HardSharing
from polytask.tasks import Task, TaskSet
from polytask.train import Trainer

ROWS, BATCH, WIDTH, EPOCHS = 1280, 64, 64, 5


def problem(count: int) -> tuple[TaskSet, TensorSource]:
    """K tasks of two kinds on one table, a tenth of the labels missing."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, 16, generator=generator)
    targets = {}
    for k in range(count):
        y = x @ torch.randn(16, generator=generator)
        gone = torch.rand(ROWS, generator=generator) < 0.1
        targets[f"t{k}"] = y.masked_fill(gone, float("nan")) if k % 2 == 0 else (y > 0).long().masked_fill(gone, -100)
    return TaskSet([Task(f"t{k}", "regression" if k % 2 == 0 else "binary") for k in range(count)]), TensorSource(
        x, targets
    )


def model(tasks: TaskSet) -> HardSharing:
    """Two hidden layers and linear heads."""
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(16, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU())
    return HardSharing(trunk, tasks, seed=0)


def hand_losses(net: HardSharing, x: torch.Tensor, y: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """The tasks' losses, without a library."""
    z, losses = net.encoder(x), []
    for k, (name, target) in enumerate(y.items()):
        found = net.heads[name](z)[:, 0]
        if k % 2 == 0:
            known = ~target.isnan()
            losses.append(functional.mse_loss(found[known], target[known]))
        else:
            known = target != -100
            losses.append(functional.binary_cross_entropy_with_logits(found[known], target[known].float()))
    return losses


def by_hand(count: int, *, each: bool = False) -> None:
    """The minimal loop; ``each``: one backward pass per task."""
    tasks, source = problem(count)
    net = model(tasks)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
    for _ in range(EPOCHS):
        for rows in torch.randperm(ROWS).split(BATCH):
            losses = hand_losses(net, source.inputs[rows], {name: y[rows] for name, y in source.targets.items()})
            optimizer.zero_grad()
            if each:
                for loss in losses:
                    loss.backward(retain_graph=True)
            else:
                torch.stack(losses).sum().backward()
            optimizer.step()


def own_loop(count: int, method: str) -> None:
    """The hand loop with a Balancer in the place of ``backward``."""
    tasks, source = problem(count)
    net = model(tasks)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
    balancer = Balancer(method, tasks=tasks, announce=None)
    for _ in range(EPOCHS):
        for rows in torch.randperm(ROWS).split(BATCH):
            losses = hand_losses(net, source.inputs[rows], {name: y[rows] for name, y in source.targets.items()})
            optimizer.zero_grad()
            balancer.backward(dict(zip(tasks, losses, strict=True)))
            optimizer.step()


def trainer(count: int, method: str, grads: str = "params") -> None:
    """``Trainer``, without validation."""
    tasks, source = problem(count)
    balancer = Balancer(method, tasks=tasks, grads=grads, announce=None)
    Trainer(model(tasks), tasks, balancer, epochs=EPOCHS, batch_size=BATCH, progress=False).fit(source)


def torchjd_loop(count: int) -> None:
    """The hand loop with TorchJD's UPGrad over the trunk's parameters."""
    from torchjd.aggregation import UPGrad
    from torchjd.autojac import jac_to_grad, mtl_backward

    tasks, source = problem(count)
    net = model(tasks)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
    aggregator, shared = UPGrad(), list(net.encoder.parameters())
    for _ in range(EPOCHS):
        for rows in torch.randperm(ROWS).split(BATCH):
            found: list[torch.Tensor] = []
            hook = net.encoder.register_forward_hook(lambda _, __, z, found=found: found.append(z))
            losses = hand_losses(net, source.inputs[rows], {name: y[rows] for name, y in source.targets.items()})
            hook.remove()
            optimizer.zero_grad()
            mtl_backward(losses, features=found[0])
            jac_to_grad(shared, aggregator)
            optimizer.step()


def peers(count: int) -> dict[str, Callable[[], None]]:
    """Other libraries, where they are installed; left out from 100 tasks on, to keep the run short."""
    if importlib.util.find_spec("torchjd") is None or count >= 100:
        return {}
    return {"TorchJD, upgrad": partial(torchjd_loop, count)}


def measure(makers: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Median CPU seconds, by turns, after one round to warm up."""
    spent: dict[str, list[float]] = {name: [] for name in makers}
    for number in range(rounds + 1):
        for name, run in makers.items():
            start = time.process_time()
            run()
            if number:
                spent[name].append(time.process_time() - start)
    return {name: statistics.median(times) for name, times in spent.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", default="2,8,32,200")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("polytask").setLevel(logging.ERROR)
    print(f"{'':28}{'ms / step':>10}{'/ hand loop':>13}{'/ one pass per task':>21}")
    for count in map(int, given.tasks.split(",")):
        found = measure(
            {
                "hand loop": partial(by_hand, count),
                "one pass per task": partial(by_hand, count, each=True),
                "own loop, equal": partial(own_loop, count, "equal"),
                "own loop, uw": partial(own_loop, count, "uw"),
                "own loop, nash_mtl": partial(own_loop, count, "nash_mtl"),
                "own loop, upgrad": partial(own_loop, count, "upgrad"),
                "Trainer, equal": partial(trainer, count, "equal"),
                "Trainer, uw": partial(trainer, count, "uw"),
                "Trainer, nash_mtl": partial(trainer, count, "nash_mtl"),
                "Trainer, upgrad": partial(trainer, count, "upgrad"),
                "Trainer, upgrad by features": partial(trainer, count, "upgrad", "features"),
                **peers(count),
            },
            given.rounds if count < 100 else min(given.rounds, 3),
        )
        print(f"K = {count}")
        for name, seconds in found.items():
            step = 1e3 * seconds / (EPOCHS * ROWS / BATCH)
            print(
                f"  {name:26}{step:>10.2f}{seconds / found['hand loop']:>13.2f}"
                f"{seconds / found['one pass per task']:>21.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
