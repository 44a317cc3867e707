"""Submodules keyed by task name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import final

from torch import nn

__all__ = ["TaskModules", "module_key"]


def module_key(name: str) -> str:
    """The name of a task as the name of a submodule: dots are escaped, and names of ``nn.Module``'s own attributes.

    Args:
        name: Any task name.

    Returns:
        A name that no other task maps to.

    Examples:
        >>> module_key("age"), module_key("sepal.length"), module_key("type")
        ('age', 'sepal%2Elength', '%type')
    """
    key = name.replace("%", "%25").replace(".", "%2E")
    return f"%{key}" if hasattr(nn.ModuleDict, key) or key in {"training"} or key.startswith("_") else key


@final
class TaskModules(nn.Module):
    """One submodule per task; any task name works, ``"type"`` and ``"sepal.length"`` too.

    Args:
        modules: Module of each task.

    Examples:
        >>> heads = TaskModules({"type": nn.Linear(2, 1)})
        >>> [*heads.state_dict()], "type" in heads
        (['%type.weight', '%type.bias'], True)
    """

    def __init__(self, modules: Mapping[str, nn.Module] | None = None) -> None:
        super().__init__()
        self._names: dict[str, str] = {}
        for name, module in (modules or {}).items():
            self[name] = module

    def __setitem__(self, name: str, module: nn.Module) -> None:
        self._names[name] = module_key(name)
        self.add_module(self._names[name], module)

    def __getitem__(self, name: str) -> nn.Module:
        module = self._modules[self._names[name]]  # names are escaped: no path to follow
        assert module is not None
        return module

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names
