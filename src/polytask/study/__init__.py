"""Did it help? Single-task baselines, paired seeds, gains with intervals, trials that survive anything, a report."""

from polytask.study.config import Config
from polytask.study.outcome.comparison import Comparison
from polytask.study.outcome.statistics import Interval, delta_m, paired_interval, seeds_needed, transfer_gain
from polytask.study.run import compare

__all__ = [
    "Comparison",
    "Config",
    "Interval",
    "compare",
    "delta_m",
    "paired_interval",
    "seeds_needed",
    "transfer_gain",
]
