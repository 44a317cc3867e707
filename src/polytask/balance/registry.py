"""Every balancing method by name. Adding one takes one line here; its module is imported when it is first asked for."""

from __future__ import annotations

from typing import Any

from polytask.balance.contract.method import Card, Method
from polytask.errors import MethodError
from polytask.registry import Registry, check_options

__all__ = ["METHODS", "PLUGINS", "get_method"]

PLUGINS = "polytask.methods"
"""Entry-point group in which other packages register methods: ``name = "package.module:Class"``."""


def _is_method(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, Method) and isinstance(getattr(found, "card", None), Card)


METHODS: Registry[type[Method]] = Registry(
    "method",
    {
        "equal": "loss.equal:EW",
        "uw": "loss.uw:UW",
        "dwa": "loss.dwa:DWA",
        "rlw": "loss.rlw:RLW",
        "imtl_l": "loss.imtl_l:IMTLL",
        "famo": "loss.famo:FAMO",
        "static": "loss.static:Static",
        "revised_uw": "loss.revised_uw:RevisedUW",
        "uw_so": "loss.uw_so:UWSO",
        "gls": "loss.gls:GLS",
        "si_log": "loss.si_log:SILog",
        "adaloss": "loss.adaloss:AdaLoss",
        "ema_scaling": "loss.ema_scaling:EMAScaling",
        "lbtw": "loss.lbtw:LBTW",
        "slaw": "loss.slaw:SLAW",
        "dtp": "loss.dtp:DTP",
        "ntk": "loss.ntk:NTK",
        "igb_v1": "loss.igb_v1:IGBv1",
        "igb_v2": "loss.igb_v2:IGBv2",
        "stch": "loss.stch:STCH",
        "tchebycheff": "loss.tchebycheff:Tchebycheff",
        "cosmos": "loss.cosmos:COSMOS",
        "pbi": "loss.pbi:PBI",
        "go4align": "loss.go4align:GO4Align",
        "coba": "loss.coba:CoBa",
        "ldc_mtl": "loss.ldc_mtl:LDCMTL",
        "mgda": "gramian.mgda:MGDA",
        "pcgrad": "gramian.pcgrad:PCGrad",
        "cagrad": "gramian.cagrad:CAGrad",
        "nash_mtl": "gramian.nash_mtl:NashMTL",
        "fairgrad": "gramian.fairgrad:FairGrad",
        "imtl_g": "gramian.imtl_g:IMTLG",
        "aligned_mtl": "gramian.aligned_mtl:AlignedMTL",
        "upgrad": "gramian.upgrad:UPGrad",
        "gradnorm": "gramian.gradnorm:GradNorm",
        "edm": "gramian.edm:EDM",
        "gradvac": "gramian.gradvac:GradVac",
        "imtl": "gramian.imtl:IMTL",
        "sdmgrad": "gramian.sdmgrad:SDMGrad",
        "dual_proj": "gramian.dual_proj:DualProj",
        "config": "gramian.config:ConFIG",
        "krum": "gramian.krum:Krum",
        "pcd": "gramian.pcd:PCD",
        "gcs": "gramian.gcs:GCS",
        "ol_aux": "gramian.ol_aux:OLAUX",
        "rgw": "gramian.rgw:RGW",
        "modo": "gramian.modo:MoDo",
        "stochastic_sdmgrad": "gramian.stochastic_sdmgrad:StochasticSDMGrad",
        "pike": "gramian.pike:PiKE",
        "ntkmtl": "gramian.ntkmtl:NTKMTL",
        "pivrg": "gramian.pivrg:PIVRG",
        "graddrop": "jacobian.graddrop:GradDrop",
        "trimmed_mean": "jacobian.trimmed_mean:TrimmedMean",
        "moco": "jacobian.moco:MoCo",
        "db_mtl": "jacobian.db_mtl:DBMTL",
        "excess_mtl": "jacobian.excess_mtl:ExcessMTL",
        "gcond": "jacobian.gcond:GCond",
        "metabalance": "jacobian.metabalance:MetaBalance",
        "adatask": "jacobian.adatask:AdaTask",
        "lr_annealing": "jacobian.lr_annealing:LRAnnealing",
        "inverse_dirichlet": "jacobian.inverse_dirichlet:InverseDirichlet",
        "orthogonal_gradients": "jacobian.orthogonal:OrthogonalGradients",
        "rotograd": "jacobian.rotograd:RotoGrad",
        "chain": "compose.chain:Chain",
        "per_group": "compose.per_group:PerGroup",
        "cr_mogm": "compose.cr_mogm:CRMOGM",
        "subset": "compose.subset:Subset",
    },
    package="polytask.balance",
    group=PLUGINS,
    fits=_is_method,
    expected="a subclass of LossMethod, GramianMethod, JacobianMethod or PenaltyMethod with a card",
    error=MethodError,
)


def get_method(name: str, **options: Any) -> Method:
    """The method registered as ``name``, made with ``options``.

    Args:
        name: A key of :data:`METHODS`.
        **options: What its class takes.

    Returns:
        A new method without learned state.

    Raises:
        MethodError: There is no such method; the nearest name is given.
        ConfigError: It has no such option, or the option's value is not allowed.

    Examples:
        >>> get_method("cagrad", c=0.5)
        CAGrad(c=0.5, rescale='none', subset=None)
        >>> get_method("fairgrad", alfa=2.0)
        Traceback (most recent call last):
            ...
        polytask.errors.ConfigError: unknown option of method 'fairgrad': 'alfa'; did you mean 'alpha'? Known: alpha
    """
    kind = METHODS.find(name)
    check_options(f"method {name!r}", kind, options, as_in=f"{name}:")
    return kind(**options)
