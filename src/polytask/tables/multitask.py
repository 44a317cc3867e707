"""Any learner of scikit-learn's interface, for many targets at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from numbers import Integral
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, MetaEstimatorMixin, is_classifier
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import KFold, check_cv
from sklearn.utils import check_random_state, get_tags
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _num_samples, check_is_fitted, validate_data

from polytask.errors import ConfigError, TaskError, unknown
from polytask.tables.design import readable
from polytask.tables.learner import Clones
from polytask.tables.targets import Targets
from polytask.tables.ways import WAYS, Chain, Job

__all__ = ["MultiTask"]

Array = NDArray[Any]


@final
class MultiTask(MetaEstimatorMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn has no types
    """Several targets by a learner of one: independent models, chains, stacking, one model of all.

    Every way takes missing targets (NaN or None; a model is fitted on the rows that have its label), weights per
    target, and numbers beside classes. Models that see other targets are fitted on predictions for rows that those
    models had not seen, so that they learn to trust them as far as they can be trusted on new rows.

    Args:
        estimator: Learner of the targets that are numbers; if it is a classifier, of the classes. ``None`` for
            histogram gradient boosting.
        how: ``"independent"``: each target alone. ``"chain"``: each sees the ones before it. ``"ensemble_chains"``:
            the mean of ``n_chains`` chains in random orders. ``"stack"``: second models see first predictions of all
            targets. ``"pooled"``: one model of all targets, told by indicators whose row it sees. ``"joint"``: one
            model of all targets by a learner that takes a matrix of them, such as a random forest.
        classifier: Learner of the targets that are classes, beside a regressor. ``None`` for none; with
            ``estimator=None`` histogram gradient boosting.
        classes: Names (or positions) of the targets that are classes. ``None``: those that are no numbers, and all of
            them if there is no regressor.
        order: Names (or positions) of the targets from first to last, for ``"chain"``; ``"random"``; ``None`` for the
            order in which they come.
        n_chains: Number of chains of ``"ensemble_chains"``; 10 as in Spyromitros-Xioufis et al.
        cv: Folds of the predictions that other models are fitted on: a number, a splitter or an iterable of splits,
            of rows. ``None`` lets chains see labels where there are labels.
        random_state: Seed of orders and folds; learners keep their own.

    Attributes:
        tasks_: Names of the targets (T,).
        classes_: Classes of the target for a vector; a mapping from name to classes for several; only where a target
            is classes.
        orders_: Positions of the targets in every chain (chains, T), for chains.
        fitted_: The fitted models.

    Raises:
        TaskError: A target has no label, or no learner.
        ConfigError: Options do not fit together.

    Examples:
        >>> from sklearn.linear_model import Ridge
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(200, 3))
        >>> Y = np.column_stack([X[:, 0], X[:, 0] + X[:, 1] ** 2])
        >>> Y[::2, 1] = np.nan
        >>> MultiTask(Ridge(), "stack").fit(X, Y).predict(X).shape
        (200, 2)

    References:
        Spyromitros-Xioufis, Tsoumakas, Groves & Vlahavas (2016), Multi-target regression via input space expansion:
        treating targets as inputs, Machine Learning 104.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "estimator": [None, HasMethods(["fit", "predict"])],
        "how": [StrOptions(set(WAYS))],
        "classifier": [None, HasMethods(["fit", "predict"])],
        "classes": [None, "array-like"],
        "order": [None, "array-like", StrOptions({"random"})],
        "n_chains": [Interval(Integral, 1, None, closed="left")],
        "cv": [None, "cv_object"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any = None,
        how: str = "independent",
        *,
        classifier: Any = None,
        classes: Sequence[Any] | None = None,
        order: Any = None,
        n_chains: int = 10,
        cv: Any = 5,
        random_state: Any = None,
    ) -> None:
        self.estimator, self.how, self.classifier, self.classes = estimator, how, classifier, classes
        self.order, self.n_chains, self.cv, self.random_state = order, n_chains, cv, random_state

    def _learners(self) -> Clones:
        if self.estimator is None:
            from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

            other = HistGradientBoostingClassifier() if self.classifier is None else self.classifier
            return Clones(HistGradientBoostingRegressor(), other)
        if is_classifier(self.estimator):
            if self.classifier is not None:
                raise ConfigError("estimator is a classifier already; give a regressor there, or leave classifier out")
            return Clones(None, self.estimator)
        return Clones(self.estimator, self.classifier)

    def __sklearn_tags__(self) -> Any:
        """What the learners can be given, and many targets."""
        tags = super().__sklearn_tags__()
        learners = self._learners()
        some = [get_tags(one) for one in (learners.regressor, learners.classifier) if one is not None]
        tags.estimator_type = some[0].estimator_type if len(some) == 1 else None
        tags.regressor_tags = some[0].regressor_tags if len(some) == 1 else None
        tags.classifier_tags = some[0].classifier_tags if len(some) == 1 else None
        if tags.classifier_tags is not None:
            # scikit-learn's multi-label tools want probabilities by position; here they go by name
            tags.classifier_tags = dataclasses.replace(tags.classifier_tags, multi_label=False)
        tags.target_tags.multi_output, tags.target_tags.required = True, True
        tags.input_tags.sparse = all(one.input_tags.sparse for one in some)
        tags.input_tags.allow_nan = all(one.input_tags.allow_nan for one in some)
        tags.non_deterministic = any(one.non_deterministic for one in some)
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> MultiTask:
        """Fit.

        Args:
            X: Inputs (n, d) as the learners take them: an array, a sparse matrix, a data frame with categories.
            y: Targets (n, T), an array or a data frame, with NaN or None for missing ones; or (n,).
            sample_weight: Weights (n,) of the rows, (n, T) of the labels, or a mapping from target to (n,). A label of
                weight 0 is a missing one.
            groups: Group of each row (n,), for a splitter that keeps groups together.

        Returns:
            Itself.
        """
        self._validate_params()
        X = readable(X)
        validate_data(self, X, skip_check_array=True)
        learners = self._learners()
        if y is None:
            raise TaskError("requires y to be passed, but the target y is None")
        targets = Targets.read(
            y,
            numbers=learners.regressor is not None,
            classes=learners.classifier is not None,
            which=self.classes,
            sample_weight=sample_weight,
        )
        if _num_samples(X) != _num_samples(y):
            raise TaskError(f"inputs and targets must have as many rows, found {_num_samples(X)} and {_num_samples(y)}")
        random = check_random_state(self.random_state)
        self.tasks_ = np.array(targets.names, dtype=object if targets.frame else None)
        orders = self._orders(targets, random)
        way = WAYS[self.how]
        self.fitted_ = way.fit(Job(X, targets.columns, learners, self._folds(X, random, groups), orders))
        self._targets = targets.blank()
        return self

    @property
    def classes_(self) -> Any:
        """Classes of the target, or of every target that is classes, by name."""
        known = (
            {} if not hasattr(self, "_targets") else {t.name: t.classes for t in self._targets if t.classes is not None}
        )
        if not known:
            raise AttributeError("classes_: no target with classes has been fitted")
        return known if self._targets.wide else known[0]

    @property
    def orders_(self) -> Array:
        """Positions of the targets in every chain (chains, T)."""
        fitted = getattr(self, "fitted_", None)
        if not isinstance(fitted, Chain):
            raise AttributeError("orders_: no chain has been fitted")
        return fitted.orders

    def _orders(self, targets: Targets, random: Any) -> Array:
        count = len(targets)
        if self.how == "ensemble_chains":
            if self.order is not None and not isinstance(self.order, str):
                raise ConfigError("how='ensemble_chains' takes random orders: leave order out, or use how='chain'")
            return np.stack([random.permutation(count) for _ in range(self.n_chains)])
        if self.order is None:
            return np.arange(count)[None]
        if isinstance(self.order, str):
            return np.asarray(random.permutation(count))[None]
        places = {name: place for place, name in enumerate(targets.names)}
        wanted = list(self.order)
        for name in wanted:
            if name not in places:
                raise TaskError(unknown("target in order", str(name), map(str, places)))
        if sorted(places[name] for name in wanted) != list(range(count)):
            raise TaskError(f"order must name each of the {count} targets once, found {wanted}")
        return np.array([[places[name] for name in wanted]])

    def _folds(self, X: Any, random: Any, groups: Any) -> list[tuple[Array, Array]] | None:
        rows = _num_samples(X)
        if self.cv is None or not WAYS[self.how].takes_folds:
            return None
        if rows < 2:
            raise TaskError(
                f"how={self.how!r} needs two rows to hold some out, found n_samples = 1; cv=None goes without"
            )
        if isinstance(self.cv, Integral):
            splitter = KFold(min(int(self.cv), rows), shuffle=True, random_state=random.randint(2**31))
        else:
            splitter = check_cv(self.cv)
        folds = list(splitter.split(np.zeros((rows, 1)), None, groups))
        held = np.concatenate([test for _, test in folds])
        if len(held) != rows or len(np.unique(held)) != rows:
            raise ConfigError(f"cv must leave each of the {rows} rows out once, found {len(held)} rows left out")
        return folds

    def _outputs(self, X: Any) -> list[Array]:
        check_is_fitted(self, "fitted_")
        X = readable(X)
        validate_data(self, X, skip_check_array=True, reset=False)
        return self.fitted_.outputs(X)

    def predict(self, X: Any) -> Any:
        """Values and classes in the form of the fitted targets: (n,), (n, T) or a data frame.

        Args:
            X: Inputs (n, d).
        """
        outputs = self._outputs(X)
        return self._targets.answers(outputs, getattr(X, "index", None))

    def _can_tell_chances(self) -> bool:
        learner = self._learners().classifier
        if learner is None or not hasattr(learner, "predict_proba"):
            raise AttributeError("predict_proba: there is no classifier, or it knows no probabilities")
        return True

    @available_if(_can_tell_chances)
    def predict_proba(self, X: Any) -> Any:
        """Probabilities of the classes (n, C), columns as in ``classes_``; several targets: a mapping by name.

        Args:
            X: Inputs (n, d).
        """
        outputs = self._outputs(X)
        found = {
            target.name: output
            for target, output in zip(self._targets, outputs, strict=True)
            if target.classes is not None
        }
        return found if self._targets.wide else found[0]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Mean over the targets of R² (numbers, where there are two labels) and accuracy (classes), on present labels.

        Args:
            X: Inputs (n, d).
            y: Targets in the form of the fitted ones.
            sample_weight: As in :meth:`fit`.
        """
        outputs = self._outputs(X)
        scores = []
        for target, output, (labels, present, weight) in zip(
            self._targets, outputs, self._targets.labels(y, sample_weight), strict=True
        ):
            answer = target.answer(output)[present]
            if target.classes is not None:
                if present.any():
                    scores.append(accuracy_score(labels[present], answer, sample_weight=weight))
            elif present.sum() > 1:
                scores.append(r2_score(labels[present].astype(float), answer, sample_weight=weight))
        return float(np.mean(scores)) if scores else float("nan")
