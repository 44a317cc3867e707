"""Fitted models of several tasks as plain arrays, some of which see what others say: chains, stacks, pools."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from polytask.study.classical.losses import log_odds, log_shares
from polytask.study.classical.plain import Piece
from polytask.tables.design import appended

__all__ = ["Link", "Links", "headed", "shown"]

Array = NDArray[Any]
_SHOWN: dict[str, Callable[[Array], Array]] = {"value": np.asarray, "odds": expit, "logs": np.exp}
_HEADED: dict[str, Callable[[Array], Array]] = {"value": np.asarray, "odds": log_odds, "logs": log_shares}


def shown(scale: str, head: Array) -> Array:
    """What another model sees of a head, and what is averaged over chains: probabilities instead of their logits.

    Args:
        scale: ``"odds"`` for logits, ``"logs"`` for log probabilities, ``"value"`` for what stays as it is.
        head: (n, width).
    """
    return _SHOWN[scale](head)


def headed(scale: str, values: Array) -> Array:
    """The head that is seen so: (n,) or (n, width) from (n, width)."""
    head = _HEADED[scale](values)
    return head[:, 0] if head.shape[1] == 1 else head


@final
@dataclasses.dataclass(frozen=True)
class Link:
    """One model of a task, or several whose predictions stand side by side.

    Attributes:
        pieces: The models.
        scale: What they put out, as in :func:`shown`.
        seen: Numbers of the links whose predictions are columns beside the inputs, in this order.
        told: Constant columns after these.
    """

    pieces: tuple[Piece, ...]
    scale: str = "value"
    seen: tuple[int, ...] = ()
    told: tuple[float, ...] = ()

    @property
    def on_trees(self) -> bool:
        """Whether it takes the matrix of the trees."""
        return any(piece.form == "trees" for piece in self.pieces)

    def columns(self, values: Array) -> list[Array]:
        """Its columns in the inputs of another; of two probabilities that sum to one the second."""
        return [values[:, 1]] if self.scale == "logs" and values.shape[1] == 2 else list(values.T)


@final
@dataclasses.dataclass(frozen=True)
class Links:
    """Links in an order in which each sees only earlier ones.

    Attributes:
        links: They.
        ends: Task → numbers of the links whose mean is its prediction.
    """

    links: tuple[Link, ...]
    ends: Mapping[str, tuple[int, ...]]

    @classmethod
    def alone(cls, pieces: Mapping[str, Sequence[Piece]]) -> Links:
        """Models that see nothing of each other."""
        ends = {name: (place,) for place, name in enumerate(pieces)}
        return cls(tuple(Link(tuple(found)) for found in pieces.values()), ends)

    def uses(self, tasks: Iterable[str], *, trees: bool) -> bool:
        """Whether the tasks need the matrix of the trees, or that of the linear models."""
        return any(self.links[number].on_trees is trees for number in self._needed(tasks))

    def heads(self, linear: Any, trees: Any, tasks: Sequence[str]) -> dict[str, Array]:
        """What heads put out: task → (n,) or (n, width).

        Args:
            linear: Matrix of the linear models; anything where :meth:`uses` says that it is not needed.
            trees: Matrix of the trees, likewise.
            tasks: The tasks.
        """
        said: dict[int, Array] = {}
        for number in self._needed(tasks):
            link = self.links[number]
            X = trees if link.on_trees else linear
            columns = [column for one in link.seen for column in self.links[one].columns(said[one])]
            columns += [np.full(X.shape[0], value) for value in link.told]
            X = appended(X, columns, ())
            heads = [piece.head(X) for piece in link.pieces]
            said[number] = shown(link.scale, np.column_stack(heads))
        found = {}
        for name in tasks:
            ends = self.ends[name]
            mean = said[ends[0]] if len(ends) == 1 else sum(said[one] / len(ends) for one in ends)
            found[name] = headed(self.links[ends[0]].scale, np.asarray(mean))
        return found

    def _needed(self, tasks: Iterable[str]) -> list[int]:
        """Numbers of the links that the tasks end in, and of those that these see; in order."""
        wanted = {one for name in tasks for one in self.ends[name]}
        for number in reversed(range(len(self.links))):
            if number in wanted:
                wanted.update(self.links[number].seen)
        return sorted(wanted)

    def arrays(self) -> dict[str, Array]:
        """Everything that is an array."""
        return {
            f"{number}.{place}.{key}": value
            for number, link in enumerate(self.links)
            for place, piece in enumerate(link.pieces)
            for key, value in piece.arrays.items()
        }

    def facts(self) -> list[dict[str, Any]]:
        """Everything else about the links, as plain values."""
        return [
            {
                "pieces": [piece.facts() for piece in link.pieces],
                "scale": link.scale,
                "seen": list(link.seen),
                "told": list(link.told),
            }
            for link in self.links
        ]

    @classmethod
    def restore(cls, values: Mapping[str, Any], arrays: Mapping[str, Array]) -> Links:
        """What :meth:`facts` and :meth:`arrays` described.

        Args:
            values: ``"links"`` and ``"tasks"``, each of which says the ``"links"`` that it ends in; without links, as
                in files of earlier versions, tasks that each say their ``"pieces"``.
            arrays: The arrays.
        """
        tasks = values["tasks"]
        told = values.get("links") or [{"pieces": one["pieces"]} for one in tasks.values()]
        links = []
        for number, facts in enumerate(told):
            pieces = tuple(
                Piece(
                    one["form"], one["link"], _below(f"{number}.{place}.", arrays), tuple(one["seen"]), one["classes"]
                )
                for place, one in enumerate(facts["pieces"])
            )
            seen, constant = tuple(facts.get("seen", ())), tuple(facts.get("told", ()))
            links.append(Link(pieces, facts.get("scale", "value"), seen, constant))
        ends = {name: tuple(one.get("links", (place,))) for place, (name, one) in enumerate(tasks.items())}
        return cls(tuple(links), ends)


def _below(head: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name.removeprefix(head): value for name, value in arrays.items() if name.startswith(head)}
