"""Hard parameter sharing: one trunk for all tasks, one head per task."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, final

from torch import Tensor, nn

from polytask.errors import ConfigError, TaskError
from polytask.share.heads import build_head
from polytask.share.model import Inputs, MultiTaskModel
from polytask.share.naming import TaskModules
from polytask.share.options import whole, widths
from polytask.tasks import Task, TaskSet

__all__ = ["HardSharing"]

_KEEP_WIDTH = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid, nn.Softplus,
    nn.Identity, nn.Dropout, nn.AlphaDropout, nn.LayerNorm, nn.RMSNorm, nn.BatchNorm1d,
)  # fmt: skip


@final
class HardSharing(MultiTaskModel):
    """Hard parameter sharing: ŷ_t = h_t(f(x)), with one encoder f for all tasks and one head h_t per task t.

    The encoder stays the user's module: it is called with the inputs as the loader gives them (one tensor, or a
    dictionary) and must return the representation, (B, ``width``).

    Args:
        encoder: Any module from inputs to (B, ``width``).
        tasks: The tasks, or whatever describes a :class:`~polytask.tasks.TaskSet`.
        heads: Modules of the user for some or all tasks; None (or no entry) builds one from the task's kind.
        width: Number of features the encoder returns; by default its attribute ``out_features``, or that of the last
            layer of an ``nn.Sequential``.
        head_hidden: Widths of the hidden layers of built heads; none by default.
        seed: Built heads depend on it and on their task's name alone; None draws from the global generator.

    Raises:
        ConfigError: The width cannot be known.
        TaskError: ``heads`` names an unknown task.

    Examples:
        >>> import torch
        >>> model = HardSharing(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), [Task("age"), Task("sex", "binary")])
        >>> {name: tuple(output.shape) for name, output in model(torch.zeros(2, 3)).items()}
        {'age': (2, 1), 'sex': (2, 1)}
        >>> print(model.describe())
        HardSharing
        part    parameters
        shared          16
        age              5
        sex              5
        total           26

    Reference:
        Caruana, Multitask Learning, Machine Learning 28, 1997.
    """

    options = MappingProxyType({"width": whole(None), "head_hidden": widths()})

    def __init__(
        self,
        encoder: nn.Module,
        tasks: TaskSet | Task | Iterable[Task] | Mapping[str, Task | str],
        *,
        heads: Mapping[str, nn.Module | None] | None = None,
        width: int | None = None,
        head_hidden: Sequence[int] = (),
        seed: int | None = None,
    ) -> None:
        super().__init__(tasks)
        heads = heads or {}
        self.tasks.check_names("heads", heads)
        self.encoder = encoder
        self.width = _width(encoder) if width is None else width
        self.head_hidden = tuple(head_hidden)
        self.seed = seed
        self.heads = TaskModules()
        for name, task in self.tasks.items():
            self._extend(task, head=heads.get(name))

    def _extend(self, task: Task, **options: Any) -> None:
        head = options.pop("head", None)
        if options:
            raise TaskError(f"a new task of hard sharing takes head=, found {', '.join(options)}")
        if head is None:
            if self.width is None:
                raise ConfigError(
                    f"the width of the representation that {type(self.encoder).__name__} returns is unknown: "
                    "pass width=, or give the encoder an attribute out_features"
                )
            head = build_head(task, self.width, self.head_hidden, seed=self.seed)
        self.heads[task.name] = head

    def encode(self, inputs: Inputs) -> Tensor:
        """The encoder's output, (B, ``width``)."""
        features = self.encoder(inputs)
        if not isinstance(features, Tensor):
            raise ConfigError(
                f"the encoder must return a tensor, found {type(features).__name__}; "
                "wrap it in a module that picks the representation"
            )
        if self.width is not None and features.shape[-1] != self.width:
            raise ConfigError(
                f"expected a representation of width {self.width}, the encoder returned {tuple(features.shape)}; "
                f"pass width={features.shape[-1]}"
            )
        return features

    def decode(self, features: Tensor, tasks: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Each head's output."""
        return {name: self.heads[name](features) for name in self.select(tasks)}

    def shared_parameters(self) -> Iterator[nn.Parameter]:
        """The encoder's parameters."""
        return self.encoder.parameters()

    def task_parameters(self, name: str) -> Iterator[nn.Parameter]:
        """The head's parameters."""
        (name,) = self.select([name])
        return self.heads[name].parameters()


def _width(encoder: nn.Module) -> int | None:
    """Number of features that the encoder says it returns."""
    width = getattr(encoder, "out_features", None)
    if isinstance(width, int):
        return width
    if isinstance(encoder, nn.Sequential):
        for module in reversed(encoder):
            if not isinstance(module, _KEEP_WIDTH):
                return _width(module)
    return None
