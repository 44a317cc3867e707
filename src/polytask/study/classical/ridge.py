"""The linear single-task baseline: an ℓ2 penalty, the loss by the kind of the task."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from polytask.errors import ConfigError, unknown
from polytask.study.classical.losses import cross_entropy, poisson_deviance, square
from polytask.study.classical.one_by_one import Model, OneByOne, Part, log_of
from polytask.study.classical.plain import Piece, linear
from polytask.tasks import Nature, Task

__all__ = ["Ridge"]

Array = NDArray[Any]


@final
class Ridge(OneByOne):
    """Linear models with an ℓ2 penalty, one per task; ``logistic`` is another name for it.

    mean loss + (α/2)·‖w‖² with the squared loss ½(y − ŷ)² for numbers (of standardised targets), the logistic loss for
    classes and the Poisson likelihood for counts; ordinal tasks get one logistic model per threshold, several labels
    one each. α is chosen for each model: for numbers by leave-one-out cross-validation in closed form (of very large
    tables, and of rows in groups, by the squared error of the rows left out of the folds), elsewhere by the likelihood
    of those rows.

    Args:
        alpha: A fixed α > 0; then nothing is chosen.
        alphas: Values of α to choose from; 15 from 10⁻⁵ to 10² by default.
        how: ``"chain"`` (with ``order``, a list of tasks), ``"ensemble_chains"`` (with ``n_chains``), ``"stack"`` or
            ``"pooled"``, as in :mod:`polytask.tables`: models that see predictions of other tasks.

    Examples:
        >>> Ridge("ridge", {"alpha": 0.1}).alone
        True
    """

    on_trees = False
    natures = (
        Nature.NUMBER,
        Nature.YES_NO,
        Nature.CLASSES,
        Nature.SEVERAL_YES_NO,
        Nature.ORDERED,
        Nature.COUNT,
    )

    @property
    def depends_on_seed(self) -> bool:  # type: ignore[override]
        """Whether α is chosen, which takes folds."""
        return len(self._grid()) > 1

    def title(self, tasks: Iterable[Task]) -> str:
        """For the report."""
        return "scikit-learn's ridge, logistic or Poisson regression, by kind, for each task alone"

    def check(self) -> None:
        """One of ``alpha`` and ``alphas``, positive."""
        for key in self.options:
            if key not in ("alpha", "alphas"):
                raise ConfigError(unknown(f"option of {self.name!r}:", key, ("alpha", "alphas")))
        try:
            grid = self._grid()
            fine = grid.ndim == 1 and grid.size > 0 and bool(np.all(np.isfinite(grid) & (grid > 0)))
        except (TypeError, ValueError):
            fine = False
        if not fine or len(self.options) > 1:
            raise ConfigError(f"{self.name} takes alpha, a positive number, or alphas, a list; found {self.options}")

    def _grid(self) -> Array:
        """Values of α, the largest first."""
        given = [self.options["alpha"]] if "alpha" in self.options else self.options.get("alphas")
        values = np.geomspace(1e-5, 1e2, 15) if given is None else np.asarray(given, dtype=float)
        return np.sort(values)[::-1]

    def _open(self, part: Part) -> Array:
        """Values of α that are still to be chosen from."""
        return np.array([part.settled["alpha"]]) if "alpha" in part.settled else self._grid()

    def _number(self, part: Part) -> Model:
        from scipy.sparse import issparse
        from sklearn.linear_model import Ridge as One
        from sklearn.linear_model import RidgeCV

        grid, rows = self._open(part), part.size
        # The closed form leaves out single rows, whose group stays; of sparse X it needs all inner products of columns.
        if (issparse(part.X) or part.grouped) and part.folds and len(grid) > 1:
            model, facts = self._chosen(_ridge, part, _square)
            return Model(model.predict, model.coef_.size + 1, {"estimator": "Ridge", **facts}, _plain(model))
        model = RidgeCV(alphas=rows * grid) if len(grid) > 1 and len(part.y) > 2 else One(alpha=rows * grid[0])
        part.fitted(model)
        alpha = float(model.alpha_ if isinstance(model, RidgeCV) else model.alpha) / rows
        return Model(model.predict, model.coef_.size + 1, {"estimator": "Ridge", "alpha": alpha}, _plain(model))

    def _binary(self, part: Part) -> Model:
        model, facts = self._chosen(_logistic, part, _likelihood)
        said = {"estimator": "LogisticRegression", **facts}
        return Model(model.decision_function, model.coef_.size + 1, said, _plain(model))

    def _multiclass(self, part: Part) -> Model:
        model, facts = self._chosen(_logistic, part, _likelihood)
        size = model.coef_.size + model.intercept_.size
        return Model(model.predict_proba, size, {"estimator": "LogisticRegression", **facts}, _plain(model, "shares"))

    def _rate(self, part: Part) -> Model:
        model, facts = self._chosen(_poisson, part, _deviance)
        said = {"estimator": "PoissonRegressor", **facts}
        return Model(partial(log_of, model.predict), model.coef_.size + 1, said, _plain(model, "rate"))

    def _chosen(
        self, make: Callable[[float, float], Any], part: Part, loss: Callable[[Any, Any, Array], Array]
    ) -> tuple[Any, dict[str, float]]:
        """The model on all rows with the α whose loss is smallest on rows left out."""
        grid = self._open(part)
        total = np.zeros(len(grid))
        for train, test in part.folds if len(grid) > 1 else ():
            if part.y[train].min() == part.y[train].max():
                continue
            before: Any = None
            fit, judge = part.rows(train), part.rows(test)
            for place, alpha in enumerate(grid):
                model = fit.fitted(_start(make(float(alpha), fit.size), before))
                total[place] += judge.total(loss(model, judge.X, judge.y))
                before = model
        alpha = float(grid[np.argmin(total)])
        return part.fitted(make(alpha, part.size)), {"alpha": alpha}


def _plain(model: Any, link: str = "value") -> Piece:
    return linear(model.coef_, model.intercept_, link)


def _ridge(alpha: float, rows: float) -> Any:
    from sklearn.linear_model import Ridge as One

    return One(alpha=rows * alpha)


def _logistic(alpha: float, rows: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=1 / (alpha * rows), max_iter=1000, warm_start=True)


def _poisson(alpha: float, rows: float) -> Any:
    from sklearn.linear_model import PoissonRegressor

    return PoissonRegressor(alpha=alpha, max_iter=1000, warm_start=True)


def _likelihood(model: Any, X: Any, y: Array) -> Array:
    return cross_entropy(model.predict_proba(X), y, model)


def _square(model: Any, X: Any, y: Array) -> Array:
    return square(model.predict(X), y)


def _deviance(model: Any, X: Any, y: Array) -> Array:
    return poisson_deviance(model.predict(X), y)


def _start(model: Any, before: Any) -> Any:
    """Begin where the neighbouring α ended."""
    for key in ("coef_", "intercept_", "classes_"):
        if hasattr(before, key):
            setattr(model, key, getattr(before, key))
    return model
