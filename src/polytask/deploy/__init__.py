"""Into use: a finished model from its folder, and predictions for new rows in the user's own terms."""

from __future__ import annotations

from polytask.deploy.finished import FORMS, FinishedModel, PredictionWarning, load
from polytask.deploy.rows import read_rows, write_rows

__all__ = ["FORMS", "FinishedModel", "PredictionWarning", "load", "read_rows", "write_rows"]
