"""``[tasks.NAME]`` of the configuration."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from polytask.section import Section

__all__ = ["TaskSection"]


class TaskSection(Section):
    """``[tasks.NAME]``: one column to predict; NAME is the column, or the task of a built-in dataset.

    Attributes:
        kind: Kind of the task (``"regression"``, ``"binary"``, …); guessed from the column by default.
        metric: The metric that Δm and the selection of epochs look at, any of the kind's (``"mcc"``, ``"log_loss"``,
            ``"mape"`` …), also as scikit-learn or torchmetrics call it; the kind's first one by default.
        weight: Fixed preference, a factor of the task's loss.
        lr: Learning rate of this task's own parameters; the shared ones use ``train.lr``.
        unit: Unit of the values, printed in tables.
        quantiles: Levels of a quantile task.
        class_weight: Weights of the classes in the loss: ``"balanced"``, one number per class, or a table by class.
        weight_column: Column of weights of this task's labels, in place of ``data.weight``; tables only.

    Further keys are the options that the kind declares.
    """

    model_config = ConfigDict(extra="allow")

    kind: str | None = None
    metric: str | None = None
    weight: Annotated[float, Field(gt=0)] = 1.0
    lr: Annotated[float, Field(gt=0)] | None = None
    unit: str = ""
    quantiles: tuple[float, ...] | None = None
    class_weight: str | tuple[float, ...] | dict[str, float] | None = None
    weight_column: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The kind's own options."""
        return dict(self.model_extra or {})
