"""How many threads BLAS may use."""

from __future__ import annotations

from typing import Any

from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

__all__ = ["one_blas_thread"]

_CONTROLLER: ThreadpoolController | None = None


def one_blas_thread() -> Any:
    """Context manager that holds BLAS to one thread; about ten microseconds to enter.

    Small eigenvalue problems are several times slower with two threads than with one as soon as the machine is busy.

    Examples:
        >>> import numpy as np
        >>> with one_blas_thread():
        ...     np.linalg.eigvalsh(np.eye(2)).tolist()
        [1.0, 1.0]
    """
    global _CONTROLLER  # noqa: PLW0603 - finding the loaded BLAS libraries is slow and done once
    if _CONTROLLER is None:
        _CONTROLLER = ThreadpoolController()
    return _CONTROLLER.limit(limits=1, user_api="blas")
