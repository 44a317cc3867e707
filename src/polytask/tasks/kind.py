"""What a task kind is: everything that is particular to one kind of target, in one place."""

from __future__ import annotations

import abc
import dataclasses
import functools
import importlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, final

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from polytask.errors import TaskError, unknown
from polytask.options import Option
from polytask.remedies import option, worded
from polytask.tasks.nature import Nature

if TYPE_CHECKING:
    from torchmetrics import Metric

__all__ = ["Kind", "Score", "Seen", "made_by"]


RESERVED = frozenset(
    {
        "task",
        "name",
        "kind",
        "classes",
        "quantiles",
        "loss",
        "loss_function",
        "metric",
        "metrics",
        "weight",
        "missing",
        "shift",
        "scale",
        "labels",
        "unit",
        "class_weight",
        "weight_column",
        "lr",
        "options",
    }
)
"""Arguments of a task and keys of ``[tasks.NAME]``, which no option of a kind can be called."""


class OutputLayer(Protocol):
    """Builds the last layer of a head from the width of its input and the number of outputs."""

    def __call__(self, in_features: int, out_features: int, /) -> nn.Module:
        """The layer."""


@dataclasses.dataclass
class Seen:
    """What a metric may ask about the labels it was given.

    Attributes:
        rows: Number of rows with at least one present label.
        counts: How often each class occurred: (C,), or (L, 2) for L yes/no labels; None for targets without classes.
        low: Smallest target.
        high: Largest target.
    """

    rows: int = 0
    counts: Tensor | None = None
    low: float = float("inf")
    high: float = float("-inf")

    def add(self, target: Tensor, levels: int | None) -> None:
        """Take note of present targets: (n,), or (n, L) with −1 where a label is missing; ``levels`` classes."""
        self.rows += len(target)
        if levels is None:
            if target.numel():
                self.low = min(self.low, float(target.min()))
                self.high = max(self.high, float(target.max()))
            return
        if target.ndim == 1:
            counts = torch.bincount(target, minlength=levels)
        else:
            counts = torch.stack([(target == level).sum(0) for level in range(levels)], dim=1)
        self.counts = counts if self.counts is None else self.counts + counts

    def two_rows_that_differ(self) -> str | None:
        """Reason why a ratio to the target's variance is undefined, or None."""
        if self.rows < 2:
            return "needs two rows, found 1"
        return "the target is constant" if self.low == self.high else None

    def both_classes(self) -> str | None:
        """Reason why a ranking metric of a yes/no task is undefined, or None."""
        counts = self._counts()
        if bool((counts > 0).all()):
            return None
        return f"one class only: all {self.rows} labels are {int(counts.argmax())}"

    def a_positive(self) -> str | None:
        """Reason why a metric of the positive class is undefined, or None."""
        return f"no positive label in {self.rows} rows" if int(self._counts()[1]) == 0 else None

    def two_classes(self) -> str | None:
        """Reason why a chance-corrected metric is undefined, or None."""
        counts = self._counts()
        if int((counts > 0).sum()) > 1:
            return None
        return f"one class only: all {self.rows} labels are {int(counts.argmax())}"

    def every_class_and_another(self) -> str | None:
        """Reason why one-against-rest ranking is undefined for some classes, or None."""
        counts = self._counts()
        present = counts > 0
        if int(present.sum()) < 2:
            return f"one class only: all {self.rows} labels are {int(counts.argmax())}"
        return _left_out("class", (~present).nonzero().flatten().tolist(), len(counts), "no row")

    def every_label_both_ways(self) -> str | None:
        """Reason why a ranking metric is undefined for some of several yes/no labels, or None."""
        counts = self._counts()
        return _left_out("label", (counts == 0).any(1).nonzero().flatten().tolist(), len(counts), "one class only")

    def every_label_positive(self) -> str | None:
        """Reason why a metric of the positive class is undefined for some of several yes/no labels, or None."""
        counts = self._counts()
        return _left_out("label", (counts[:, 1] == 0).nonzero().flatten().tolist(), len(counts), "no positive")

    def _counts(self) -> Tensor:
        assert self.counts is not None
        return self.counts


def _left_out(what: str, missing: list[int], total: int, why: str) -> str | None:
    if not missing:
        return None
    names = ", ".join(map(str, missing[:8])) + (", …" if len(missing) > 8 else "")
    rest = f"mean over the other {total - len(missing)}" if len(missing) < total else "nothing is left to average"
    return f"{why} in {what} {names}; {rest}"


@dataclasses.dataclass(frozen=True)
class Score:
    """An entry of a kind's catalogue of metrics.

    Attributes:
        build: Makes a fresh torchmetrics object.
        undefined: Says from the labels seen why the metric is undefined, or None.
        partial: With a reason, the value still stands: it is the mean over the classes for which it is defined.
        higher_is_better: Whether more is better; by default what the torchmetrics object says, which then has to be
            made before anything is measured.
        weighted: The metric of decoded predictions, targets and weights of rows, as arrays; without it the metric is
            undefined where rows have weights.
        skill: Whether 0 is no better than chance and 1 is perfect, so that ratios of values say nothing and gains are
            differences.
    """

    build: Callable[[], Metric]
    undefined: Callable[[Seen], str | None] | None = None
    partial: bool = False
    higher_is_better: bool | None = None
    skill: bool = False
    weighted: Callable[[NDArray[Any], NDArray[Any], NDArray[Any]], float] | None = None


class Kind(abc.ABC):
    """One kind of target: width of the head, loss per present label, natural scale, metrics, checks of the labels.

    A concrete kind is final, lives in its own file in ``polytask/tasks/kinds`` and has one line in the registry there.
    A prediction is first *arranged* so that its leading dimensions are those of the target: one *entry* per label,
    followed by the outputs for that entry. A segmentation kind arranges (B, C, H, W) to (B, H, W, C), a tagging kind
    needs nothing for (B, L, C); selecting the present entries, averaging and the metrics then work without change.

    A kind declares options of its own as fields, ``delta: float = option(1.0, Real(0, open_low=True))`` with
    :func:`polytask.options.option`. They are then arguments of :class:`~polytask.tasks.Task`, keys of its dictionary
    and of ``[tasks.NAME]``, checked against their limits, and attributes of the kind with the task's values.

    Args:
        task: Name of the task, for messages.
        classes: Number of classes or labels, for kinds that have them.
        quantiles: Levels in (0, 1), for kinds that have them.
        **own: Values of the declared options.

    Raises:
        TaskError: An option is unknown, or its value is not allowed.
    """

    nature: ClassVar[Nature] = Nature.OTHER
    """What the labels are and what the head's output means."""
    declared: ClassVar[Mapping[str, Option]] = {}
    """The kind's own options by name, collected from its fields."""
    has_loss: ClassVar[bool] = True
    """Whether :meth:`loss` is defined, so that a task needs none of the user's."""
    takes: ClassVar[tuple[str, ...]] = ()
    """Which of ``classes`` and ``quantiles`` the kind needs."""
    target_dims: ClassVar[int] = 1
    """Number of dimensions of a target: 1 for (B,), 2 for (B, L); 0 for any, with one entry per row."""
    levels: int | None = None
    """Number of distinct label values, where they are classes."""
    affine: ClassVar[bool] = False
    """Whether targets may be shifted and scaled for the loss."""
    filler: ClassVar[int | None] = None
    """A label that is always possible, with a finite loss at outputs of 0: what stands in the place of missing labels
    where the losses of several tasks are one matrix (:mod:`polytask.tasks.together`). ``None``: they never are."""
    whole_rows: ClassVar[bool] = False
    """Whether metrics see whole rows, with −1 at missing entries, instead of the list of present entries."""
    layer: ClassVar[OutputLayer] = nn.Linear
    """Last layer of a head, built from (width, :attr:`out_features`)."""
    default_metrics: ClassVar[tuple[str, ...]] = ()
    """Metrics when the user names none; the first is the one that model selection and Δm use."""

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if not isinstance(cls.nature, Nature):
            raise TypeError(f"{cls.__name__}: nature must be a member of Nature, found {cls.nature!r}")
        cls.declared = {**cls.declared, **{name: v for name, v in vars(cls).items() if isinstance(v, Option)}}
        for name in cls.declared:
            if name in RESERVED or hasattr(Kind, name):
                raise TypeError(f"{cls.__name__}: no option can be called {name!r}, which means something else already")

    @final
    def __init__(
        self, task: str, *, classes: int | None = None, quantiles: tuple[float, ...] | None = None, **own: Any
    ) -> None:
        self.task = task
        self.classes = classes
        self.quantiles = quantiles
        for name in own:
            if name not in self.declared:
                raise self.fail(unknown("option", name, [*self.takes, *self.declared]))
        for name, field in self.declared.items():
            value = own.get(name, field.default)
            if not field.limit.allows(value):
                raise self.fail(f"{name} must be {field.limit}, found {value!r}")
            setattr(self, name, field.plain(value))
        self.setup()

    @final
    @property
    def own(self) -> dict[str, Any]:
        """The values of the declared options."""
        return {name: getattr(self, name) for name in self.declared}

    def setup(self) -> None:
        """Check ``classes``, ``quantiles`` and how the options fit together, and set instance attributes."""

    @property
    @abc.abstractmethod
    def out_features(self) -> int:
        """Number of outputs of the task's head."""

    @abc.abstractmethod
    def arrange(self, prediction: Tensor) -> Tensor:
        """The prediction with the target's dimensions first; raises TaskError when the shape is wrong."""

    @abc.abstractmethod
    def check(self, target: Tensor) -> Tensor:
        """Present labels, checked and in the dtype that :meth:`loss` wants (float kinds may leave it to the caller)."""

    @abc.abstractmethod
    def loss(self, prediction: Float[Tensor, "n *out"], target: Tensor) -> Float[Tensor, "n"]:
        """One loss per present entry."""

    @abc.abstractmethod
    def decode(self, prediction: Float[Tensor, "*entries"]) -> Float[Tensor, "*decoded"]:
        """The arranged prediction in natural terms: a value, a probability, a rate."""

    @abc.abstractmethod
    def point(self, decoded: Tensor) -> Tensor:
        """What the metrics are given for the decoded prediction (mostly the decoded prediction itself)."""

    @abc.abstractmethod
    def scores(self) -> Mapping[str, Score]:
        """The catalogue of metrics by name."""

    def answers(self, decoded: Tensor, labels: Sequence[str] | None) -> dict[str, NDArray[Any]]:
        """The decoded prediction as a reader wants it: columns by what stands after the task's name in their heading.

        The answer itself stands under ``""``; here, outputs as they are, numbered where there are several.

        Args:
            decoded: What :meth:`decode` gave for N rows, on the CPU.
            labels: Names of the classes, where the task has them.

        Returns:
            Arrays of N entries: numbers, or names of classes (``None`` where the prediction is not finite).
        """
        values = decoded.numpy()
        return {"": values} if values.ndim == 1 else numbered(values.reshape(len(values), -1))

    @final
    def fail(self, message: str) -> TaskError:
        """An error that names the task."""
        return TaskError(f"task {self.task!r}: {message}")


def numbered(values: NDArray[Any], names: Iterable[Any] | None = None) -> dict[str, NDArray[Any]]:
    """The columns of an array (N, k) by name, or by number; a single one without."""
    columns = values.shape[1]
    if columns == 1 and names is None:
        return {"": values[:, 0]}
    return {str(name): values[:, place] for place, name in enumerate(range(columns) if names is None else names)}


def named(codes: Tensor, labels: Sequence[str] | None, sure: Tensor) -> NDArray[Any]:
    """Classes by name, or by number where they have none; ``None`` where ``sure`` is false."""
    known: Any = codes.numpy() if labels is None else np.asarray(labels, dtype=object)[codes.numpy()]
    if not bool(sure.all()):
        known = known.astype(object)
        known[~sure.numpy()] = None
    return known  # type: ignore[no-any-return]


def chances(decoded: Tensor, labels: Sequence[str] | None) -> dict[str, NDArray[Any]]:
    """Probabilities (N, C) as columns ``P(class)``."""
    names = range(decoded.shape[1]) if labels is None else labels
    return numbered(decoded.numpy(), [f"P({name})" for name in names])


def rows_of_one(kind: Kind, prediction: Tensor) -> Tensor:
    """(B,) from (B, 1) or (B,)."""
    if prediction.ndim == 2 and prediction.shape[1] == 1:
        return prediction.squeeze(1)
    if prediction.ndim == 1:
        return prediction
    raise kind.fail(f"expected a prediction of shape (B, 1) or (B,), found {tuple(prediction.shape)}")


def rows_of_many(kind: Kind, prediction: Tensor) -> Tensor:
    """(B, out_features), checked; (B,) is accepted where there is one output."""
    if prediction.ndim == 1 and kind.out_features == 1:
        return prediction[:, None]
    if prediction.ndim != 2 or prediction.shape[1] != kind.out_features:
        raise kind.fail(
            f"expected a prediction of shape (B, {kind.out_features}), found {tuple(prediction.shape)}; "
            f"the head needs {kind.out_features} outputs"
        )
    return prediction


def finite(kind: Kind, target: Tensor) -> Tensor:
    """Present real-valued labels, checked to be finite numbers."""
    if target.dtype == torch.bool or target.is_complex():
        raise kind.fail(f"expected numbers as labels, found dtype {target.dtype}; convert them with .float()")
    # A finite sum proves that every term is finite, in one pass; only otherwise, or on overflow, look at each.
    if target.is_floating_point() and not math.isfinite(target.sum()):
        bad = target[~torch.isfinite(target)]
        if len(bad):
            raise kind.fail(
                f"expected finite labels, found {float(bad[0])} ({len(bad)} of {len(target)}); use NaN for a missing "
                "label and declare no other missing= value, or drop the row with a mask"
            )
    return target


def whole(kind: Kind, target: Tensor, levels: int, remedy: str) -> Tensor:
    """Present labels as class indices 0 … ``levels`` − 1, checked."""
    if target.dtype == torch.bool:
        return target.long()
    index = finite(kind, target).long()
    if not index.numel():
        return index
    if target.is_floating_point() and not bool((index == target).all()):
        raise kind.fail(f"expected whole numbers as labels, found {float(target[index != target][0])}; {remedy}")
    low, high = (int(bound) for bound in torch.aminmax(index))
    if low < 0 or high >= levels:
        bad = low if low < 0 else high
        wrong = int(((index < 0) | (index >= levels)).sum())
        unlabelled = worded(f"missing={bad}", option("missing_values", [str(bad)]))
        marker = f"{unlabelled} if it means 'no label', or " if low < 0 else ""
        raise kind.fail(
            f"expected labels 0 … {levels - 1}, found {bad} ({wrong} of {len(index)} labels are outside); "
            f"{marker}{remedy}"
        )
    return index


def made_by(path: str, **options: Any) -> Callable[[], Metric]:
    """What makes the metric at ``path`` with these options, importing its package when first called.

    torchmetrics is slow to import, and most of what is done with tasks measures nothing.
    """
    return functools.partial(_make, path, options)


def _make(path: str, options: Mapping[str, Any]) -> Metric:
    module, _, name = path.rpartition(".")
    metric: Metric = getattr(importlib.import_module(module), name)(**options)
    return metric


def settings(**given: Any) -> dict[str, Any]:
    """Options of a torchmetrics object; labels were checked before, so that it need not check them again."""
    return {"validate_args": False, **given}
