"""Architectures for tests: experts with gates, and networks that mix; neither has one tensor for all tasks."""

import copy
from typing import final

import torch
from torch import nn

from polytask.share import MultiTaskModel, Representation, TaskModules, build_head, local_seed
from polytask.share.options import fraction, whole


@final
class MMoE(MultiTaskModel):
    """Mixture of experts with a gate per task: ŷ_t = h_t(Σ_e softmax(W_t·z)_e · relu(E_e·z)), z = encoder(x).

    Args:
        encoder: Gives z; it has ``out_features``.
        tasks: The tasks.
        experts: How many experts.
        width: Number of features of an expert.
        dropout: Of the mixed features.
        balance: Weight of a loss that keeps the mean gates even, Σ_e (mean_t,b g_tbe − 1/E)².
        seed: Experts, gates and heads depend on it and on their names alone.
    """

    options = {  # noqa: RUF012
        "experts": whole(4), "width": whole(8), "dropout": fraction(0.0), "balance": fraction(0.0),
    }  # fmt: skip
    representation = Representation.SEVERAL

    def __init__(self, encoder, tasks, *, experts=4, width=8, dropout=0.0, balance=0.0, seed=None):
        super().__init__(tasks)
        self.encoder, self.seed, self.width, self.balance = encoder, seed, width, balance
        self.experts = nn.ModuleList()
        for place in range(experts):
            with local_seed(seed, "expert", str(place)):
                self.experts.append(nn.Linear(encoder.out_features, width))
        self.drop, self.gates, self.heads = nn.Dropout(dropout), TaskModules(), TaskModules()
        self._seen = []
        for task in self.tasks.values():
            self._extend(task)

    def _extend(self, task):
        with local_seed(self.seed, "gate", task.name):
            self.gates[task.name] = nn.Linear(self.encoder.out_features, len(self.experts))
        self.heads[task.name] = build_head(task, self.width, seed=self.seed)

    def encode(self, inputs):
        z = self.encoder(inputs)
        return {"input": z, **{f"expert {i}": expert(z).relu() for i, expert in enumerate(self.experts)}}

    def decode(self, features, tasks=None):
        z, *experts = features.values()
        stacked = torch.stack(experts, -1)
        found, gates = {}, []
        for name in self.select(tasks):
            gate = self.gates[name](z).softmax(-1)
            gates.append(gate)
            found[name] = self.heads[name](self.drop(torch.einsum("...we,...e->...w", stacked, gate)))
        if self.balance and self.training and torch.is_grad_enabled():
            self._seen.append(torch.stack(gates).flatten(0, -2).mean(0))
        return found

    def extra_losses(self):
        if not self.balance:
            return {}
        seen, self._seen = self._seen, []
        return {"balance": self.balance * (torch.stack(seen).mean(0) - 1 / len(self.experts)).square().sum()}

    def shared_parameters(self):
        yield from self.encoder.parameters()
        yield from self.experts.parameters()

    def task_parameters(self, name):
        (name,) = self.select([name])
        yield from self.gates[name].parameters()
        yield from self.heads[name].parameters()


@final
class Stitched(MultiTaskModel):
    """A cross-stitch unit over one network per task: task t reads z_t = Σ_u α_tu·encoder_u(x), which nobody else does.

    Args:
        encoder: Of the first task; the others have copies.
        tasks: The tasks.
        own: α_tt at the start; the rest is spread over the other tasks.
        seed: Of the heads.
    """

    options = {"own": fraction(0.9)}  # noqa: RUF012
    representation = Representation("per_task", "a unit mixes the outputs of the tasks' networks for each task anew")

    def __init__(self, encoder, tasks, *, own=0.9, seed=None):
        super().__init__(tasks)
        self.encoders, self.seed, self.own = TaskModules(), seed, own
        self.heads, self.stitches = TaskModules(), TaskModules()
        for name in self.tasks:
            self.encoders[name] = copy.deepcopy(encoder)
        for task in self.tasks.values():
            self._part(task, len(self.tasks))

    def _part(self, task, count):
        mix = nn.Linear(count, 1, bias=False)
        mix.weight.data.fill_((1 - self.own) / max(count - 1, 1))
        mix.weight.data[0, list(self.encoders).index(task.name)] = self.own
        self.stitches[task.name] = mix
        self.heads[task.name] = build_head(task, self.encoders[task.name].out_features, seed=self.seed)

    def _extend(self, task):  # who was there before does not read the new network
        self.encoders[task.name] = copy.deepcopy(self.encoders[self.tasks.names[0]])
        self._part(task, len(self.encoders))

    def encode(self, inputs):
        stacked = torch.stack([self.encoders[name](inputs) for name in self.encoders], -1)
        mixes = {name: self.stitches[name] for name in self.stitches}
        return {name: mix(stacked[..., : mix.in_features]).squeeze(-1) for name, mix in mixes.items()}

    def decode(self, features, tasks=None):
        return {name: self.heads[name](features[name]) for name in self.select(tasks)}

    def shared_parameters(self):
        return self.encoders.parameters()

    def task_parameters(self, name):
        (name,) = self.select([name])
        yield from self.stitches[name].parameters()
        yield from self.heads[name].parameters()
