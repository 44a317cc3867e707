"""A method applied to each group of parameters by itself."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor, nn

from polytask.balance.compose._groups import Grouping, Groups, GroupState, grouped, layers
from polytask.balance.compose.inner import Inner, resolve, solve_inner
from polytask.balance.contract.method import Block, Card, Combined, Evidence, GramianMethod, JacobianMethod, Solution
from polytask.balance.contract.options import Limits
from polytask.balance.contract.state import Lesson
from polytask.balance.engine.weak import WeakTensors
from polytask.balance.toolbox.coordinates import wide

__all__ = ["PerGroup"]

Array = np.ndarray


@final
class PerGroup(JacobianMethod):
    """Solves for weights in every group of parameters by itself: group b's step is Σ_i w_i^b·g_i^b.

    The inner method sees the Gramian of the group's columns, and learns per group. A task without gradient in a group
    takes no part there. The nominal weights are Σ_b w_i^b·‖g_i^b‖²/‖g_i‖².

    Args:
        inner: A method on Gramians, or its registry name; every group works with a copy.
        groups: ``"parameter"``, every tensor by itself; ``"layer"``, the tensors of every module together, where the
            balancer knows their names (``shared=`` is a module, or ``balancer.know(model)``, which ``Trainer`` does);
            a module, for its layers; or a function from a parameter to the name of its group.

    Raises:
        ConfigError: ``inner`` does not fit, or ``groups`` is none of these.
        MethodError: Groups are asked for by layer, module or function where the parameters are not known.

    Examples:
        >>> method = PerGroup("pcgrad")
        >>> method.direction(torch.tensor([[1.0, 1.0], [1.0, -1.0]]), slices=[slice(0, 1), slice(1, 2)])
        tensor([2., 0.])

    Notes:
        Random methods draw by themselves in every group. ``"parameter"`` names groups by their position, which a saved
        state relies on; layers are named as in the module.

    References:
        Wang, Tsvetkov, Firat, Cao, "Gradient vaccine", ICLR 2021, compare such groups (their "all layer" form).
    """

    uses_preference = True
    limits: ClassVar[Limits] = {"inner": Inner(), "groups": Grouping()}
    card = Card(
        title="Per group",
        paper="Wang et al., ICLR 2021",
        url="https://arxiv.org/abs/2010.05874",
        idea="Balance every layer by itself: tasks that agree in one may fight in another.",
        cost="K through the shared part",
        invariances=("order of tasks", "those of the inner method, in each group"),
        verified=("the inner method on each group's columns", "one group is the inner method"),
        notes="Guarantees of the inner method hold within each group; descent then holds for their sum, too.",
        preference="what it is in the inner method, in each group",
        heads="unless the method inside declares another rule",
    )

    def __init__(self, inner: str | GramianMethod = "pcgrad", groups: Groups = "parameter") -> None:
        super().__init__()
        self.inner, self.groups = inner, groups
        self._state = GroupState(resolve(inner))
        self.heads = self._state.method.heads
        self.state = self._state
        named = dict(groups.named_parameters()) if isinstance(groups, nn.Module) else {}
        self._named = WeakTensors(named)

    def know(self, names: Mapping[str, Tensor]) -> None:
        """See :class:`~polytask.balance.Method`; names the layers."""
        if self.groups == "layer":
            self._named = WeakTensors(names)

    def measure(self, block: Block, evidence: Evidence) -> Mapping[str, Array]:
        """Gramian of every group."""
        rows = wide(block.rows)
        found: dict[str, Array] = {}
        for group, columns in grouped(self.groups, layers(self._named.alive()), block):
            part = rows[:, columns].double()
            found[group] = found.get(group, np.zeros((len(rows), len(rows)))) + (part @ part.T).cpu().numpy()
        return found

    def solve(self, evidence: Evidence) -> Solution:
        """Weights of every group, and their average."""
        parts: dict[str, Array] = {}
        news: dict[str, Lesson] = {}
        weights, iterations = np.zeros(evidence.size), 0
        for group in evidence.measures:
            weights_here = evidence.preference.copy()
            keep, part = self._part(group, evidence)
            if keep:
                member = self._state.members.get(group, self._state.method)
                solution = solve_inner(member, part)
                if solution.remember:
                    news[group] = solution.lesson(part)
                weights_here[keep] = solution.weights
                iterations += solution.iterations
            parts[group] = weights_here
            weights += weights_here * np.diag(evidence.measures[group])
        norms = np.sum([np.diag(gramian) for gramian in evidence.measures.values()], axis=0)
        return Solution(weights / norms, iterations, parts, news)

    def combine(self, block: Block, evidence: Evidence, solution: Solution) -> Combined:
        """Every group's weighted sum."""
        rows = wide(block.rows)
        gradient = torch.empty_like(rows[0])
        for group, columns in grouped(self.groups, layers(self._named.alive()), block):
            weights = torch.as_tensor(solution.parts[group], dtype=rows.dtype).to(rows.device)
            gradient[columns] = weights @ rows[:, columns]
        return Combined(gradient)

    def end_epoch(self) -> None:
        """Tell every group's method."""
        for member in self._state.members.values():
            member.end_epoch()

    def _part(self, group: str, evidence: Evidence) -> tuple[list[int], Evidence]:
        """Positions of the tasks with a gradient in this group, and the evidence about them there."""
        gramian = evidence.measures[group]
        keep = np.flatnonzero(np.diag(gramian) > 0).tolist()
        seed = zlib.crc32(group.encode()) ^ evidence.seed
        part = dataclasses.replace(evidence, gramian=gramian, seed=seed, measures={})
        return keep, part.subset(keep) if keep else part
