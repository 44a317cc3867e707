"""Losses of the linear estimators: value, derivative, curvature bound and convex conjugate, elementwise.

A loss ℓ(y, z) compares a target y with a linear prediction z. The duality gap needs its conjugate
ℓ*(u) = sup_z uz − ℓ(y, z), evaluated at multiples s·ℓ'(y, z) with 0 ≤ s ≤ 1 of the derivative.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, xlogy

from polytask.errors import ConfigError, unknown

__all__ = [
    "CLASSIFICATION_LOSSES",
    "REGRESSION_LOSSES",
    "Huber",
    "Logistic",
    "Loss",
    "Poisson",
    "Squared",
    "SquaredHinge",
]

Array = NDArray[Any]


class Loss(ABC):
    """A convex loss.

    Attributes:
        curvature: Bound of the second derivative; infinite where there is none (Newton steps, see
            :mod:`polytask.linear.core.newton`).
        quadratic: Whether it is the squared loss.
    """

    curvature: ClassVar[float] = 1.0
    quadratic: ClassVar[bool] = False

    @abstractmethod
    def value(self, y: Array, z: Array) -> Array:
        """ℓ(y, z), elementwise."""

    @abstractmethod
    def derivative(self, y: Array, z: Array) -> Array:
        """∂ℓ/∂z, elementwise."""

    @abstractmethod
    def second(self, y: Array, z: Array) -> Array:
        """A non-negative generalised second derivative in z, elementwise."""

    @abstractmethod
    def conjugate(self, y: Array, u: Array) -> Array:
        """ℓ*(u), elementwise, for u between 0 and some ∂ℓ/∂z."""

    def mean(self, z: Array) -> Array:
        """Prediction of y from z."""
        return z

    def check(self, y: Array) -> None:
        """Raise a ValueError if targets are out of the loss's domain."""


@final
class Squared(Loss):
    """½(y − z)².

    Examples:
        >>> import numpy as np
        >>> Squared().value(np.array([1.0]), np.array([3.0])).tolist()
        [2.0]
    """

    quadratic = True

    def value(self, y: Array, z: Array) -> Array:
        """½(y − z)²; ∞ where that is beyond float64, as on the way of a model without curvature."""
        with np.errstate(over="ignore"):
            return np.asarray(0.5 * (y - z) ** 2)

    def derivative(self, y: Array, z: Array) -> Array:
        """The residual z − y."""
        return z - y

    def second(self, y: Array, z: Array) -> Array:
        """1."""
        return np.ones_like(z)

    def conjugate(self, y: Array, u: Array) -> Array:
        """½u² + uy."""
        return u * (0.5 * u + y)


@final
class Huber(Loss):
    """½r² for |r| ≤ δ, otherwise δ|r| − ½δ², with r = y − z.

    Args:
        delta: Residual δ > 0 at which the loss turns linear, in units of y.

    Examples:
        >>> import numpy as np
        >>> Huber(delta=1.0).value(np.array([0.0, 0.0]), np.array([0.5, 3.0])).tolist()
        [0.125, 2.5]
    """

    def __init__(self, delta: float = 1.35) -> None:
        if not delta > 0:
            raise ConfigError(f"Huber's delta must be positive, found {delta!r}")
        self.delta = float(delta)

    def value(self, y: Array, z: Array) -> Array:
        """½r² or δ|r| − ½δ²."""
        size = np.abs(y - z)
        inside = np.minimum(size, self.delta)
        return np.asarray(inside * (size - 0.5 * inside))

    def derivative(self, y: Array, z: Array) -> Array:
        """The residual z − y clipped to ±δ."""
        return np.asarray(np.clip(z - y, -self.delta, self.delta))

    def second(self, y: Array, z: Array) -> Array:
        """1 inside, 0 outside."""
        return np.asarray((np.abs(y - z) <= self.delta).astype(z.dtype))

    def conjugate(self, y: Array, u: Array) -> Array:
        """½u² + uy on |u| ≤ δ."""
        return u * (0.5 * u + y)


@final
class Logistic(Loss):
    """log(1 + exp(−yz)) for y = ±1.

    Examples:
        >>> import numpy as np
        >>> Logistic().value(np.array([1.0]), np.array([0.0])).round(4).tolist()
        [0.6931]
    """

    curvature = 0.25

    def value(self, y: Array, z: Array) -> Array:
        """log(1 + exp(−yz))."""
        return np.asarray(np.logaddexp(0, -y * z))

    def derivative(self, y: Array, z: Array) -> Array:
        """−y σ(−yz)."""
        return -y * expit(-y * z)

    def second(self, y: Array, z: Array) -> Array:
        """σ(z)(1 − σ(z))."""
        p = expit(z)
        return p * (1 - p)

    def conjugate(self, y: Array, u: Array) -> Array:
        """The negative entropy p log p + (1 − p) log(1 − p) with p = −uy in [0, 1]."""
        p = np.clip(-u * y, 0, 1)
        return np.asarray(xlogy(p, p) + xlogy(1 - p, 1 - p))


@final
class SquaredHinge(Loss):
    """½ max(0, 1 − yz)² for y = ±1.

    Examples:
        >>> import numpy as np
        >>> SquaredHinge().value(np.array([1.0, 1.0]), np.array([0.0, 2.0])).tolist()
        [0.5, 0.0]
    """

    def value(self, y: Array, z: Array) -> Array:
        """½ (1 − yz)_+²."""
        return np.asarray(0.5 * np.maximum(1 - y * z, 0) ** 2)

    def derivative(self, y: Array, z: Array) -> Array:
        """−y (1 − yz)_+."""
        return np.asarray(-y * np.maximum(1 - y * z, 0))

    def second(self, y: Array, z: Array) -> Array:
        """1 where the margin is violated."""
        return (y * z < 1).astype(z.dtype)

    def conjugate(self, y: Array, u: Array) -> Array:
        """½a² − a with a = −uy ≥ 0."""
        a = np.maximum(-u * y, 0)
        return np.asarray(a * (0.5 * a - 1))


@final
class Poisson(Loss):
    """Half the deviance of counts: exp(z) − yz − y + y log y ≥ 0 for y ≥ 0, z the logarithm of the rate.

    Examples:
        >>> import numpy as np
        >>> Poisson().value(np.array([0.0, 1.0]), np.array([0.0, 0.0])).tolist()
        [1.0, 0.0]
    """

    curvature = np.inf

    def value(self, y: Array, z: Array) -> Array:
        """exp(z) − yz − y + y log y."""
        return np.asarray(np.exp(np.minimum(z, 700)) - y * z + xlogy(y, y) - y)

    def derivative(self, y: Array, z: Array) -> Array:
        """exp(z) − y."""
        return np.asarray(np.exp(np.minimum(z, 700)) - y)

    def second(self, y: Array, z: Array) -> Array:
        """exp(z)."""
        return np.asarray(np.exp(np.minimum(z, 700)))

    def conjugate(self, y: Array, u: Array) -> Array:
        """With v = u + y ≥ 0, v log v − v + y − y log y."""
        v = np.maximum(u + y, 0)
        return np.asarray(xlogy(v, v) - v + y - xlogy(y, y))

    def mean(self, z: Array) -> Array:
        """exp(z)."""
        return np.asarray(np.exp(np.minimum(z, 700)))

    def check(self, y: Array) -> None:
        """Counts are not negative."""
        if np.nanmin(y, initial=0.0) < 0:
            raise ValueError(f"the Poisson loss needs counts y >= 0, found {np.nanmin(y)}")


REGRESSION_LOSSES: dict[str, type[Loss]] = {"squared": Squared, "huber": Huber, "poisson": Poisson}
CLASSIFICATION_LOSSES: dict[str, type[Loss]] = {"logistic": Logistic, "squared_hinge": SquaredHinge}


def get_loss(loss: str | Loss, known: dict[str, type[Loss]]) -> Loss:
    """Look a loss up by name, or pass a :class:`Loss` through.

    Args:
        loss: Name or object.
        known: Names that are allowed here.

    Raises:
        ConfigError: Unknown name.
    """
    if isinstance(loss, Loss):
        return loss
    if loss not in known:
        raise ConfigError(unknown("loss", loss, known))
    return known[loss]()
