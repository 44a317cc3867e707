"""What cheaper gradient evidence costs and how far it strays: time, extra memory and accuracy against exact gradients.

A convolutional network learns MultiDigits for two epochs with equal weights; then, on fresh batches, every way of
gathering evidence takes the same step from the same parameters. Accuracy is the cosine between its shared step and the
exact one, and the mean absolute difference of the weights after both are scaled to sum to one; time is the median ratio
to the plain sum in the same round; memory is what the rows take.

    python benchmarks/evidence.py [--quick] [--method nash_mtl]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from polytask import data, share
from polytask.balance import Balancer
from polytask.train import Trainer

Losses = dict[str, Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer batches")
    parser.add_argument("--method", default="nash_mtl", help="a method that judges by the Gramian")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    digits = data.load("multidigits", n=1500)
    model = share.build_model(digits, seed=0)
    Trainer(model, digits.tasks, "equal", epochs=2, batch_size=64, progress=False).fit(digits)
    last = list(list(model.encoder.children())[-1].parameters())
    shared = list(model.shared_parameters())

    def losses_of(rows: Tensor) -> tuple[Losses, Tensor]:
        inputs, targets = digits.train.batch(rows)
        z = model.encode(inputs)
        return digits.tasks.losses(model.decode(z), targets), z

    def step(rows: Tensor, balancer: Balancer, features: bool = False, share_of_rows: float = 1.0) -> None:
        judge = None
        if share_of_rows < 1.0:
            judge = losses_of(rows[: max(1, int(share_of_rows * len(rows)))])[0]
        losses, z = losses_of(rows)
        balancer.backward(losses, z if features else None, judge=judge)

    options: dict[str, tuple[dict[str, object], dict[str, object]]] = {
        "exact (params)": ({}, {}),
        "features": ({"grads": "features"}, {"features": True}),
        "last shared layer": ({"grads": last}, {}),
        "sub-batch 1/2": ({"grads": "sub_batch"}, {"share_of_rows": 0.5}),
        "sub-batch 1/4": ({"grads": "sub_batch"}, {"share_of_rows": 0.25}),
        "bfloat16 rows": ({"row_dtype": torch.bfloat16}, {}),
        "low memory": ({"low_memory": True}, {}),
        "every 4 steps": ({"every": 4}, {}),
    }
    balancers = {name: Balancer(arguments.method, announce=None, **how) for name, (how, _) in options.items()}
    steps: dict[str, Callable[[Tensor], None]] = {
        name: (lambda rows, name=name: step(rows, balancers[name], **options[name][1])) for name in options
    }
    generator = torch.Generator().manual_seed(1)
    cosines: dict[str, list[float]] = {name: [] for name in options}
    errors: dict[str, list[float]] = {name: [] for name in options}
    ratios: dict[str, list[float]] = {name: [] for name in options}
    for _ in range(12 if arguments.quick else 60):
        rows = torch.randperm(len(digits.train), generator=generator)[:64]
        model.zero_grad()
        start = time.perf_counter()
        sum(losses_of(rows)[0].values()).backward()
        plain = time.perf_counter() - start
        exact: tuple[Tensor, np.ndarray] | None = None
        for name, run in steps.items():
            model.zero_grad()
            start = time.perf_counter()
            run(rows)
            ratios[name].append((time.perf_counter() - start) / plain)
            found = torch.cat([p.grad.flatten() for p in shared if p.grad is not None])
            weights = balancers[name].last.raw_weights
            weights = weights / weights.sum()
            exact = exact or (found, weights)
            cosines[name].append(float(torch.nn.functional.cosine_similarity(found, exact[0], dim=0)))
            errors[name].append(float(np.abs(weights - exact[1]).mean()))
    print(f"{arguments.method} on MultiDigits, K = {len(digits.tasks)}, batch 64, P = {sum(p.numel() for p in shared)}")
    print(f"{'evidence':20}{'time / plain sum':>18}{'cosine, median':>17}{'cosine, worst':>16}{'weight error':>15}")
    for name in options:
        print(
            f"{name:20}{statistics.median(ratios[name]):>18.2f}{statistics.median(cosines[name]):>17.4f}"
            f"{min(cosines[name]):>16.4f}{statistics.mean(errors[name]):>15.4f}"
        )


if __name__ == "__main__":
    main()
