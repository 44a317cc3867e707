"""Real-valued targets of which some are known only to lie below, above or between bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from polytask.options import Choice, Real, option
from polytask.tasks import weighted
from polytask.tasks.kind import Kind, Score, made_by, rows_of_many
from polytask.tasks.nature import Nature

__all__ = ["Censored", "hinge", "tobit"]

LEAST = 0.01
"""Smallest σ, in standard deviations of the labels."""
NARROW = 0.01
"""Width of an interval, in σ, below which its probability is the density at its middle times the width."""


@final
class Censored(Kind):
    """A number y per row in [l, u]: l = u where it is known, l = −∞ for "<u", u = ∞ for ">l"; (B, 2), NaN = missing.

    Loss with μ the head's first output, Φ and φ the normal distribution and its density:

    * ``"tobit"``: −log φ((y − μ)/σ)/σ for known labels, −log [Φ((u − μ)/σ) − Φ((l − μ)/σ)] for others;
    * ``"hinge"``: the squared distance of μ from [l, u], which is the squared error for known labels.

    Labels (B,) are all known.

    Args:
        likelihood: Which loss.
        sigma: σ of ``"tobit"`` on the head's scale (standard deviations of the labels); 0: the head learns it, by a
            second output s, σ = 0.01 + softplus(s + log(e − 1)).

    Notes:
        A constant is added to the loss of known labels, log(0.01·√(2π)), so that no loss is below 0, which methods that
        compare the logarithms or ratios of losses rely on. It changes no gradient.

    Reference:
        Tobin, Estimation of relationships for limited dependent variables, Econometrica 26, 1958. The hinge is the
        bounded squared error of chemprop.
    """

    nature = Nature.BOUNDED
    affine = True
    target_dims = 0
    default_metrics = ("rmse", "mae", "concordance")

    likelihood: str = option("tobit", Choice(("tobit", "hinge")))
    sigma: float = option(0.0, Real(0))

    def setup(self) -> None:
        """σ is at least the smallest one."""
        if 0 < self.sigma < LEAST:
            raise self.fail(f"sigma must be 0 (learned) or at least {LEAST}, found {self.sigma}")

    @property
    def out_features(self) -> int:
        """The value, and what says σ where that is learned."""
        return 2 if self.likelihood == "tobit" and self.sigma == 0 else 1

    def arrange(self, prediction: Tensor) -> Tensor:
        """(B, outputs)."""
        return rows_of_many(self, prediction)

    def check(self, target: Tensor) -> Tensor:
        """Bounds in order, at least one of them finite, (n, 2)."""
        if target.ndim == 1:
            target = torch.stack([target, target], 1)
        if target.ndim != 2 or target.shape[1] != 2:
            raise self.fail(
                f"expected bounds of shape (B, 2), found {tuple(target.shape)}; write [l, u] for each label"
            )
        if not target.is_floating_point():
            target = target.float()
        low, high = target.unbind(1)
        wrong = ~(low <= high) | (low == math.inf) | (high == -math.inf) | (low.isinf() & high.isinf())
        if bool(wrong.any()):
            found = [float(bound) for bound in target[wrong][0]]
            raise self.fail(
                f"expected bounds in order, at least one of them finite, found {found} ({int(wrong.sum())} of "
                f"{len(target)} labels); write [-inf, 5] for below 5, [5, inf] for above, NaN for a missing label"
            )
        return target

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Negative log likelihood, or squared distance."""
        if self.likelihood == "hinge":
            return hinge(prediction[:, 0], target)
        if self.sigma > 0:
            return tobit(prediction[:, 0], prediction.new_tensor(self.sigma), target)
        return tobit(prediction[:, 0], LEAST + functional.softplus(prediction[:, 1] + math.log(math.e - 1)), target)

    def decode(self, prediction: Tensor) -> Tensor:
        """The value μ, (B,)."""
        return prediction[..., 0]

    def point(self, decoded: Tensor) -> Tensor:
        """The value."""
        return decoded

    def scores(self) -> Mapping[str, Score]:
        """Errors of known labels in the target's own units, and how often the order of two labels is predicted."""
        return {
            "rmse": Score(
                made_by("polytask.tasks.metrics.KnownError", power=2),
                higher_is_better=False,
                weighted=weighted.known_root,
            ),
            "mae": Score(
                made_by("polytask.tasks.metrics.KnownError", power=1),
                higher_is_better=False,
                weighted=weighted.known_absolute,
            ),
            "concordance": Score(
                made_by("polytask.tasks.metrics.Concordance"), higher_is_better=True, weighted=weighted.concordance
            ),
        }


def hinge(mean: Float[Tensor, "n"], bounds: Float[Tensor, "n 2"]) -> Float[Tensor, "n"]:
    """Squared distance of each mean from its interval."""
    low, high = bounds.unbind(1)
    return (low - mean).clamp_min(0).square() + (mean - high).clamp_min(0).square()


def tobit(mean: Float[Tensor, "n"], sigma: Tensor, bounds: Float[Tensor, "n 2"]) -> Float[Tensor, "n"]:
    """−log of the density at known labels (but for a constant), and of the probability of the interval at others.

    Terms that do not concern a row are evaluated at harmless values, so that no infinite bound reaches a gradient.
    """
    low, high = bounds.unbind(1)
    below, above, known = low.isinf(), high.isinf(), low == high
    low, high = low.masked_fill(below, 0.0), high.masked_fill(above, 0.0)
    a, b = (low - mean) / sigma, (high - mean) / sigma
    width = (high - low).masked_fill(below | above | known, 1.0) / sigma
    two_sided = ~(below | above | known)
    narrow = two_sided & (width < NARROW)
    inside = two_sided & ~narrow
    density = 0.5 * a.square() + (sigma / LEAST).log()
    middle = 0.5 * ((a + b) / 2).square() + 0.5 * math.log(2 * math.pi) - width.log()
    found = torch.where(known, density, torch.where(narrow, middle, -_log_normal(torch.where(below, b, -a))))
    apart = [value.masked_fill(~inside, filler) for value, filler in ((a, -1.0), (b, 1.0), (width, 2.0))]
    return torch.where(inside, _between(*apart), found)


def _between(a: Tensor, b: Tensor, width: Tensor) -> Tensor:
    """−log [Φ(b) − Φ(a)] for a < b, on the side of 0 where both are small."""
    flip = a > 0
    a, b = torch.where(flip, -b, a), torch.where(flip, -a, b)
    upper = _log_normal(b)
    # Far from 0 the difference drowns in rounding; it is at least φ(b)/Φ(b) > −b times the width.
    most = torch.where(b < -1, b, 0.0) * width
    return -(upper + (-torch.expm1(torch.minimum(_log_normal(a) - upper, most))).log())


def _log_normal(x: Tensor) -> Tensor:
    """Log Φ(x), with a gradient that is finite where PyTorch's own is not, far below 0."""
    low = x.clamp_max(0.0)
    below = (0.5 * torch.special.erfcx(-low / math.sqrt(2))).log() - 0.5 * low.square()
    return torch.where(x > 0, torch.log1p(-0.5 * torch.erfc(x.clamp_min(0.0) / math.sqrt(2))), below)
