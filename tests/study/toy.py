"""A small real study: three tasks on random vectors, seconds in all. Also run as a script, to be killed."""

import multiprocessing
import os
import signal
import sys
import time

import torch

from polytask.data import InputSpec, MultiTaskData, TensorSource
from polytask.study import compare
from polytask.tasks import Task, TaskSet

OPTIONS = {"methods": ["stl", "equal", "uw", "upgrad"], "seeds": 2, "train": {"epochs": 3, "batch_size": 32}}


def toy_data(poison=False, slow=0.0):
    generator = torch.Generator().manual_seed(0)

    def rows(n):
        x = torch.randn(n, 6, generator=generator)
        noise = torch.randn(n, generator=generator)
        half = x[:, 1] + x[:, 2]
        half[torch.rand(n, generator=generator) < 0.5] = float("nan")
        targets = {"a": x[:, 0] + 0.1 * noise, "b": half, "c": (x[:, 3] + 0.3 * noise > 0).long()}
        source = TensorSource(x, targets)
        return Slow(source, slow) if slow else source

    tasks = TaskSet([Task("a", unit="cm"), Task("b"), Task("c", "binary")])
    data = MultiTaskData("toy", tasks, rows(96), rows(48), rows(48), InputSpec("vector", (6,)), "mlp:8", "Random.")
    if poison:
        data.train.targets["a"][:] = 1e30  # finite, but its square is not
    return data


class Slow:
    """A source that takes its time, so that a kill finds it in the middle."""

    def __init__(self, source, seconds):
        self.source, self.seconds = source, seconds

    def __len__(self):
        return len(self.source)

    def digest(self):
        return self.source.digest()

    def batch(self, index):
        time.sleep(self.seconds)
        return self.source.batch(index)


def deadly_encoder(inputs):
    """An encoder whose process dies at the second seed, as one that the system kills for its memory."""
    if torch.initial_seed() == 1 and multiprocessing.parent_process() is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    module = torch.nn.Linear(inputs.shape[0], 5)
    module.out_features = 5
    return module


if __name__ == "__main__":
    out, workers, slow = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    deadly = {"encoder": deadly_encoder, "methods": ["stl", "equal"]} if "deadly" in sys.argv else {}
    try:
        compare(toy_data(slow=slow), out=out, workers=workers, **{**OPTIONS, **deadly})
    except KeyboardInterrupt as stop:
        sys.stdout.write(f"{stop}\n")
        sys.exit(130)
