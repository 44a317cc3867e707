"""The single-task baseline that is no linear model: gradient-boosted trees."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from polytask.errors import ConfigError, unknown
from polytask.study.classical.losses import cross_entropy, pinball, poisson_deviance, square
from polytask.study.classical.one_by_one import Model, OneByOne, Part, log_of
from polytask.study.classical.plain import trees
from polytask.tasks import Nature, Task

__all__ = ["Boosting"]

Array = NDArray[Any]


@final
class Boosting(OneByOne):
    """scikit-learn's histogram gradient boosting, one model per task; categories are split as such.

    Squared loss for numbers (of standardised targets), logistic for classes, Poisson for counts, pinball for quantiles
    (one model per level); ordinal tasks get one logistic model per threshold, several labels one each. The number of
    trees, at most 300, is the one with the smallest loss on the rows left out of the folds.

    Args:
        max_iter: A fixed number of trees; then nothing is chosen.
        max_leaf_nodes: Leaves of a tree; 8 by default, fewer than scikit-learn's 31: better on tables of a few
            thousand rows, and three times faster.
        how: ``"chain"`` (with ``order``, a list of tasks), ``"ensemble_chains"`` (with ``n_chains``), ``"stack"`` or
            ``"pooled"``, as in :mod:`polytask.tables`: models that see predictions of other tasks.
        **options: Further parameters of ``HistGradientBoostingRegressor`` and ``HistGradientBoostingClassifier``.

    Examples:
        >>> Boosting("boosting", {"max_leaf_nodes": 31}).options
        {'max_leaf_nodes': 31}
    """

    on_trees = True
    natures = (
        Nature.NUMBER,
        Nature.YES_NO,
        Nature.CLASSES,
        Nature.SEVERAL_YES_NO,
        Nature.ORDERED,
        Nature.COUNT,
        Nature.QUANTILES,
    )
    MOST_TREES: ClassVar[int] = 300
    OURS: ClassVar[set[str]] = {"loss", "quantile", "categorical_features", "random_state", "warm_start", "verbose"}

    def title(self, tasks: Iterable[Task]) -> str:
        """For the report."""
        return "scikit-learn's histogram gradient boosting for each task alone"

    def check(self) -> None:
        """Parameters of both the regressor and the classifier, apart from those that the task decides."""
        kinds = [_class(kind) for kind in ("Regressor", "Classifier")]
        known = set.intersection(*(set(inspect.signature(kind).parameters) for kind in kinds)) - self.OURS
        for key in self.options:
            if key not in known:
                raise ConfigError(unknown(f"option of {self.name!r}:", key, known))
        try:
            kinds[0](**self.options)._validate_params()
        except ValueError as error:
            raise ConfigError(f"{self.name}: {error}") from error

    def _number(self, part: Part) -> Model:
        model, facts = self._grown("Regressor", part, "squared_error", square)
        return Model(model.predict, _leaves(model), facts, trees(model))

    def _binary(self, part: Part) -> Model:
        model, facts = self._grown("Classifier", part, "log_loss", cross_entropy)
        return Model(model.decision_function, _leaves(model), facts, trees(model))

    def _multiclass(self, part: Part) -> Model:
        model, facts = self._grown("Classifier", part, "log_loss", cross_entropy)
        return Model(model.predict_proba, _leaves(model), facts, trees(model, "shares"))

    def _rate(self, part: Part) -> Model:
        model, facts = self._grown("Regressor", part, "poisson", poisson_deviance)
        return Model(partial(log_of, model.predict), _leaves(model), facts, trees(model, "rate"))

    def _quantile(self, part: Part, level: float) -> Model:
        model, facts = self._grown("Regressor", part, "quantile", partial(pinball, level), quantile=level)
        return Model(model.predict, _leaves(model), facts, trees(model))

    def _grown(
        self, kind: str, part: Part, loss: str, measure: Callable[..., Array], **more: float
    ) -> tuple[Any, dict[str, Any]]:
        """The model on all rows, with the number of trees whose loss is smallest on rows left out."""
        make = partial(
            _class(kind),
            loss=loss,
            categorical_features=part.is_category,
            random_state=part.seed,
            **{"max_leaf_nodes": 8, "early_stopping": False, **self.options, **more},
        )
        count = self.options.get("max_iter", part.settled.get("trees"))
        if count is None:
            count = self._choose(partial(make, max_iter=self.MOST_TREES), part, measure, classify=kind == "Classifier")
        model = part.fitted(partial(make, max_iter=count)())
        return model, {"estimator": f"HistGradientBoosting{kind}", "trees": int(model.n_iter_)}

    def _choose(self, make: Callable[[], Any], part: Part, measure: Callable[..., Array], *, classify: bool) -> int:
        total = np.zeros(self.MOST_TREES)
        for train, test in part.folds:
            fit, judge = part.rows(train), part.rows(test)
            if not fit.y.any() or (classify and fit.y.min() == fit.y.max()):
                continue
            model = fit.fitted(make())
            stages = model.staged_predict_proba if classify else model.staged_predict
            found = [judge.total(measure(stage, judge.y, model)) for stage in stages(judge.X)]
            total += [*found, *found[-1:] * (len(total) - len(found))]  # it may stop by a rule of its own
        return int(np.argmin(total)) + 1


def _class(kind: str) -> Any:
    from sklearn import ensemble

    return getattr(ensemble, f"HistGradientBoosting{kind}")


def _leaves(model: Any) -> int:
    """Values at the leaves of all trees."""
    return int(sum(tree.get_n_leaf_nodes() for stage in model._predictors for tree in stage))
