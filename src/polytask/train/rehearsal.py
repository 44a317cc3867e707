"""A look at model and data before the first step."""

from __future__ import annotations

import logging

import torch
from torch import nn

from polytask.balance import Balancer
from polytask.balance.engine.graph import reached
from polytask.data import MultiTaskLoader, Part
from polytask.train.forward import Forward, frozen_side_effects

__all__ = ["rehearse"]

logger = logging.getLogger("polytask")


def rehearse(forward: Forward, balancer: Balancer, loader: MultiTaskLoader) -> None:
    """One forward pass per source that leaves no trace, to learn what the tasks share before the first step.

    Otherwise the partition would depend on which tasks happen to have labels in the first batches, also after a resume.
    Says what is shared, which parameters no task depends on, and whether BatchNorm will see several sources.

    Args:
        forward: The model and how to call it.
        balancer: Its partition is filled in.
        loader: The first rows of each of its sources are used.
    """
    model = forward.model
    model.train()
    apart = {id(p) for p in forward.seats.own_parameters()}  # trained, but by no task's loss
    with frozen_side_effects(model):
        for name, source in loader.sources.items():
            rows = torch.arange(min(loader.batch_sizes[name], len(source)))
            part = forward.to_device(Part(*source.batch(rows)))
            predictions = forward.predictions(part.inputs, part.targets)
            balancer.partition.see(predictions)
            apart |= reached(*forward.seats.extra_losses().values()).keys()
    logger.info("parameters: %s", balancer.partition)
    named = {name.replace("_orig_mod.", ""): id(p) for name, p in model.named_parameters()}
    left = [name for name in balancer.partition.out_of_reach(model) if named[name] not in apart]
    if left:
        logger.warning("no task depends on these parameters, they will not train: %s", ", ".join(left))
    norms = sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())
    if norms and len(loader.sources) > 1:
        logger.warning(
            "%d BatchNorm layers see %d sources in separate passes; their evaluation statistics will be a blend",
            norms,
            len(loader.sources),
        )
