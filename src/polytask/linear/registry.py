"""The estimators of this room, and how to add one.

1. Write ``linear/families/<family>.py``: a dataclass mixin on :class:`~polytask.linear.penalised.PenalisedFamily`
   whose fields are the family's parameters and whose ``_penalty`` returns a
   :class:`~polytask.linear.core.penalties.Penalty` (``_coupling`` for ½tr(W M Wᵀ), ``_describe`` for fitted attributes,
   ``_solve`` for a solver of its own). Its four leaves inherit ``(Family, FixedAlpha | CrossValidated,
   MultiTaskRegressor | MultiTaskClassifier)``. A method that is no penalised convex problem implements
   ``_fit_problem`` on :class:`~polytask.linear.base.LinearMultiTask`; one whose α is a number of a procedure is a
   :class:`~polytask.linear.procedure.Procedure` that implements ``_solve``.
2. Add one line to ``FAMILIES`` below: names are exported and looked up from there.
   A package of its own declares ``Name = "package.module:Name"`` in the entry-point group ``polytask.estimators``
   instead: :data:`ESTIMATORS` and :func:`get_estimator` then know it.
3. The conformance tests run on everything listed here; an exemption is an entry in their table, with its reason.
"""

from __future__ import annotations

from typing import Any

from polytask.registry import Registry

__all__ = ["ESTIMATORS", "FAMILIES", "PLUGINS", "get_estimator"]

PLUGINS = "polytask.estimators"
"""Entry-point group in which other packages register estimators: ``name = "package.module:Class"``."""


def _four(family: str) -> tuple[str, ...]:
    """Regressor and classifier, at one α and cross-validated."""
    return tuple(f"{family}{kind}{variant}" for variant in ("", "CV") for kind in ("Regressor", "Classifier"))


FAMILIES: dict[str, tuple[str, ...]] = {
    "asymmetric": _four("Asymmetric"),
    "calibrated": ("CalibratedRegressor", "CalibratedRegressorCV"),
    "capped": _four("CappedFeature"),
    "chains": ("TaskChainRegressor", "TaskChainClassifier"),
    "clustered": _four("ClusteredTasks"),
    "convex_aso": _four("AlternatingStructure"),
    "debiased": _four("DebiasedLasso"),
    "dependence": _four("Dependence"),
    "dirichlet_tasks": _four("DirichletTasks"),
    "dirty": _four("DirtyModel"),
    "feature_learning": _four("FeatureLearning"),
    "fused_sparse_group": _four("FusedSparseGroup"),
    "graph_regularized": _four("GraphRegularized"),
    "grouping_overlap": _four("GroupingOverlap"),
    "incomplete_sources": _four("IncompleteSources"),
    "joint_feature": _four("JointFeature"),
    "label_optimal": ("LabelOptimalClassifier", "LabelOptimalClassifierCV"),
    "mean_regularized": _four("MeanRegularized"),
    "nonconvex_fused": _four("NonconvexFused"),
    "powerset": ("LabelPowerset", "LabelPowersetCV"),
    "robust": _four("RobustLowRank"),
    "robust_feature": _four("RobustFeature"),
    "shared_groups": _four("SharedGroups"),
    "sparse_low_rank": _four("SparseLowRank"),
    "task_groups": _four("TaskGroups"),
    "task_lasso": _four("TaskLasso"),
    "task_relationship": _four("TaskRelationship"),
    "temporal_group": _four("TemporalGroup"),
    "tensor_tasks": _four("TensorTasks"),
    "trace_norm": _four("TraceNorm"),
}
"""Modules of ``polytask.linear.families``, each with the estimators it defines."""


def _is_estimator(found: Any) -> bool:
    return isinstance(found, type) and all(callable(getattr(found, name, None)) for name in ("fit", "get_params"))


ESTIMATORS: Registry[type[Any]] = Registry(
    "estimator",
    {name: f"{module}:{name}" for module, names in FAMILIES.items() for name in names},
    package="polytask.linear.families",
    group=PLUGINS,
    fits=_is_estimator,
    expected="a class with scikit-learn's fit and get_params",
)
"""Every estimator by name. Its module is imported when it is first asked for."""


def get_estimator(name: str) -> Any:
    """The estimator class of a name.

    Args:
        name: A key of :data:`ESTIMATORS`.

    Raises:
        ConfigError: There is none of this name; the nearest one is given.

    Examples:
        >>> get_estimator("TraceNormRegressor").__name__
        'TraceNormRegressor'
    """
    return ESTIMATORS.find(name)
