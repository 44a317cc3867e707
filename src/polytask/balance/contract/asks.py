"""What a method asks for besides the evidence of a step: who can give it, how, and what works without it."""

from __future__ import annotations

import dataclasses
from typing import Final, Literal, final

from polytask.errors import MethodError
from polytask.remedies import setting

__all__ = [
    "ASKS",
    "JUDGE_BATCH",
    "KERNEL_TRACES",
    "LOSSES_AFTER_STEP",
    "SINGLE_TASK_GAPS",
    "TWIN_BATCH",
    "VALIDATION_LOSSES",
    "VALIDATION_METRICS",
    "Ask",
    "Giver",
    "check_declared",
]

Giver = Literal["trainer", "caller"]


@final
@dataclasses.dataclass(frozen=True)
class Ask:
    """Something that a method needs and that its balancer cannot get by itself.

    A method names what it asks for in :attr:`~polytask.balance.Method.asks`, and takes in what comes between two steps
    by the function named :attr:`hook`. Whoever runs the balancer looks at ``balancer.asks`` before the first step.

    Attributes:
        name: Names it in lists.
        what: What it is, in words.
        give: How a loop of one's own gives it.
        by: Who can give it: ``"trainer"``, which is :class:`~polytask.train.Trainer`, and the ``"caller"`` of a
            balancer.
        without: What works where nobody gives it; an option's name and value, or words.
        hook: The method's function that takes it in; empty where it comes with the evidence.

    Examples:
        >>> print(LOSSES_AFTER_STEP.refusal("FAMO", "a method inside another one does not get"))
        FAMO asks for the losses of the same batch after the step, which a method inside another one does not get; ...
    """

    name: str
    what: str
    give: str
    by: frozenset[Giver]
    without: tuple[str, str] | str
    hook: str = ""

    def refusal(self, who: str, why: str) -> str:
        """Why ``who`` cannot have it (``"which" why``), how it is given and what works without it."""
        without = self.without if isinstance(self.without, str) else setting(*self.without)
        return f"{who} asks for {self.what}, which {why}; a loop of your own gives it by {self.give}; or use {without}"

    @property
    def in_words(self) -> str:
        """What is asked for, and whether training and studies can give it."""
        only = " (only a loop of your own can give it: not available in train and compare)"
        return self.what + ("" if "trainer" in self.by else only)


_ANYONE: Final[frozenset[Giver]] = frozenset({"trainer", "caller"})
_CALLER: Final[frozenset[Giver]] = frozenset({"caller"})
_BY_LOSSES = "a method that looks at losses (dwa, uw)"

LOSSES_AFTER_STEP = Ask(
    "losses_after_step",
    what="the losses of the same batch after the step",
    give="balancer.after_step(losses) after optimizer.step()",
    by=_ANYONE,
    without=_BY_LOSSES,
    hook="after_step",
)
TWIN_BATCH = Ask(
    "twin_batch",
    what="the losses of a second, independent batch in every step",
    give="balancer.backward(losses, twin=other_losses), the same tasks on other rows, e.g. the batch's other half",
    by=_ANYONE,
    without="a method that looks at one batch (mgda, sdmgrad)",
)
VALIDATION_METRICS = Ask(
    "validation_metrics",
    what="each task's validation metric, in [0, 1] with 1 the best",
    give="balancer.observe_metrics({task: value})",
    by=_ANYONE,
    without=_BY_LOSSES,
    hook="observe_metrics",
)
VALIDATION_LOSSES = Ask(
    "validation_losses",
    what="each task's loss on a validation batch after every step",
    give="balancer.observe_metrics({task: loss})",
    by=_CALLER,
    without=_BY_LOSSES,
    hook="observe_metrics",
)
SINGLE_TASK_GAPS = Ask(
    "single_task_gaps",
    what="what each task has lost against its single-task model",
    give="balancer.observe_metrics({task: loss in percent})",
    by=_CALLER,
    without="fairgrad, which it is where no task has lost anything",
    hook="observe_metrics",
)
KERNEL_TRACES = Ask(
    "kernel_traces",
    what="the trace of each task's neural tangent kernel",
    give="balancer.observe_metrics({task: ntk_trace(residuals, parameters)})",
    by=_CALLER,
    without=_BY_LOSSES,
    hook="observe_metrics",
)
JUDGE_BATCH = Ask(
    "judge_batch",
    what="the losses of part of the batch, from a forward pass of its own",
    give="balancer.backward(losses, judge=losses_of_a_part)",
    by=_CALLER,
    without=("grads", "features"),
)

ASKS = (
    LOSSES_AFTER_STEP,
    TWIN_BATCH,
    VALIDATION_METRICS,
    VALIDATION_LOSSES,
    SINGLE_TASK_GAPS,
    KERNEL_TRACES,
    JUDGE_BATCH,
)
"""All of them; the last one is asked for by a balancer with ``grads="sub_batch"``."""

_GONE = {
    "observe": "solve returns what is to be remembered with the weights, as Solution(weights, remember={name: values})",
    "needs_after_step": "asks = frozenset({LOSSES_AFTER_STEP})",
    "needs_twin": "asks = frozenset({TWIN_BATCH})",
    "needs_metrics": "asks = frozenset({VALIDATION_METRICS}), or an Ask of its own for other numbers",
    "takes_skill": "asks = frozenset({VALIDATION_METRICS})",
    "metrics_wanted": "asks = frozenset({Ask(…)}) with these words",
}


def check_declared(method: type, asks: frozenset[Ask], inherited: frozenset[str]) -> None:
    """Raise :class:`MethodError` where a method would wait in vain: for what it never asked for, or cannot take in.

    Args:
        method: A class that has just been made.
        asks: What it asks for.
        inherited: Names of hooks that it has not made its own.
    """
    for name in vars(method):
        if name in _GONE:
            raise MethodError(f"{method.__name__}.{name} is not looked at any more: {_GONE[name]}")
    hooks = {ask.hook for ask in asks} - {""}
    for hook in sorted({ask.hook for ask in ASKS if ask.hook} | hooks):
        if hook in hooks and hook in inherited:
            wanted = ", ".join(ask.what for ask in asks if ask.hook == hook)
            raise MethodError(f"{method.__name__} asks for {wanted} and has no {hook}() to take it in: write one")
        if hook not in hooks and hook not in inherited:
            known = ", ".join(ask.name.upper() for ask in ASKS if ask.hook == hook)
            raise MethodError(
                f"{method.__name__}.{hook}() would never be called: say so in asks = frozenset({{…}}) with {known} or "
                "an Ask of its own"
            )
