"""Methods made of other methods: rows rescaled before solving, weights smoothed over steps, random subsets of tasks.

Two more ways to compose need no wrapper: weights that are reused for some steps are the balancer's ``every=``, and
methods with a primary task (``gcs``, ``ol_aux``, ``pcd``) take its name as ``primary=``.
"""

from polytask.balance.compose.chain import Chain
from polytask.balance.compose.cr_mogm import CRMOGM
from polytask.balance.compose.per_group import PerGroup
from polytask.balance.compose.stages import Log, Normalise, Stage
from polytask.balance.compose.subset import Subset

__all__ = ["CRMOGM", "Chain", "Log", "Normalise", "PerGroup", "Stage", "Subset"]
