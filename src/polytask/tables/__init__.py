"""Any learner of tables, many targets: what is to be predicted together, with learners that know one target each.

The room needs scikit-learn and nothing else, and works with every learner of its interface.
"""

from __future__ import annotations

from polytask.tables.multitask import MultiTask

__all__ = ["MultiTask"]
