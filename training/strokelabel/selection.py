"""Selection of scans that differ from each other and from those that are labelled: descriptors, and greedy k-center."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import KDTree

from strokelabel.inference.segment.predictor import Predictor
from strokelabel.inference.segment.uncertainty import estimate_uncertainty, scan_uncertainty
from strokelabel.io.images import Image
from strokelabel.types import LabelVolume, Volume

VERSION = 1
"""Descriptors of one version can be compared."""

_PERCENTILES = (1.0, 99.0)
_LEAST_VOXELS = 8


def scan_descriptor(
    data: Volume, labels: LabelVolume, classes: int, spacing_mm: Sequence[float]
) -> tuple[float, ...]:
    """Return the contrast, texture and anatomy of a scan, by the tissues that a model predicts.

    For each class: mean and standard deviation of the intensity (scaled so that the 1st and 99th percentile of the
    scan are 0 and 1) and the logarithm of the volume; then the logarithm of the voxel's sides, longest last, because
    thick slices look different too. Cheap: it needs no pass of the network beside the prediction's own.

    Args:
        data: (i, j, k) intensities.
        labels: (i, j, k) predicted classes.
        classes: how many classes the model knows.
        spacing_mm: sides of a voxel.

    Returns:
        3 * classes + 3 finite numbers; a class that was not found counts as the whole scan does.
    """
    low, high = np.percentile(data, _PERCENTILES)
    scaled = np.clip((data - low) / max(float(high - low), 1e-6), -1.0, 2.0)
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    numbers: list[float] = []
    for index in range(classes):
        where = labels == index
        count = int(np.count_nonzero(where))
        inside = scaled[where] if count >= _LEAST_VOXELS else scaled
        numbers += [float(inside.mean()), float(inside.std()), float(np.log1p(count * voxel_ml))]
    numbers += [float(np.log(side)) for side in sorted(spacing_mm)]
    return tuple(round(number, 5) for number in numbers)


@dataclass(frozen=True)
class ScanScore:
    """Uncertainty of a model about a scan, and the scan's features.

    Attributes:
        uncertainty: mean mutual information in nats ("epistemic") where lesion is possible, plus that over the brain.
        lesion: the first of the two.
        brain: the second: a contrast that the model does not know shows there, even where no lesion is found.
        descriptor: see `scan_descriptor`.
    """

    uncertainty: float
    lesion: float
    brain: float
    descriptor: tuple[float, ...]


def score_scan(predictor: Predictor, image: Image) -> ScanScore:
    """Score a scan by some passes of the network over it.

    Args:
        predictor: the weights that would learn from the scan's label.
        image: from `read_image`.

    Raises:
        ImageError: the scan cannot be segmented.
    """
    estimate = estimate_uncertainty(predictor, image)
    found = scan_uncertainty(estimate)
    classes = len(predictor.spec.class_names)
    descriptor = scan_descriptor(image.data, estimate.prediction.labels, classes, image.grid.spacing)
    return ScanScore(found.lesion + found.brain, found.lesion, found.brain, descriptor)


def distances_to_labelled(candidates: ArrayLike, labelled: ArrayLike) -> NDArray[np.float64]:
    """Return the distance of each candidate from the nearest labelled scan; features count alike.

    Args:
        candidates: (scans, features).
        labelled: (scans, features); may be empty: then the distances are such that the most central candidate is
            first, since nothing is known yet and the typical scan teaches most.

    Returns:
        (scans,) Euclidean distances in standard deviations of the features; for no labelled scans, minus the distance
        to the mean.
    """
    wanted = _matrix(candidates)
    known = _matrix(labelled)
    if not len(wanted):
        return np.zeros(0)
    everything = np.concatenate([wanted, known]) if len(known) else wanted
    deviation = everything.std(axis=0)
    scale = np.where(deviation > 1e-6, deviation, np.inf)
    if not len(known):
        result: NDArray[np.float64] = -np.linalg.norm((wanted - wanted.mean(axis=0)) / scale, axis=1)
        return result
    nearest: NDArray[np.float64] = KDTree(known / scale).query(wanted / scale)[0]
    return nearest


def farthest_first(candidates: ArrayLike, labelled: ArrayLike, count: int) -> list[int]:
    """Choose several scans, one after the other, each far from the labelled and from those chosen before.

    Args:
        candidates: (scans, features).
        labelled: (scans, features); may be empty.
        count: how many; all candidates where there are fewer.

    Returns:
        Their positions among the candidates, in the order of their choice.
    """
    wanted, known = _matrix(candidates), _matrix(labelled)
    chosen: list[int] = []
    while len(chosen) < min(count, len(wanted)):
        taken = wanted[chosen]
        distance = distances_to_labelled(wanted, np.concatenate([known, taken]) if len(known) else taken)
        distance[chosen] = -np.inf
        chosen.append(int(distance.argmax()))
    return chosen


def _matrix(rows: ArrayLike) -> NDArray[np.float64]:
    """Return the rows as a matrix, also when there are none."""
    array = np.asarray(rows, dtype=np.float64)
    return array if array.ndim == 2 else array.reshape(0, 0) if not array.size else array[None]
