"""Plain values from which a model is built, and from which what was learned becomes a model again."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
import json
import re
import types
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, final

import torch
from torch import nn

from polytask.errors import ConfigError
from polytask.share.architectures import ARCHITECTURES, read_architecture
from polytask.share.encoders import build_encoder
from polytask.share.model import MultiTaskModel

if TYPE_CHECKING:
    from polytask.data import InputSpec, MultiTaskData
    from polytask.data.interface import Interface

    EncoderSource = str | Callable[[InputSpec], nn.Module]

__all__ = ["Blueprint", "encoder_name", "find_function"]

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


@final
@dataclasses.dataclass(frozen=True)
class Blueprint:
    """What a model is made of; the one place where models are built.

    Attributes:
        interface: What goes in and what comes out: inputs, tasks, the fitted encoding of a table.
        encoder: One line of text as for :func:`~polytask.share.build_encoder`, or a function from an
            :class:`~polytask.data.InputSpec` to a module.
        architecture: Name in :data:`~polytask.share.ARCHITECTURES`.
        options: Its options, in their types.
        seed: The initial parameters depend on it alone; None draws from the global generator.

    Examples:
        >>> from polytask import data
        >>> blueprint = Blueprint.of(data.load("multidigits", n=100), encoder="cnn:4;width=8", head_hidden=[4])
        >>> first, second = blueprint.build(), Blueprint.from_dict(blueprint.to_dict()).build()
        >>> all(bool((a == b).all()) for a, b in zip(first.parameters(), second.parameters(), strict=True))
        True
    """

    interface: Interface
    encoder: EncoderSource
    architecture: str = "hard"
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seed: int | None = 0

    @classmethod
    def of(
        cls,
        data: MultiTaskData,
        *,
        encoder: EncoderSource | None = None,
        architecture: str | Mapping[str, Any] = "hard",
        tasks: Iterable[str] | None = None,
        seed: int | None = 0,
        **options: Any,
    ) -> Blueprint:
        """The blueprint of a model for a dataset.

        Args:
            data: Says what the inputs and the tasks are, and which encoder is a good default.
            encoder: As the attribute; by default ``data.encoder``.
            architecture: A name, or a table with ``name`` and options.
            tasks: Names of the tasks to learn; all by default.
            seed: As the attribute.
            **options: Of the architecture.

        Raises:
            ConfigError: The architecture or an option is unknown, or a value is not allowed.
            TaskError: One of ``tasks`` is no task of the data.
        """
        from polytask.data.interface import Interface

        name, checked = read_architecture(architecture, options)
        return cls(Interface.of(data, tasks), data.encoder if encoder is None else encoder, name, checked, seed)

    def build(self, *, encoder: nn.Module | None = None, **modules: Any) -> MultiTaskModel:
        """A freshly initialised model; the global generator is left as it was.

        Args:
            encoder: A module in place of the one that the blueprint names.
            **modules: Arguments of the architecture that are modules (hard sharing: ``heads``).

        Raises:
            ConfigError: The encoder is unknown or does not fit, or the architecture takes no such modules.
        """
        trunk = self._encoder() if encoder is None else encoder
        make: Callable[..., MultiTaskModel] = ARCHITECTURES[self.architecture]
        return make(trunk, self.interface.tasks, seed=self.seed, **self.options, **modules)

    def _encoder(self) -> nn.Module:
        inputs = self.interface.inputs
        if isinstance(self.encoder, str):
            return build_encoder(self.encoder, inputs, seed=self.seed)
        if self.seed is None:
            made = self.encoder(inputs)
        else:
            with torch.random.fork_rng():
                torch.manual_seed(self.seed)
                made = self.encoder(inputs)
        if not isinstance(made, nn.Module):
            raise ConfigError(f"{encoder_name(self.encoder)} must return a module, found {type(made).__name__}")
        return made

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; a function by its name."""
        kind = "spec" if isinstance(self.encoder, str) else "function"
        options = {key: list(value) if isinstance(value, tuple) else value for key, value in self.options.items()}
        return {
            "interface": self.interface.to_dict(),
            "encoder": {kind: encoder_name(self.encoder)},
            "architecture": self.architecture,
            "options": options,
            "seed": self.seed,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, encoder: EncoderSource | None = None) -> Blueprint:
        """What :meth:`to_dict` gave.

        Args:
            values: Plain values.
            encoder: The encoder, where it is a function that cannot be imported by its name.

        Raises:
            ConfigError: The encoder's function cannot be imported, or this version lacks the architecture or an option.
        """
        from polytask.data.interface import Interface

        if encoder is None:
            named = values["encoder"]
            encoder = named["spec"] if "spec" in named else find_function(named["function"])
        name, options = read_architecture(values["architecture"], values["options"])
        return cls(Interface.from_dict(values["interface"]), encoder, name, options, values["seed"])


def encoder_name(encoder: Any) -> str:
    """Text that identifies an encoder: its specification, or ``"module:name"`` of the function that makes it.

    Arguments that were bound to the function with :func:`functools.partial` follow in brackets. The text is the same in
    every process.

    Examples:
        >>> encoder_name(functools.partial(build_encoder, "mlp:8", seed=3))
        "polytask.share.encoders:build_encoder('mlp:8', seed=3)"
    """
    if isinstance(encoder, str):
        return encoder
    if isinstance(encoder, functools.partial):
        bound = [*map(_told, encoder.args), *(f"{key}={_told(value)}" for key, value in encoder.keywords.items())]
        return f"{encoder_name(encoder.func)}({', '.join(bound)})"
    if isinstance(encoder, types.MethodType):
        return f"{encoder_name(encoder.__func__)} of {_told(encoder.__self__)}"
    module = getattr(encoder, "__module__", "?")
    return f"{module}:{encoder.__qualname__}" if hasattr(encoder, "__qualname__") else f"{module}:{_told(encoder)}"


def _told(value: Any) -> str:
    """What a value is, without the address at which this process keeps it; of a module, its numbers too."""
    if isinstance(value, nn.Module):
        plain = {
            key: item
            for key, item in vars(value).items()
            if isinstance(item, int | float | str) and key != "training" and not key.startswith("_")
        }
        state = {name: tensor.tolist() for name, tensor in value.state_dict().items()}
        digest = hashlib.sha256(json.dumps([plain, state], sort_keys=True).encode()).hexdigest()[:12]
        return f"{_ADDRESS.sub('', repr(value))} {digest}"
    return encoder_name(value) if hasattr(value, "__qualname__") else _ADDRESS.sub("", repr(value))


def find_function(name: str) -> Callable[..., Any]:
    """The function that :func:`encoder_name` named.

    Raises:
        ConfigError: It cannot be imported under that name.

    Examples:
        >>> find_function("polytask.share.encoders:build_encoder").__name__
        'build_encoder'
    """
    module, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"the encoder was made by the function {name}, which cannot be imported here ({error}). Put it at the top "
            "level of a module that Python finds, not in a script or inside another function; or pass it: "
            "encoder=the_function"
        ) from error
    if not callable(found):
        raise ConfigError(f"the encoder was made by the function {name}, which is a {type(found).__name__} here")
    return found  # type: ignore[no-any-return]
