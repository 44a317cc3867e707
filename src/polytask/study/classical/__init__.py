"""Classical estimators as entries of a study: single-task baselines of scikit-learn, families of polytask.linear.

As a user types it::

    polytask compare star.toml --methods stl,equal,ridge,boosting,mean_regularized,task_relationship --seeds 3
    compare(data, methods=["stl", "equal", "ridge", "boosting", "joint_feature", {"name": "trace_norm", "alpha": 0.1}])

    compare(data, methods=["boosting", "boosting:how=chain", {"name": "learner", "estimator": RandomForestRegressor()}])

The walk of the data::

    Source ──read_rows──▶ Rows ──Encoding, of the training rows──▶ matrix of the linear models | matrix of the trees
                                                                                    │
    TaskMeter ◀── heads ◀── Fitted.predict ◀── Entry.fit(matrices, standardised targets, folds of the seed)

A head is what a network's head would put out for the same prediction (standardised value, logit, log probability, log
rate), so that the metrics of networks and estimators are computed by the same code from the same rows.
"""

from polytask.study.classical.entries import BASELINES, entry_names, find_entry, reasons_against
from polytask.study.classical.entry import Entry
from polytask.study.classical.fit import check_estimator, fit_estimator, learn

__all__ = [
    "BASELINES",
    "Entry",
    "check_estimator",
    "entry_names",
    "find_entry",
    "fit_estimator",
    "learn",
    "reasons_against",
]
