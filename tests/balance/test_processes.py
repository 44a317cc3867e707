"""Several processes that train together: what would let them drift apart is refused, the plain sum is not."""

import pytest
import torch
from torch import distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from polytask.balance import METHODS, Balancer
from polytask.errors import MethodError

from .models import Trunk


def losses_of(model, seed):
    x = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return model.losses(x)


def worker(rank, folder):
    """One process: the plain sum is averaged over processes, and a gradient method is refused before anything."""
    distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    try:
        torch.manual_seed(0)
        model = Trunk()

        class Losses(nn.Module):
            def __init__(self):
                super().__init__()
                self.model = model

            def forward(self, seed):
                return self.model.losses(
                    torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
                )[0]

        parallel = DistributedDataParallel(Losses())
        for method in ("upgrad", "uw"):
            with pytest.raises(MethodError, match=f"2 processes train together, and {METHODS[method].__name__}"):
                Balancer(method, announce=None).backward(parallel(rank))
            assert all(p.grad is None for p in model.parameters())
        Balancer("equal", announce=None).backward(parallel(rank))
        found = [p.grad.clone() for p in model.parameters()]
        model.zero_grad()
        total = sum(sum(losses_of(model, seed)[0].values()) for seed in range(2)) / 2
        expected = torch.autograd.grad(total, list(model.parameters()))
        for gradient, wanted in zip(found, expected, strict=True):
            torch.testing.assert_close(gradient, wanted)
        (folder / f"passed{rank}").touch()
    finally:
        distributed.destroy_process_group()


def test_two_processes(tmp_path):
    multiprocessing.spawn(worker, args=(tmp_path,), nprocs=2)
    assert sorted(path.name for path in tmp_path.glob("passed*")) == ["passed0", "passed1"]


@pytest.fixture
def world(monkeypatch):
    """Pretend that this many processes train together."""

    def of(size):
        monkeypatch.setattr(distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(distributed, "get_world_size", lambda: size)

    return of


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("upgrad", {}),
        ("uw", {}),
        ("dwa", {}),
        ("famo", {}),
        ("orthogonal_gradients", {}),
        ("equal", {"heads": "plain"}),
        ("equal", {"scale": "sum_to_k"}),
        ("equal", {"task_weights": {"t0": 2.0}}),
    ],
)
def test_what_differs_between_processes_is_refused_in_every_door(world, method, options):
    balancer = Balancer(method, announce=None, **options)
    balancer.backward(losses_of(Trunk(), 0)[0])
    balancer.reset()
    world(2)
    before = balancer.state_dict()
    with pytest.raises(MethodError, match=r"drift apart; use 'equal' or 'static'"):
        balancer.backward(losses_of(Trunk(), 0)[0])
    if balancer.can_accumulate:
        with pytest.raises(MethodError, match="drift apart"):
            balancer.accumulate(losses_of(Trunk(), 0)[0])
    assert balancer.state_dict()["state"] == before["state"]
    assert balancer.step == 0


def test_one_process_and_fixed_sums_are_not(world):
    world(1)
    Balancer("upgrad", announce=None).backward(losses_of(Trunk(), 0)[0])
    world(8)
    for method in ("equal", METHODS["static"](weight={"t0": 2.0})):
        model, balancer = Trunk(), Balancer(method, announce=None)
        balancer.accumulate(losses_of(model, 0)[0])
        balancer.backward(losses_of(model, 0)[0])
