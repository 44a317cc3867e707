"""The base of every section of ``polytask.toml``; each room declares its own in its ``section.py``."""

from __future__ import annotations

import pydantic
from pydantic import ConfigDict

__all__ = ["Section"]


class Section(pydantic.BaseModel):
    """Keys with checked values; a key that is not declared is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
