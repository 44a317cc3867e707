"""A task: what is to be learned, how it is scored, and which labels count."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polytask.errors import TaskError, unknown
from polytask.tasks import arguments as read
from polytask.tasks import labels as _labels
from polytask.tasks.kind import Kind, Score
from polytask.tasks.kinds import KINDS
from polytask.tasks.losses import check_loss
from polytask.tasks.naming import canonical

if TYPE_CHECKING:
    from torchmetrics import Metric

__all__ = ["LossFunction", "Task"]

LossFunction = Callable[[Tensor, Tensor], Tensor]
"""From predictions and targets of the present rows to their mean loss, or to one loss per row."""


@final
@dataclasses.dataclass(frozen=True, init=False, eq=False, repr=False)
class Task:
    """What is to be learned: a name, a kind of target, a loss, metrics, and the rule for missing labels.

    The loss is the mean over the task's *present* labels,

        L = (1/|P|) Σ_{i ∈ P} ℓ(z_i, (y_i − shift) / scale),

    with P the present labels, z_i the head's output, y_i the target and ℓ the kind's loss. Rows outside P are dropped
    before ℓ is evaluated, so that their gradient is exactly zero whatever they hold.

    Args:
        name: Key of the task everywhere: losses, weights, metrics, checkpoints.
        kind: ``"regression"``, ``"binary"``, ``"multiclass"``, ``"multilabel"``, ``"ordinal"``, ``"count"``,
            ``"quantile"``, ``"censored"`` or ``"custom"``. ``"auto"`` is ``"custom"`` with ``loss``, else regression.
        classes: Number of classes (multiclass, ordinal) or of labels (multilabel); of the head's outputs (custom).
        quantiles: Increasing levels in (0, 1), for ``"quantile"``; 0.1, 0.5, 0.9 by default.
        loss: Replaces the kind's loss: called with predictions and targets of the present rows, both (n, …) and on the
            head's scale; returns the mean over these rows or one value per row. Rows with a partly missing label are
            absent for it. PyTorch's loss modules (``nn.BCEWithLogitsLoss(pos_weight=…)``, ``nn.CrossEntropyLoss(…)``)
            get targets in the type they want, and are moved to the predictions' device.
        metrics: Names from the kind's catalogue, also as scikit-learn or torchmetrics call them (``"roc_auc"``), or
            torchmetrics objects (or :class:`Score` entries) by names of your choice. They are given the decoded
            prediction and the target in natural units, of present rows only. The first is the primary one.
        weight: Fixed preference for this task, positive.
        missing: Value that means "no label". By default NaN in float targets and −100 in integer targets.
        shift: Subtracted from the target before the loss (regression and quantile; natural units).
        scale: Divides the target before the loss, positive (regression and quantile; natural units).
        labels: Names of the classes, for reports.
        unit: Unit of the target, for reports.
        class_weight: How much the labels of each class count in the loss (yes/no labels, classes, ordered classes): one
            positive number per class, a mapping from names or numbers of classes (others count 1), or ``"balanced"``: n
            / (C·n_c), with n_c of the n training labels in class c. Metrics do not look at it.
        loss_function: The same as ``loss``, under the attribute's name, so that ``dataclasses.replace`` works.
        options: The same as ``own``, as one mapping, so that ``dataclasses.replace`` works.
        **own: Options that the kind declares, with the values it allows.

    Raises:
        TaskError: The arguments do not fit together, or one is unknown; the message names the task.

    Examples:
        >>> age = Task("age", "regression", unit="years")
        >>> target = torch.tensor([30.0, float("nan"), 50.0])
        >>> float(age.loss(torch.tensor([[30.0], [0.0], [48.0]]), target))
        2.0
        >>> age.primary, age.directions["rmse"]
        ('rmse', -1)
    """

    name: str
    kind: str
    classes: int | None
    quantiles: tuple[float, ...] | None
    loss_function: LossFunction | None
    metrics: Sequence[str] | Mapping[str, Metric | Score] | None
    weight: float
    missing: float | None
    shift: float
    scale: float
    labels: tuple[str, ...] | None
    unit: str
    class_weight: str | tuple[float, ...] | None
    options: Mapping[str, Any]
    rule: Kind = dataclasses.field(init=False)
    scores: Mapping[str, Score] = dataclasses.field(init=False)

    def __init__(
        self,
        name: str,
        kind: str = "auto",
        *,
        classes: int | None = None,
        quantiles: Sequence[float] | None = None,
        loss: LossFunction | None = None,
        metrics: Sequence[str] | Mapping[str, Metric | Score] | None = None,
        weight: float = 1.0,
        missing: float | None = None,
        shift: float = 0.0,
        scale: float = 1.0,
        labels: Sequence[str] | None = None,
        unit: str = "",
        class_weight: str | Mapping[Any, float] | Sequence[float] | None = None,
        loss_function: LossFunction | None = None,
        options: Mapping[str, Any] | None = None,
        **own: Any,
    ) -> None:
        function = loss if loss is not None else loss_function
        if kind == "auto":
            kind = "regression" if function is None else "custom"
        read.choice(read.name_of(name), "kind", kind, KINDS)
        if labels is not None:
            labels = read.distinct(name, "labels", labels, example="['red', 'green']")
        if labels is not None and "classes" in KINDS[kind].takes and classes is None:
            classes = len(labels)
        values: dict[str, Any] = {
            "name": name,
            "kind": kind,
            "classes": read.whole_number(name, "classes", classes),
            "quantiles": read.numbers_of(name, "quantiles", quantiles),
            "loss_function": function,
            "metrics": metrics,
            "weight": read.number(name, "weight", weight),
            "missing": read.missing_value(name, missing),
            "shift": read.number(name, "shift", shift),
            "scale": read.number(name, "scale", scale),
            "labels": labels,
            "unit": read.text(name, "unit", unit),
        }
        given = read.options_of(name, options, own)
        for option in given:
            if option not in KINDS[kind].declared:
                known = [*_ARGUMENTS, *KINDS[kind].declared]
                raise TaskError(f"task {name!r}: {unknown(f'argument of a task of kind {kind!r}:', option, known)}")
        rule = KINDS[kind](name, classes=values["classes"], quantiles=values["quantiles"], **given)
        values |= {"quantiles": rule.quantiles, "options": rule.own}
        for attribute, value in values.items():
            object.__setattr__(self, attribute, value)
        object.__setattr__(self, "rule", rule)
        object.__setattr__(self, "class_weight", read.class_weights(rule, labels, class_weight))
        self._check()
        object.__setattr__(self, "scores", self._choose_scores())

    def _check(self) -> None:
        fail = self.rule.fail
        if not self.weight > 0:
            raise fail(f"weight must be positive and finite, found {self.weight}; to drop a task leave it out")
        if not self.scale > 0:
            raise fail(f"scale must be positive, found {self.scale}; it divides the target, like a standard deviation")
        if (self.shift, self.scale) != (0.0, 1.0) and not self.rule.affine:
            raise fail(f"shift and scale are for kinds with real-valued targets, not for {self.kind!r}")
        for option in {"classes", "quantiles"} - {*self.rule.takes}:
            if getattr(self, option) is not None:
                raise fail(f"kind {self.kind!r} takes no {option}=, found {getattr(self, option)!r}")
        expected = self.classes or self.rule.levels or 0
        if self.labels is not None and len(self.labels) != expected:
            raise fail(f"expected {expected} labels, one per class, found {len(self.labels)}")
        if not self.rule.has_loss and self.loss_function is None:
            raise fail(f"kind {self.kind!r} needs loss=, a function of predictions and targets")
        if self.loss_function is not None:
            check_loss(self.rule, self.loss_function)

    def _choose_scores(self) -> dict[str, Score]:
        """The metrics asked for, by name."""
        catalogue = self.rule.scores()
        if isinstance(self.metrics, Mapping):
            return {name: self._own_score(name, metric) for name, metric in self.metrics.items()}
        names = self.rule.default_metrics
        if self.metrics is not None:
            names = read.distinct(self.name, "metrics", self.metrics, example=f"[{names[0]!r}]" if names else "{…}")
        names = tuple(dict.fromkeys(canonical(name, catalogue) for name in names))
        for name in names:
            if name not in catalogue:
                raise self.rule.fail(unknown(f"metric of kind '{self.kind}'", name, catalogue))
        return {name: catalogue[name] for name in names}

    def _own_score(self, name: str, metric: Metric | Score) -> Score:
        if isinstance(metric, Score):
            return metric
        from torchmetrics import Metric  # slow to import, and loaded already where somebody has made a metric

        if not isinstance(metric, Metric):
            raise self.rule.fail(f"metric {name!r} must be a torchmetrics object, found {type(metric).__name__}")
        if metric.higher_is_better is None:
            raise self.rule.fail(
                f"metric {name!r} ({type(metric).__name__}) does not say whether higher is better; "
                f"write Score({type(metric).__name__}, higher_is_better=…) instead"
            )
        return Score(metric.clone)

    @property
    def out_features(self) -> int:
        """Number of outputs of the task's head."""
        return self.rule.out_features

    @property
    def primary(self) -> str:
        """Name of the metric that model selection and Δm use: the first one; ``""`` if the task has none."""
        return next(iter(self.scores), "")

    @property
    def directions(self) -> dict[str, int]:
        """+1 for every metric of which higher is better, −1 for the others."""
        return {name: 1 if higher else -1 for name, higher in self._higher().items()}

    def _higher(self) -> dict[str, bool]:
        built = {name: score.higher_is_better for name, score in self.scores.items()}
        return {
            name: bool(self.scores[name].build().higher_is_better) if higher is None else higher
            for name, higher in built.items()
        }

    def make_metrics(self) -> dict[str, Metric]:
        """Fresh torchmetrics objects by name, which accumulate in float64.

        They want what :meth:`metric_inputs` gives. :class:`~polytask.tasks.TaskMeter` does all of it.
        """
        return {name: score.build().set_dtype(torch.float64) for name, score in self.scores.items()}

    def present(self, target: Tensor, mask: Tensor | None = None) -> Bool[Tensor, "B"]:
        """Which rows have a label: (B,).

        Args:
            target: Labels, (B,) or (B, L); missing ones as the task declares.
            mask: True where a label is present, in the shape of ``target`` or (B,); added to the missing value's rule.

        Returns:
            A row with several labels counts when at least one is present (with ``loss=`` given: when all are).
        """
        entries = _labels.known(self, target, mask)
        return entries if entries.ndim == 1 else entries.flatten(1).any(1)

    def count(self, target: Tensor, mask: Tensor | None = None) -> int:
        """Number of present labels: what the loss averages over. Arguments as for :meth:`present`."""
        return int(_labels.known(self, target, mask).sum())

    def balanced(self, counts: Sequence[float]) -> Task:
        """The task with ``class_weight="balanced"`` in numbers; as it is without.

        Args:
            counts: Training labels of each class.
        """
        if self.class_weight != "balanced":
            return self
        total, classes = float(sum(counts)), len(counts)
        return dataclasses.replace(self, class_weight=tuple(total / (classes * n) if n else 1.0 for n in counts))

    def entry_losses(self, prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> Float[Tensor, "n"]:
        """One loss per present label, (n,).

        Where a custom loss returns only the mean of the rows, every row gets that mean.

        Args:
            prediction: Output of the head, (B, ``out_features``), or (B,) where there is one output.
            target: Labels, (B,) or (B, L).
            mask: True where a label is present, or None.

        Raises:
            TaskError: Shapes do not fit, or a present label is not possible for this kind.
        """
        return _labels.entry_losses(self, _labels.match(self, prediction, target, mask))

    def weighted_losses(
        self, prediction: Tensor, target: Tensor, mask: Tensor | None = None, weight: Tensor | None = None
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"] | None]:
        """One loss per present label, and the weights by which their mean is taken; None where all are 1.

        Other arguments and errors as for :meth:`entry_losses`.

        Args:
            prediction: Output of the head.
            target: Labels.
            mask: True where a label is present, or None.
            weight: Weights from 0 on, in the shape of ``target`` or (B,); 0 is a missing label.
        """
        entries = _labels.match(self, prediction, target, mask, weight)
        losses, weights = _labels.entry_losses(self, entries), _labels.entry_weights(self, entries)
        return losses, None if weights is None else weights.to(losses.dtype)

    def loss_sum(self, prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> tuple[Float[Tensor, ""], int]:
        """Sum of the losses of the present labels, each once, and their number.

        The parts of a mean over several batches or processes: Σ sums / Σ counts. With no label present the sum is a
        zero that still belongs to the graph. Arguments and errors as for :meth:`entry_losses`.
        """
        losses = self.entry_losses(prediction, target, mask)
        return losses.sum(), len(losses)

    def loss(
        self, prediction: Tensor, target: Tensor, mask: Tensor | None = None, weight: Tensor | None = None
    ) -> Float[Tensor, ""] | None:
        """Weighted mean Σ w ℓ / Σ w of the losses of the present labels; None when there is none.

        Arguments and errors as for :meth:`weighted_losses`.

        Examples:
            >>> sex = Task("sex", "binary")
            >>> sex.loss(torch.zeros(2, 1), torch.tensor([-100, -100])) is None
            True
        """
        losses, weights = self.weighted_losses(prediction, target, mask, weight)
        if not len(losses):
            return None
        return losses.mean() if weights is None else (weights * losses).sum() / weights.sum()

    def decode(self, prediction: Float[Tensor, "B *outputs"]) -> Float[Tensor, "B *decoded"]:
        """The head's output in natural terms.

        Args:
            prediction: Output of the head, (B, ``out_features``), or (B,) where there is one output.

        Returns:
            Value in natural units (regression, (B,)); probability of a yes (binary, (B,); multilabel, (B, L)); class
            probabilities (multiclass, ordinal, (B, C)); expected count (count, (B,)); increasing quantiles (B, Q).
        """
        return _labels.decode(self, self.rule.arrange(prediction))

    def metric_inputs(self, prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What the metrics are given: decoded predictions in float64 and checked targets, of the present labels.

        For several yes/no labels per row both are (n, L), with −1 in the target where a label is missing. Arguments and
        errors as for :meth:`entry_losses`.
        """
        return _labels.metric_inputs(self, _labels.match(self, prediction, target, mask))

    def to_dict(self, *, named: bool = False) -> dict[str, Any]:
        """The task as plain values, for configuration files and checkpoints.

        Args:
            named: Write the name of a custom loss, ``"module:function"`` under ``"loss"``, and leave metric objects
                out, instead of refusing: enough to predict.

        Raises:
            TaskError: The task has a custom loss or metric objects, which are code.
        """
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.init}
        loss = values.pop("loss_function")
        if not named and (loss is not None or isinstance(self.metrics, Mapping)):
            what = "loss" if loss is not None else "metrics"
            raise self.rule.fail(f"custom {what} is code and cannot be written to a file; build the task in Python")
        values |= {"metrics": None} if isinstance(self.metrics, Mapping) else {}
        if loss is not None:
            values["loss"] = f"{getattr(loss, '__module__', '?')}:{getattr(loss, '__qualname__', type(loss).__name__)}"
        values |= values.pop("options")
        plain = {name: list(v) if isinstance(v, (tuple, list)) else v for name, v in values.items()}
        return {key: v for key, v in plain.items() if (key, v) != ("class_weight", None)}  # as before there was one

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Task:
        """The task that :meth:`to_dict` described.

        Examples:
            >>> task = Task("colour", "multiclass", labels=["red", "green"])
            >>> Task.from_dict(task.to_dict()) == task
            True
        """
        if not isinstance(values, Mapping) or "name" not in values:
            raise TaskError(f"expected what Task.to_dict() gives, found {values!r}; write at least {{'name': 'age'}}")
        kind = values.get("kind")
        known = {*_PLAIN, *(KINDS[kind].declared if isinstance(kind, str) and kind in KINDS else ())}
        for key in values:
            if key not in known:
                raise TaskError(unknown("key of a task", key, known))
        return cls(**dict(values))

    def _identity(self) -> tuple[Any, ...]:
        metrics = self.metrics
        own = (
            {name: id(metric) for name, metric in metrics.items()}
            if isinstance(metrics, Mapping)
            else tuple(self.scores)
        )
        fields = [f.name for f in dataclasses.fields(self) if f.init and f.name != "metrics"]
        return (*(getattr(self, name) for name in fields), own)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Task) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash((self.name, self.kind))

    def __repr__(self) -> str:
        extra = {"classes": self.classes, "quantiles": self.quantiles, "loss": self.loss_function, **self.options}
        shown = "".join(f", {key}={value!r}" for key, value in extra.items() if value is not None)
        return f"Task({self.name!r}, {self.kind!r}{shown})"


_ARGUMENTS = [name for name, value in inspect.signature(Task).parameters.items() if value.kind is not value.VAR_KEYWORD]
_PLAIN = {field.name for field in dataclasses.fields(Task) if field.init} - {"loss_function", "options"}
"""Keys of a task as a dictionary, besides the options of its kind."""
