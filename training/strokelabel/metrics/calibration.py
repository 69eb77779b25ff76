"""Calibration: whether probabilities are frequencies, and the temperature that makes them so.

Guo et al. 2017, "On calibration of modern neural networks".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.optimize import minimize_scalar

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

BINS: Final = 15
"""Bins of equal width, as many as the paper takes."""

_RANGE: Final = (0.1, 10.0)
_TINY: Final = 1e-7


@dataclass(frozen=True, eq=False)
class ReliabilityCurve:
    """Predicted probability against frequency, in bins of equal width over 0 to 1.

    Attributes:
        count: (bins,), voxels in each bin.
        probability: (bins,), their mean predicted probability; NaN in an empty bin.
        frequency: (bins,), the fraction of them that is positive; NaN in an empty bin.
    """

    count: np.ndarray
    probability: np.ndarray
    frequency: np.ndarray

    @property
    def expected_error(self) -> float:
        """Expected calibration error: mean distance of both over all voxels; NaN without any."""
        if not self.count.sum():
            return float("nan")
        filled = self.count > 0
        distance = np.abs(self.probability - self.frequency)[filled]
        return float((self.count[filled] * distance).sum() / self.count.sum())


def reliability_curve(
    probability: Float[np.ndarray, " voxels"], positive: Bool[np.ndarray, " voxels"], bins: int = BINS
) -> ReliabilityCurve:
    """Return the reliability curve of predicted probabilities.

    Args:
        probability: 0 to 1.
        positive: whether it was so.
        bins: how many.
    """
    index = np.minimum((probability * bins).astype(np.intp), bins - 1)
    count = np.bincount(index, minlength=bins)
    sums = [np.bincount(index, weights=values, minlength=bins) for values in (probability, positive)]
    with np.errstate(invalid="ignore", divide="ignore"):
        predicted, observed = (total / count for total in sums)
    return ReliabilityCurve(count, predicted, observed)


def negative_log_likelihood(
    probability: Float[np.ndarray, " voxels"], positive: Bool[np.ndarray, " voxels"]
) -> float:
    """Return the mean negative log likelihood of what was so, nats; probabilities are kept 1e-7 from 0 and 1."""
    safe = np.clip(probability.astype(np.float64), _TINY, 1 - _TINY)
    return float(-np.log(np.where(positive, safe, 1 - safe)).mean())


def at_temperature(
    probabilities: Float[np.ndarray, "voxels classes"], index: int, temperature: float
) -> Float[np.ndarray, " voxels"]:
    """Return the probability of one class when the logits are divided by a temperature.

    Args:
        probabilities: of all classes, by softmax.
        index: of the class.
        temperature: positive; above 1 makes probabilities less extreme.
    """
    scaled = np.log(np.maximum(probabilities, _TINY**2)) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    np.exp(scaled, out=scaled)
    return scaled[:, index] / scaled.sum(axis=1)


def fit_temperature(
    probabilities: Float[np.ndarray, "voxels classes"], index: int, positive: Bool[np.ndarray, " voxels"]
) -> float:
    """Return the temperature (0.1 to 10) of the smallest negative log likelihood of one class against the others.

    Args:
        probabilities: of all classes, by softmax, at temperature 1.
        index: of the class.
        positive: whether each voxel is of it.
    """

    def loss(log_temperature: float) -> float:
        at = at_temperature(probabilities, index, float(np.exp(log_temperature)))
        return negative_log_likelihood(at, positive)

    found = minimize_scalar(loss, bounds=tuple(np.log(_RANGE)), method="bounded", options={"xatol": 1e-3})
    return float(np.exp(found.x))
