"""Small models whose parameters tasks share in different ways; every one returns losses and its features."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Trunk(nn.Module):
    """Hard sharing: one trunk, one linear head per task."""

    def __init__(self, tasks: int = 3, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.names = [f"t{i}" for i in range(tasks)]
        self.trunk = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 5), nn.Tanh())
        self.heads = nn.ModuleDict({name: nn.Linear(5, 1) for name in self.names})
        self.to(dtype)

    def losses(self, x: Tensor, tasks: list[str] | None = None) -> tuple[dict[str, Tensor], Tensor]:
        z = self.trunk(x)
        chosen = self.names if tasks is None else tasks
        return {
            name: (self.heads[name](z).squeeze(-1) - torch.sin((1 + self.names.index(name)) * x[:, 0])).square().mean()
            for name in chosen
        }, z


class Branched(nn.Module):
    """A root shared by all, a branch shared by two of three tasks, an unused layer, and heads."""

    def __init__(self) -> None:
        super().__init__()
        self.names = ["a", "b", "c"]
        self.root = nn.Linear(4, 6)
        self.branch = nn.Linear(6, 6)
        self.unused = nn.Linear(2, 2)
        self.heads = nn.ModuleDict({name: nn.Linear(6, 1) for name in self.names})
        self.double()

    def losses(self, x: Tensor, tasks: list[str] | None = None) -> tuple[dict[str, Tensor], Tensor]:
        root = torch.tanh(self.root(x))
        branch = torch.tanh(self.branch(root))
        inputs = {"a": branch, "b": branch, "c": root}
        return {
            name: self.heads[name](inputs[name]).square().mean() + self.heads[name](inputs[name]).mean()
            for name in (self.names if tasks is None else tasks)
        }, root


class TiedHeads(nn.Module):
    """A shared trunk, and one output layer used by two tasks after the shared representation."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Linear(4, 5)
        self.tied = nn.Linear(5, 1)
        self.single = nn.Linear(5, 1)
        self.double()

    def losses(self, x: Tensor, tasks: list[str] | None = None) -> tuple[dict[str, Tensor], Tensor]:
        z = torch.tanh(self.trunk(x))
        every = {
            "a": (self.tied(z) - 1).square().mean(),
            "b": (self.tied(z) + x[:, :1]).square().mean(),
            "c": self.single(z).square().mean(),
        }
        return {name: every[name] for name in (tasks or every)}, z
