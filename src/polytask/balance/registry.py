"""Every balancing method by name. Adding one takes one line here; its module is imported when it is first asked for."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any, final

from polytask.balance.method import Method
from polytask.errors import ConfigError, MethodError, unknown

__all__ = ["METHODS", "Registry", "get_method"]


@final
class Registry(Mapping[str, type[Method]]):
    """Method classes by registry name, each imported on first access.

    Examples:
        >>> METHODS["mgda"].card.title
        'MGDA'
        >>> METHODS.of_class("NashMTL")
        'nash_mtl'
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = dict(places)
        self._names = {place.rpartition(".")[2]: name for name, place in places.items()}

    def __getitem__(self, name: str) -> type[Method]:
        module, _, attribute = self._places[name].rpartition(".")
        found: type[Method] = getattr(importlib.import_module(f"polytask.balance.{module}"), attribute)
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of all method classes, without importing them."""
        return tuple(self._names)

    def of_class(self, class_name: str) -> str:
        """Registry name of the class called ``class_name``.

        Raises:
            KeyError: There is no such class.
        """
        return self._names[class_name]


METHODS = Registry(
    {
        "equal": "loss.equal.EW",
        "uw": "loss.uw.UW",
        "dwa": "loss.dwa.DWA",
        "rlw": "loss.rlw.RLW",
        "imtl_l": "loss.imtl_l.IMTLL",
        "famo": "loss.famo.FAMO",
        "static": "loss.static.Static",
        "revised_uw": "loss.revised_uw.RevisedUW",
        "uw_so": "loss.uw_so.UWSO",
        "gls": "loss.gls.GLS",
        "si_log": "loss.si_log.SILog",
        "adaloss": "loss.adaloss.AdaLoss",
        "ema_scaling": "loss.ema_scaling.EMAScaling",
        "lbtw": "loss.lbtw.LBTW",
        "slaw": "loss.slaw.SLAW",
        "dtp": "loss.dtp.DTP",
        "ntk": "loss.ntk.NTK",
        "igb_v1": "loss.igb_v1.IGBv1",
        "stch": "loss.stch.STCH",
        "tchebycheff": "loss.tchebycheff.Tchebycheff",
        "cosmos": "loss.cosmos.COSMOS",
        "pbi": "loss.pbi.PBI",
        "go4align": "loss.go4align.GO4Align",
        "mgda": "gramian.mgda.MGDA",
        "pcgrad": "gramian.pcgrad.PCGrad",
        "cagrad": "gramian.cagrad.CAGrad",
        "nash_mtl": "gramian.nash_mtl.NashMTL",
        "fairgrad": "gramian.fairgrad.FairGrad",
        "imtl_g": "gramian.imtl_g.IMTLG",
        "aligned_mtl": "gramian.aligned_mtl.AlignedMTL",
        "upgrad": "gramian.upgrad.UPGrad",
        "gradnorm": "gramian.gradnorm.GradNorm",
        "edm": "gramian.edm.EDM",
        "gradvac": "gramian.gradvac.GradVac",
        "imtl": "gramian.imtl.IMTL",
        "sdmgrad": "gramian.sdmgrad.SDMGrad",
        "dualproj": "gramian.dualproj.DualProj",
        "config": "gramian.config.ConFIG",
        "krum": "gramian.krum.Krum",
        "pcd": "gramian.pcd.PCD",
        "gcs": "gramian.gcs.GCS",
        "ol_aux": "gramian.ol_aux.OLAUX",
        "rgw": "gramian.rgw.RGW",
        "chain": "compose.chain.Chain",
        "cr_mogm": "compose.cr_mogm.CRMOGM",
        "subset": "compose.subset.Subset",
    }
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
    if name not in METHODS:
        raise MethodError(unknown("method", name, METHODS))
    kind = METHODS[name]
    known = list(inspect.signature(kind).parameters)
    for option in options:
        if option not in known:
            raise ConfigError(unknown(f"option of method {name!r}:", option, known))
    return kind(**options)
