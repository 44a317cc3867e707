"""Methods made of other methods: rows rescaled before solving, weights smoothed over steps, random subsets of tasks."""

from polytask.balance.compose.chain import Chain
from polytask.balance.compose.cr_mogm import CRMOGM
from polytask.balance.compose.per_group import PerGroup
from polytask.balance.compose.stages import Log, Normalise, Stage
from polytask.balance.compose.subset import Subset

__all__ = ["CRMOGM", "Chain", "Log", "Normalise", "PerGroup", "Stage", "Subset"]
