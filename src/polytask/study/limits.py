"""Limits of the machine, which say nothing of a method."""

from __future__ import annotations

import errno
import re

__all__ = ["MEMORY", "limit_of"]

MEMORY = "out of memory"

# PyTorch on a GPU and on a CPU, the C++ library below it, scikit-learn's worker processes
_WORDS = re.compile(
    r"out of memory|can(no|')t allocate memory|not enough memory|bad_alloc|unable to allocate|excessive memory usage",
    re.IGNORECASE,
)


def limit_of(error: BaseException) -> str:
    """The limit of the machine behind an error, in words; empty if there is none.

    Examples:
        >>> limit_of(MemoryError()), limit_of(RuntimeError("CUDA error: out of memory")), limit_of(ValueError("a"))
        ('out of memory', 'out of memory', '')
    """
    behind: BaseException | None = error
    while behind is not None:
        if isinstance(behind, MemoryError) or (isinstance(behind, OSError) and behind.errno == errno.ENOMEM):
            return MEMORY
        if isinstance(behind, RuntimeError | OSError) and _WORDS.search(str(behind)):
            return MEMORY
        behind = behind.__cause__ or behind.__context__
    return ""
