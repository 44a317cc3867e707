"""What is decided on validation rows and kept with a model: thresholds, calibration, intervals and sets."""

from __future__ import annotations

from polytask.study.decisions.choice import Decision, Decisions, choose_decisions
from polytask.study.decisions.tested import check_unseen, decisions_on_test, measure_decisions
from polytask.study.decisions.wishes import Wishes

__all__ = [
    "Decision",
    "Decisions",
    "Wishes",
    "check_unseen",
    "choose_decisions",
    "decisions_on_test",
    "measure_decisions",
]
