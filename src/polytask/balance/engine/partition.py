"""Which parameters do the tasks share? Read from the autograd graph of their losses, not from the model's class."""

from __future__ import annotations

import dataclasses
import warnings
import weakref
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from polytask.balance.engine.graph import entangled, reached, walked
from polytask.balance.engine.saved_partition import SavedPartition
from polytask.balance.engine.steady import Steady
from polytask.balance.engine.weak import WeakTensors
from polytask.errors import MethodError

__all__ = ["Meeting", "Partition", "declared_parameters"]


class Meeting(NamedTuple):
    """What a look at some losses' graphs gave.

    Attributes:
        leaves: Every leaf that a backward pass of these losses may write to.
        news: Whether a task or a parameter was new.
        compiled: Whether there is a compiled function in the graphs.
        plain: Whether the graphs hid nothing and met parameters only.
    """

    leaves: list[Tensor]
    news: bool = False
    compiled: bool = False
    plain: bool = True


@dataclasses.dataclass
class Partition:
    """The split of all parameters into shared ones, ones of a single task, and ones no task reaches.

    A parameter is shared when at least two tasks reach it, or when it was declared shared. The partition grows as
    tasks are seen: under alternating steps the first task seems to own everything until the second one comes.

    Parameters are ``nn.Parameter`` objects and what was declared. Other leaves that require a gradient, such as the
    points of a physics-informed network, stand :attr:`aside`; only where no loss reaches any parameter (a problem
    written with plain tensors) they count as parameters. Nothing is kept alive but what was declared.

    Attributes:
        declared: Parameters declared shared by the user, with their names; ``None`` lets the graph decide.
        module: The module whose parameters those are, for parameters that it gets later.
        needed: Whether a step relies on the partition; if not, graphs that hide a part of it are taken as they seem.
        opaque: Why the graph does not tell the whole partition, in words; ``None`` where it does.
    """

    declared: Mapping[str, Tensor] | None = None
    needed: bool = True
    module: dataclasses.InitVar[nn.Module | None] = None

    def __post_init__(self, module: nn.Module | None) -> None:
        self._module = None if module is None else weakref.ref(module)
        self._names = WeakTensors(self.declared)
        self.reset()

    def reset(self) -> None:
        """Forget everything read from graphs or loaded; what was declared, and the parameters' names, stay."""
        self.opaque: str | None = None
        self._leaves = WeakTensors[int]()
        self._reach: dict[str, WeakTensors[int]] = {}
        self._shared = WeakTensors[int]()
        self._own: dict[str, WeakTensors[int]] = {}
        self._aside = WeakTensors[int]()
        self._met: set[str] = set()
        self._only_plain = not self.declared
        self._saved = SavedPartition()
        self._steady = Steady()

    def __getstate__(self) -> dict[str, Any]:
        """What a copy needs: it finds parameters that are copied along, and the others as a resumed run does."""
        kept = ("declared", "needed", "opaque", "_names", "_only_plain")
        module = None if self._module is None else self._module()
        return {name: getattr(self, name) for name in kept} | {"_saved": self._to_save(), "_module": module}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.declared = state["declared"]
        self.reset()
        vars(self).update(state)
        self._module = None if state["_module"] is None else weakref.ref(state["_module"])
        self._recall()

    def know(self, model: nn.Module) -> dict[str, Tensor]:
        """Take note of parameters' names, by which a saved partition is found again; returns them."""
        names = _named(model)
        self._names = WeakTensors({**(self.declared or {}), **names})
        self._recall()
        return names

    def state_dict(self) -> dict[str, Any]:
        """What each task reaches, by the parameters' names, or by their places in the walk where there are none."""
        return self._to_save().state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave, as far as parameters are known; the others follow with their tasks."""
        self._saved = SavedPartition.of(state)
        for name, found in self.reach.items():
            self._saved.recognise_walk(name, list(found.values()), strict=False)
        self._recall()

    def see(self, losses: Mapping[str, Tensor]) -> bool:
        """Take note of the graphs of these tasks; returns whether a task or a parameter was new.

        The union of the graphs is walked in every step, which is cheap and finds parameters that a changing graph
        (routing, layer dropping) did not reach before; only then is every task's graph walked by itself.

        Raises:
            MethodError: The graph does not tell what a step needs, or is that of another model.
        """
        return self.meet(losses).news

    def meet(self, losses: Mapping[str, Tensor]) -> Meeting:
        """As :meth:`see`, with all that is known after the walk."""
        walk = walked(*losses.values())
        if walk.hides:
            self._refuse_checkpoint(losses)
        news = self._take_note(losses, walk.leaves)
        hidden = () if self.opaque is None else self._hidden()
        return Meeting([*walk.leaves.values(), *hidden], news, walk.compiled, self.opaque is None and not self._aside)

    def glance(self, losses: Mapping[str, Tensor]) -> Meeting:
        """As :meth:`meet`, but graphs that are known are not walked again: then everything known may be reached."""
        leaves = self._steady.leaves(losses) if losses else None
        if leaves is not None:
            return Meeting(leaves)
        meeting = self.meet(losses)
        plain = meeting.plain and not (meeting.news or meeting.compiled)
        self._steady.walked(self.known if plain else (), plain=plain)
        return meeting

    def _take_note(self, losses: Mapping[str, Tensor], leaves: Mapping[int, Tensor]) -> bool:
        known = self._met.issuperset(losses)
        if known and self._leaves.holds(leaves):
            if self._aside:
                self._aside = WeakTensors()
            return False
        parameters = self._parameters(leaves)
        if known and self._leaves.holds(parameters):
            return False
        self._declare_again()
        self._refuse_entangled(losses)
        walks = {
            name: {k: leaf for k, leaf in reached(loss).items() if k in parameters} for name, loss in losses.items()
        }
        self._refuse_strangers(walks)
        if len({loss.grad_fn for loss in losses.values()}) < len(losses):
            walks = {name: self._as_before(name, walk) for name, walk in walks.items()}
        for name, walk in walks.items():
            if name in self._saved.tasks and name not in self._met:
                self._saved.recognise_walk(name, list(walk.values()))
                self._recall()
            self._leaves.update(walk)
            self._reach.setdefault(name, WeakTensors()).update(walk)
            self._met.add(name)
        self._divide()
        return True

    def _as_before(self, name: str, walk: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """What a task reaches, where losses that are entries of one vector seem to reach what any of them does.

        Of parameters that are known, what was known of them stands; others are taken to be reached by all.
        """
        before = self._reach.get(name, WeakTensors())
        return {key: leaf for key, leaf in walk.items() if before.get(key) is leaf or self._leaves.get(key) is not leaf}

    def _declare_again(self) -> None:
        """Read the declared module once more: adapters, say, come after the balancer was made."""
        module = None if self._module is None else self._module()
        if module is not None:
            self.declared = _named(module)

    def _parameters(self, leaves: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Those of the leaves that are parameters; the others are put aside."""
        found = self._without_plain(leaves)
        if self._only_plain and found:
            self._only_plain = False
            self._leaves = WeakTensors(self._without_plain(self._leaves.alive()))
            self._reach = {name: WeakTensors(self._without_plain(known)) for name, known in self.reach.items()}
            self._met.clear()
        if self._only_plain:
            found = dict(leaves)
        self._aside = WeakTensors({key: leaf for key, leaf in leaves.items() if key not in found})
        return found

    def _without_plain(self, leaves: Mapping[int, Tensor]) -> dict[int, Tensor]:
        declared = {id(tensor) for tensor in (self.declared or {}).values()}
        return {key: leaf for key, leaf in leaves.items() if isinstance(leaf, nn.Parameter) or key in declared}

    def _refuse_entangled(self, losses: Mapping[str, Tensor]) -> None:
        """Refuse graphs that do not tell tasks apart where a step needs to, or take note that they do not."""
        pair = entangled(losses) if self.declared is None else None
        if pair is not None:
            self.opaque = "the model is compiled as a whole"
            if self.needed:
                raise MethodError(
                    f"tasks {pair[0]!r} and {pair[1]!r} are different outputs of one compiled function, so the "
                    "graph does not tell their heads from what they share; pass shared= (for example "
                    "shared=model.encoder), or compile the encoder only"
                )

    def _refuse_checkpoint(self, losses: Mapping[str, Tensor]) -> None:
        """The same for a part that is checkpointed in the reentrant way: one node of the graph, without parameters."""
        first = self.opaque is None
        self.opaque = "a part of the model is checkpointed with use_reentrant=True"
        if self.needed:
            task = next(name for name, loss in losses.items() if walked(loss).hides)
            raise MethodError(
                f"the loss of task {task!r} goes through a part of the model that is checkpointed with "
                "use_reentrant=True, which hides its parameters and allows no gradients of single tasks; "
                "checkpoint with use_reentrant=False, or use a method that looks at losses only"
            )
        if first and not self._names:
            warnings.warn(
                f"{self.opaque}, which hides its parameters, so a gradient in there that is not finite would go "
                "unnoticed; show the model with balancer.know(model), or checkpoint with use_reentrant=False",
                stacklevel=2,
            )

    def _refuse_strangers(self, walks: Mapping[str, Mapping[int, Tensor]]) -> None:
        """Refuse losses of a model that is not the one seen so far, or not the one whose parameters were declared."""
        met = {name: self._reach[name] for name, walk in walks.items() if name in self._met and walk}
        again = any(known.get(key) is leaf for name, known in met.items() for key, leaf in walks[name].items())
        if met and not again and not self._only_plain and not self._known_together(walks):
            raise MethodError(
                f"the losses of {', '.join(map(repr, met))} reach none of the parameters they reached before: this is "
                "another model. balancer.reset() starts afresh; where it is the same model built again, go on with "
                "state = balancer.state_dict(); balancer.reset(); balancer.load_state_dict(state); where only the "
                "heads are new, on layers frozen since, show it that these belong together: balancer.know(model)"
            )
        wanted = {id(tensor) for tensor in (self.declared or {}).values() if tensor.requires_grad}
        reach = set().union(*walks.values(), *(self._reach[name].alive() for name in self._met))
        if self.needed and wanted and not wanted & reach and len(self._met | set(walks)) > 1:
            raise MethodError(
                f"none of the {len(wanted)} parameters declared by shared= is reached by the losses of "
                f"{', '.join(map(repr, walks))}: they belong to another model or to a copy of it. Pass shared= of the "
                "model in use, or copy the model and the balancer together"
            )

    def _known_together(self, walks: Mapping[str, Mapping[int, Tensor]]) -> bool:
        """Whether one model is known to hold what these losses reach and something of what was reached before."""
        known = {id(tensor) for tensor in self._names.alive().values()}
        return all(known >= walk.keys() for walk in walks.values()) and not known.isdisjoint(self._leaves.alive())

    def _to_save(self) -> SavedPartition:
        """As far as it is known: what an opaque graph seems to say must not pass for the partition of another one."""
        if self.opaque is not None:
            return SavedPartition()
        names = {id(tensor): name for name, tensor in self._names.alive().items()}
        return self._saved.merged(self._leaves.alive(), self.reach, names)

    def _recall(self) -> None:
        """Take over what can be found of a saved partition."""
        self._steady.reset()
        self._saved.recognise_names(self._names.alive())
        leaves, reach = self._saved.recall(self._leaves.alive(), self.reach)
        self._leaves = WeakTensors(leaves)
        self._reach = {name: WeakTensors(found) for name, found in reach.items()}
        self._divide()

    def _divide(self) -> None:
        counts: dict[int, int] = {}
        leaves, reach = self._leaves.alive(), self.reach
        for found in reach.values():
            for key in found:
                counts[key] = counts.get(key, 0) + 1
        if self.declared is None:
            shared = {key: leaf for key, leaf in leaves.items() if counts.get(key, 0) > 1}
        else:
            wanted = {id(tensor) for tensor in self.declared.values()}
            shared = {key: leaf for key, leaf in leaves.items() if key in wanted}
        self._shared = WeakTensors(shared)
        self._own = {
            name: WeakTensors({key: leaf for key, leaf in found.items() if key not in shared})
            for name, found in reach.items()
        }

    @property
    def reach(self) -> dict[str, dict[int, Tensor]]:
        """For every task seen so far, the parameters its loss reaches, by ``id``."""
        return {name: found.alive() for name, found in self._reach.items()}

    @property
    def shared(self) -> list[Tensor]:
        """Parameters whose gradient is combined from several tasks, without those that are frozen now."""
        return [leaf for leaf in self._shared.alive().values() if leaf.requires_grad]

    def owners(self, leaves: Iterable[Tensor]) -> set[str]:
        """Tasks that alone reach one of these parameters."""
        asked = {id(leaf) for leaf in leaves}
        return {name for name, own in self._own.items() if not asked.isdisjoint(own.alive())}

    @property
    def owned(self) -> dict[str, list[Tensor]]:
        """For every task seen so far, the parameters that get its own gradient."""
        return self.owned_by(self._own)

    def owned_by(self, tasks: Iterable[str]) -> dict[str, list[Tensor]]:
        """For each of these tasks, the parameters that get its own gradient, without those that are frozen now."""
        own = {name: self._own[name].alive().values() if name in self._own else () for name in tasks}
        return {name: [leaf for leaf in leaves if leaf.requires_grad] for name, leaves in own.items()}

    @property
    def aside(self) -> list[Tensor]:
        """Leaves of the last graphs seen that are no parameters: they have no say, and get each task's gradient.

        Where a graph hides parameters, all whose names are known are among them, because it may reach any of them.
        """
        return [*self._aside.alive().values(), *(() if self.opaque is None else self._hidden())]

    @property
    def known(self) -> list[Tensor]:
        """All parameters that any task has reached, and all whose names are known."""
        return list((self._leaves.alive() | {id(leaf): leaf for leaf in self._names.alive().values()}).values())

    def _hidden(self) -> Iterable[Tensor]:
        """Parameters that an opaque graph may reach although no walk has met them."""
        return self._not_walked(self._names.alive()).values()

    @property
    def unreached(self) -> dict[str, Tensor]:
        """Declared parameters that no task seen so far reaches: they will not train."""
        return self._not_walked(self.declared or {}) if self.opaque is None else {}

    def out_of_reach(self, model: nn.Module) -> list[str]:
        """Names of a model's parameters that no task seen so far reaches, as far as the graphs tell."""
        return list(self._not_walked(_named(model))) if self.opaque is None else []

    def _not_walked(self, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
        leaves = self._leaves.alive()
        return {name: tensor for name, tensor in named.items() if tensor.requires_grad and id(tensor) not in leaves}

    def __str__(self) -> str:
        if self.opaque is not None:
            return f"what the tasks share cannot be told, because {self.opaque}; this method does not need it"
        parts = [f"shared {_size(self.shared)}"]
        parts += [f"{name} {_size(tensors)}" for name, tensors in self.owned.items()]
        text = " · ".join(parts)
        if self.aside:
            text += f" · aside {_size(self.aside)}: no nn.Parameter, so without a say unless declared by shared="
        lost = self.unreached
        if lost:
            names = ", ".join(list(lost)[:3]) + (", …" if len(lost) > 3 else "")
            text += (
                f" · unreached {_size(lost.values())}: {names} (no task's loss depends on them; they will not train)"
            )
        return text


def declared_parameters(shared: nn.Module | Iterable[Tensor] | None) -> dict[str, Tensor] | None:
    """Names and tensors of what the user declared shared: a module, parameters, or nothing."""
    if shared is None:
        return None
    if isinstance(shared, nn.Module):
        return _named(shared)
    return {f"shared[{i}]": tensor for i, tensor in enumerate(shared)}


def _named(module: nn.Module) -> dict[str, Tensor]:
    """Parameters by name, the same whether the module is compiled or not."""
    return {name.replace("_orig_mod.", ""): tensor for name, tensor in module.named_parameters()}


def _size(tensors: Iterable[Tensor]) -> str:
    """``"11.2M (62 tensors)"``."""
    sizes = [tensor.numel() for tensor in tensors]
    return f"{_short(sum(sizes))} ({len(sizes)} tensor{'s' if len(sizes) != 1 else ''})"


def _short(number: int) -> str:
    for unit, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= factor:
            return f"{number / factor:.3g}{unit}"
    return str(number)
