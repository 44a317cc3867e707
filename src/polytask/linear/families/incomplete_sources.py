"""Incomplete sources: rows lack whole groups of columns; every pattern of available sources is a task."""

from __future__ import annotations

from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted, validate_data

from polytask.errors import DataError, TaskError
from polytask.linear.alpha import CrossValidated, FixedAlpha
from polytask.linear.base import parameters
from polytask.linear.families.joint_feature import JointFeature
from polytask.linear.penalised import PathResult
from polytask.linear.supervised import MultiTaskClassifier, MultiTaskRegressor

__all__ = [
    "IncompleteSourcesClassifier",
    "IncompleteSourcesClassifierCV",
    "IncompleteSourcesRegressor",
    "IncompleteSourcesRegressorCV",
]

Array = NDArray[Any]


def _find_sources(missing: Array) -> list[Array]:
    """Columns that are missing in the same rows belong to one source."""
    _, codes = np.unique(missing, axis=1, return_inverse=True)
    first = np.unique(codes, return_index=True)[1]
    return [np.flatnonzero(codes == codes[j]) for j in np.sort(first)]


@parameters
class IncompleteSources(JointFeature):
    """Joint feature selection over the patterns of available sources.

    Args:
        sources: Groups of columns, by number or name.
    """

    sources: Any = None

    _parameter_constraints: ClassVar[dict[str, Any]] = {"sources": [None, list, tuple], "task_col": [None]}

    def __sklearn_tags__(self) -> Any:
        """NaN is a missing source; dense inputs and one target."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = False
        tags.target_tags.multi_output = False
        if tags.classifier_tags is not None:
            tags.classifier_tags.multi_label = False
        return tags

    def _read(self, X: Any, task: Any, *, reset: bool) -> Array:
        if task is not None:
            raise TaskError("here the tasks are the patterns of missing columns; task= is not supported")
        return np.asarray(
            validate_data(self, X, ensure_all_finite="allow-nan", dtype=[np.float64, np.float32], reset=reset)
        )

    def _columns(self, missing: Array, names: Array | None) -> list[Array]:
        if self.sources is None:
            return _find_sources(missing)
        place = {} if names is None else {name: j for j, name in enumerate(names.tolist())}
        found = [
            np.array([place[c] if isinstance(c, str) else c for c in group], dtype=np.intp) for group in self.sources
        ]
        if not np.array_equal(np.sort(np.concatenate(found)), np.arange(missing.shape[1])):
            raise DataError(f"sources must name each of the {missing.shape[1]} columns once")
        for s, columns in enumerate(found):
            part = missing[:, columns]
            mixed = np.flatnonzero(part.any(axis=1) & ~part.all(axis=1))
            if mixed.size:
                raise DataError(
                    f"row {mixed[0]} has some but not all columns of source {s} (as do {mixed.size - 1} other rows); "
                    "impute them, or split the source"
                )
        return found

    def _patterns(self, X: Any, task: Any) -> tuple[Array, Array, list[Array], Array]:
        """Zero-filled inputs, a label per row, the sources, and which are there (n, S)."""
        data = self._read(X, task, reset=True)
        missing = np.isnan(data)
        sources = self._columns(missing, getattr(self, "feature_names_in_", None))
        present = np.stack([~missing[:, columns].any(axis=1) for columns in sources], axis=1)
        return np.where(missing, 0, data), _labels(present), sources, present

    def fit(self, X: Any, y: Any = None, task: Any = None, sample_weight: Any = None) -> Any:
        """Fit one model per pattern of available sources, jointly.

        Args:
            X: Inputs (n, d); NaN where a source is missing.
            y: Targets (n,).
            task: Not supported.
            sample_weight: Weights of the rows (n,).

        Returns:
            The estimator.

        Raises:
            DataError: ``sources`` do not fit the columns, or a row has part of a source.
        """
        self._validate_params()
        filled, labels, sources, present = self._patterns(X, task)
        names = getattr(self, "feature_names_in_", None)
        super().fit(filled, y, task=labels, sample_weight=sample_weight)
        if names is not None:
            self.feature_names_in_ = names
        self.sources_ = sources
        first = np.unique(labels, return_index=True)[1]
        self.patterns_ = present[first]
        return self

    def alpha_max(self, X: Any, y: Any = None, task: Any = None, sample_weight: Any = None) -> float:
        """Smallest α at which all coefficients are zero; see :meth:`fit`."""
        probe = type(self)(**self.get_params(deep=False))
        filled, labels, _, _ = probe._patterns(X, task)
        return super().alpha_max(filled, y, task=labels, sample_weight=sample_weight)

    def path(self, X: Any, y: Any = None, task: Any = None, sample_weight: Any = None, **options: Any) -> PathResult:
        """Fit along a decreasing sequence of α; see :meth:`fit` and ``PenalisedFamily.path``."""
        probe = type(self)(**self.get_params(deep=False))
        filled, labels, _, _ = probe._patterns(X, task)
        return super().path(filled, y, task=labels, sample_weight=sample_weight, **options)

    def _decision(self, X: Any, task: Any) -> Array:
        check_is_fitted(self)
        data = self._read(X, task, reset=False)
        missing = np.isnan(data)
        present = np.stack([~missing[:, columns].any(axis=1) for columns in self.sources_], axis=1)
        widths = np.array([len(columns) for columns in self.sources_])
        codes = np.empty(len(data), dtype=np.intp)
        for pattern in np.unique(present, axis=0):
            # the model that uses most of the columns which are there, and no other
            usable = ~np.any(self.patterns_ & ~pattern, axis=1)
            if not usable.any():
                have = ", ".join(map(str, np.flatnonzero(pattern))) or "none"
                raise TaskError(f"no pattern seen in fit does with the sources that are there: {have}")
            codes[(present == pattern).all(axis=1)] = np.argmax(np.where(usable, self.patterns_ @ widths, -1))
        filled = np.where(missing, 0, data)
        return np.asarray(np.einsum("ij,ij->i", filled, self.coef_[codes]) + np.asarray(self.intercept_)[codes])


def _labels(present: Array) -> Array:
    return np.array(["+".join(map(str, np.flatnonzero(row))) for row in present])


@final
@parameters
class IncompleteSourcesRegressor(IncompleteSources, FixedAlpha, MultiTaskRegressor):
    """Regression on rows that lack whole sources, without imputation (iMSF).

    min over W, b of (1/n̄) Σ_p Σ_{i in p} ½(y_i − x_i·w_p − b_p)² + α Σ_j ‖W_j‖_2 + (ridge/2) ‖W‖_F²

    where p runs over the patterns of available sources in the training rows, w_p is zero outside the pattern's columns,
    W_j holds feature j's coefficients in all patterns that have it, and n̄ is the mean number of rows per pattern.

    Args:
        alpha: Weight α > 0 of the penalty; :meth:`alpha_max` is where all coefficients vanish.
        sources: Lists of columns (numbers or names); None takes columns missing in the same rows as one source.
        norm, l1_ratio, ridge, loss, fit_intercept, task_weight, tol, max_iter, warm_start, unseen: As in
            :class:`JointFeatureRegressor`.
        task_col: Not supported.

    Attributes:
        sources_: Columns of every source.
        tasks_: Patterns, as the sources' numbers joined by ``+``.
        patterns_: Which sources each pattern has (P, S).
        coef_: (P, d), zero for columns the pattern lacks.
        intercept_, selected_, dual_gap_, objective_, n_iter_: See :class:`JointFeatureRegressor`.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(60, 4))
        >>> y = X @ [1.0, 0.0, 2.0, 0.0]
        >>> X[:20, 2:] = np.nan
        >>> model = IncompleteSourcesRegressor(alpha=0.5).fit(X, y)
        >>> model.tasks_.tolist(), model.selected_.tolist()
        (['0', '0+1'], [0, 2])

    Notes:
        Constant features are centred away and stay at zero. A row to predict with a new pattern takes the model of the
        fitted pattern with the most columns among those it has.

    References:
        Yuan, Wang, Thompson, Narayan & Ye (2012), Multi-source feature learning for joint analysis of incomplete
        multiple heterogeneous neuroimaging data.
    """


@final
@parameters
class IncompleteSourcesClassifier(IncompleteSources, FixedAlpha, MultiTaskClassifier):
    """Binary classification of rows that lack whole sources, without imputation.

    As :class:`IncompleteSourcesRegressor` with a loss of :class:`MultiTaskClassifier`.
    """


@final
@parameters
class IncompleteSourcesRegressorCV(IncompleteSources, CrossValidated, MultiTaskRegressor):
    """:class:`IncompleteSourcesRegressor` with α chosen by cross-validation; see :class:`CrossValidated`."""


@final
@parameters
class IncompleteSourcesClassifierCV(IncompleteSources, CrossValidated, MultiTaskClassifier):
    """:class:`IncompleteSourcesClassifier` with α chosen by cross-validation; see :class:`CrossValidated`."""
