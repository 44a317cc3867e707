"""Any learner of tables, many targets: what is to be predicted together, with learners that know one target each.

The room needs scikit-learn and nothing else, and works with every learner of its interface.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from polytask.lazy import lazy

if TYPE_CHECKING:
    from polytask.tables.multitask import MultiTask

__all__ = ["MultiTask"]

__getattr__, __dir__ = lazy(__name__, {"multitask": ["MultiTask"]})
