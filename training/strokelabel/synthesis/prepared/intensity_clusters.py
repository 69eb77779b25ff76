"""Intensity clusters of the labels of an image, by Expectation Maximisation (Dempster et al. 1977).

SynthSeg's extension to other organs (Billot et al. 2023, section 5.4) splits each label of a label map, and the
background, into regions of similar intensity, so that synthetic images show what no one delineated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from strokelabel.errors import LabelMapError

_BINS = 1024
_PERCENTILES = (0.1, 99.9)
"""Intensities outside do not count in the fit: few voxels that are very bright would have clusters of their own."""

_RANDOM_STARTS = 4
_ITERATIONS = 300
_CONVERGED = 1e-6
"""Least gain of the mean log-likelihood of a voxel for which the iterations continue."""


@dataclass(frozen=True)
class GaussianMixture:
    """Mixture of Gaussian distributions of one value, by ascending mean.

    Attributes:
        means: (components,).
        deviations: (components,) standard deviations, above 0.
        weights: (components,) shares, summing to 1.
        edges: (bins + 1,) ends of the histogram that the mixture was fitted to; ascending.
    """

    means: NDArray[np.float64]
    deviations: NDArray[np.float64]
    weights: NDArray[np.float64]
    edges: NDArray[np.float64]

    def assign(self, values: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the most likely component of each value, as precise as the bins of the histogram are wide."""
        centers = (self.edges[:-1] + self.edges[1:]) / 2
        component = self._log_joint(centers).argmax(axis=1).astype(np.uint8)
        return component[np.searchsorted(self.edges[1:-1], values, side="right")]

    def _log_joint(self, centers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the logarithm of weight times density, (bins, components), but for a constant."""
        z = (centers[:, None] - self.means) / self.deviations
        return np.log(self.weights) - np.log(self.deviations) - 0.5 * z**2


def fit_gaussian_mixture(values: NDArray[np.float32], count: int, seed: int) -> GaussianMixture:
    """Fit a mixture to values by Expectation Maximisation, over their histogram.

    Of several starts, two regular and the others random, the one with the largest likelihood is taken.

    Args:
        values: (n,), at least `count` of them.
        count: number of components; one alone is fitted where all values are equal.
        seed: of the random starts; the same one gives the same mixture.

    Returns:
        The mixture, its components by ascending mean.

    Raises:
        LabelMapError: there are fewer values than components.
    """
    if len(values) < count:
        raise LabelMapError(f"expected at least {count} voxels for {count} clusters, found {len(values)}")
    low, high = (float(end) for end in np.percentile(values, _PERCENTILES, method="nearest"))
    if high <= low:  # hardly any value differs from the others
        low, high = float(values.min()), float(values.max())
    if high <= low:
        one = np.ones(1)
        return GaussianMixture(one * low, one, one, np.array([low - 1.0, low + 1.0]))
    edges = np.linspace(low, high, _BINS + 1)
    histogram, _ = np.histogram(values, edges)
    centers, weights = (edges[:-1] + edges[1:]) / 2, histogram / histogram.sum()
    best: GaussianMixture | None = None
    highest = -np.inf
    for start in _starts(centers, weights, count, np.random.default_rng(seed)):
        mixture, likelihood = _maximise(start, centers, weights, edges)
        if likelihood > highest:
            best, highest = mixture, likelihood
    assert best is not None
    order = np.argsort(best.means, kind="stable")
    return GaussianMixture(best.means[order], best.deviations[order], best.weights[order], edges)


def _starts(
    centers: NDArray[np.float64], weights: NDArray[np.float64], count: int, rng: np.random.Generator
) -> list[NDArray[np.float64]]:
    """Return means to start from: equal numbers of voxels, equal ranges of intensity, and random ones."""
    places = (np.arange(count) + 0.5) / count
    quantiles = np.interp(places, np.cumsum(weights), centers)
    filled = np.flatnonzero(weights)
    likely = np.sqrt(weights[filled])  # so that small clusters are found too
    drawn = [
        np.sort(centers[rng.choice(filled, count, replace=len(filled) < count, p=likely / likely.sum())])
        for _ in range(_RANDOM_STARTS)
    ]
    return [quantiles, centers[0] + places * (centers[-1] - centers[0]), *drawn]


def _maximise(
    means: NDArray[np.float64],
    centers: NDArray[np.float64],
    weights: NDArray[np.float64],
    edges: NDArray[np.float64],
) -> tuple[GaussianMixture, float]:
    """Iterate expectation and maximisation until nothing changes; return the mixture and its mean log-likelihood."""
    count, width = len(means), edges[1] - edges[0]
    spread = np.full(count, (edges[-1] - edges[0]) / (2 * count))
    mixture = GaussianMixture(means, spread, np.full(count, 1 / count), edges)
    likelihood = -np.inf
    for _ in range(_ITERATIONS):
        joint = mixture._log_joint(centers)
        top = joint.max(axis=1, keepdims=True)
        evidence = top[:, 0] + np.log(np.exp(joint - top).sum(axis=1))
        reached = float(weights @ evidence)
        if reached - likelihood < _CONVERGED:
            break
        likelihood = reached
        share = np.exp(joint - evidence[:, None]) * weights[:, None]
        total = share.sum(axis=0)
        own = np.maximum(total, 1e-12)  # a component that lost all voxels stays where it is
        moved = np.where(total > 1e-12, (share.T @ centers) / own, mixture.means)
        variance = (share * (centers[:, None] - moved) ** 2).sum(axis=0) / own
        deviation = np.sqrt(np.maximum(variance, width**2))  # else a single bin would be infinitely likely
        mixture = GaussianMixture(moved, deviation, own / own.sum(), edges)
    return mixture, likelihood


def cluster_labels(
    image: NDArray[np.float32], labels: NDArray[np.int32], counts: Mapping[int, int], seed: int
) -> NDArray[np.uint8]:
    """Split each label of a label map into clusters of similar intensity.

    Args:
        image: (i, j, k) finite intensities.
        labels: (i, j, k) on the same grid, from 0.
        counts: label → number of clusters; other labels are one cluster.
        seed: the same one gives the same clusters.

    Returns:
        (i, j, k) cluster of each voxel among those of its label, from 0, by ascending intensity.

    Raises:
        LabelMapError: a label has fewer voxels than clusters; says which.
    """
    clusters = np.zeros(labels.shape, dtype=np.uint8)
    boxes = [(slice(None),) * labels.ndim, *ndimage.find_objects(labels)]
    for label, count in counts.items():
        box = boxes[label] if label < len(boxes) else None
        if count < 2 or box is None:
            continue
        inside = labels[box] == label
        values = image[box][inside]
        if not len(values):
            continue
        try:
            mixture = fit_gaussian_mixture(values, count, seed)
        except LabelMapError as error:
            raise LabelMapError(
                f"label {label}: {error.message}; merge it with another label, or ask for fewer clusters"
            ) from error
        clusters[box][inside] = mixture.assign(values)
    return clusters
