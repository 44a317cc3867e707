"""What a trial is asked to do, and the name of its folder."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from typing import Any, final

from polytask.data import MultiTaskData
from polytask.errors import ConfigError
from polytask.study.contenders import Contender
from polytask.study.contenders.identity import surroundings

__all__ = ["TrialSpec"]


@final
@dataclasses.dataclass(frozen=True)
class TrialSpec:
    """Everything that determines a trial's result, apart from the data.

    Attributes:
        contender: The row that it belongs to.
        tasks: Tasks to learn.
        seed: Seed of everything random.
    """

    contender: Contender
    tasks: tuple[str, ...]
    seed: int

    def config(self, data: MultiTaskData) -> dict[str, Any]:
        """What is hashed: plain values that determine the result."""
        own = self.contender.config(data, self.tasks, self.seed)
        return {**surroundings(data, self.tasks, self.seed), **own}

    def id(self, data: MultiTaskData) -> str:
        """Name of the trial's directory: row, tasks where a trial has not all of them, seed, hash.

        Raises:
            ConfigError: The row's ``config`` holds what JSON cannot hold.
        """
        try:
            text = json.dumps(self.config(data), sort_keys=True)
        except TypeError as error:
            raise ConfigError(
                f"{self.contender.label}: config() must hold what JSON holds, as a trial is known by it: {error}"
            ) from error
        part = self.contender.alone or self.tasks != data.tasks.names
        tasks = f"-{_slug('+'.join(self.tasks))}" if part else ""
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        return f"{_slug(self.contender.entry)}{tasks}-s{self.seed}-{digest}"


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.=]+", "-", text).strip("-.")[:40] or "x"
