"""Ways of learning several targets by learners that know one."""

from __future__ import annotations

from polytask.tables.ways.chain import Chain
from polytask.tables.ways.independent import Independent
from polytask.tables.ways.joint import Joint
from polytask.tables.ways.pooled import Pooled
from polytask.tables.ways.stack import Stack
from polytask.tables.ways.way import Job, Way

__all__ = ["WAYS", "Chain", "Job", "Pooled", "Stack", "Way"]

WAYS: dict[str, type[Way]] = {
    "independent": Independent,
    "chain": Chain,
    "ensemble_chains": Chain,
    "stack": Stack,
    "pooled": Pooled,
    "joint": Joint,
}
"""Every way by name; an ensemble is a chain in several orders."""
