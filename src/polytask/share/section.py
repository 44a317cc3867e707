"""``[model]`` of the configuration."""

from __future__ import annotations

from polytask.section import Section

__all__ = ["ModelSection"]


class ModelSection(Section):
    """``[model]``: the network.

    Attributes:
        encoder: Specification of the shared part (``"mlp:128,128"``), or ``"module:function"`` taking an
            :class:`~polytask.data.InputSpec` and returning a module; the dataset's own default when left out.
        architecture: How the tasks share it.
    """

    encoder: str | None = None
    architecture: str = "hard"
