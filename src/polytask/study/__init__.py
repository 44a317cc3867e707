"""Did it help? Single-task baselines, paired seeds, gains with intervals, trials that survive anything, a report."""

from polytask.study.comparison import Comparison
from polytask.study.config import Config
from polytask.study.run import compare
from polytask.study.statistics import Interval, delta_m, paired_interval, seeds_needed, transfer_gain

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
