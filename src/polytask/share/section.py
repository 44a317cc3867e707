"""``[model]`` of a configuration: the network."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict

from polytask.errors import ConfigError
from polytask.section import Section
from polytask.share.architectures import ARCHITECTURES, read_architecture

__all__ = ["ModelSection"]


class ModelSection(Section):
    """``[model]``: the network; further keys of the section are options of the architecture.

    Attributes:
        encoder: Specification of the shared part (``"mlp:128,128"``), or ``"module:function"`` taking an
            :class:`~polytask.data.InputSpec` and returning a module; the dataset's own default when left out.
        architecture: How the tasks share it: a name, or a table with ``name`` and options; or a list of these to
            compare (``polytask train`` and single-task networks take the first).

    Examples:
        >>> ModelSection(architecture="hard", head_hidden=[16]).sharing
        {'name': 'hard', 'head_hidden': [16]}
    """

    model_config = ConfigDict(extra="allow")

    encoder: str | None = None
    architecture: str | dict[str, Any] | list[str | dict[str, Any]] = "hard"

    @property
    def sharing(self) -> str | dict[str, Any] | list[str | dict[str, Any]]:
        """The architecture: its name, or a table with its name and options; or several."""
        if isinstance(self.architecture, list):
            return self.architecture
        given = self.architecture if isinstance(self.architecture, dict) else {"name": self.architecture}
        found = {**given, **(self.model_extra or {})}
        return found["name"] if set(found) == {"name"} else found

    def check(self, no_key: Any) -> None:
        """Check the architecture and its options.

        Args:
            no_key: Words the message for a key that is none, from the key and the known ones.

        Raises:
            ConfigError: The architecture or an option is unknown, or a value is not allowed.
        """
        if isinstance(self.architecture, list):
            for key in self.model_extra or {}:
                raise ConfigError(
                    f"{no_key(key, list(type(self).model_fields))}. Options of several architectures go into their "
                    f'tables, as in architecture = ["hard", {{name = "hard", {key} = …}}]'
                )
            return
        name, _ = read_architecture(self.architecture)
        declared = ARCHITECTURES[name].options
        for key in self.model_extra or {}:
            if key not in declared:
                known = [*type(self).model_fields, *declared]
                raise ConfigError(f"{no_key(key, known)}. Known keys: {', '.join(known)}")
        read_architecture(self.architecture, self.model_extra)
