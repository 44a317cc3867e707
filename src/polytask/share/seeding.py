"""Initial parameters that depend on a seed and a name, and on nothing else."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import torch

__all__ = ["local_seed"]


@contextlib.contextmanager
def local_seed(seed: int | None, *path: str) -> Iterator[None]:
    """Draw from a generator that depends on ``seed`` and ``path`` alone; the global generator is left as it was.

    Two models with the same seed then start from the same trunk and the same head for a task, whichever other tasks
    they have, which is what paired comparisons need.

    Args:
        seed: Any integer, or None to draw from the global generator.
        *path: Names of what is initialised (``"head", "age"``).

    Examples:
        >>> with local_seed(0, "head", "age"):
        ...     first = torch.rand(())
        >>> with local_seed(0, "head", "age"):
        ...     bool(first == torch.rand(()))
        True
    """
    if seed is None:
        yield
        return
    digest = hashlib.blake2s("\0".join([str(seed), *path]).encode(), digest_size=8).digest()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int.from_bytes(digest, "big") >> 1)
        yield
