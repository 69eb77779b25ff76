"""Sharper borders of structures: the scan's own intensities decide where the network's coarse voxels leave them open.

A step of the classical Bayesian segmentation, with the network's probabilities as its prior: of every structure, the
distribution of the scan's intensities is taken from the voxels where the structure is likely, and the probability of
each voxel multiplied by how well its intensity fits. Distributions are histograms with a uniform part, so that an
intensity that fits no structure, as in many lesions, decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from strokelabel.geometry import CanonicalGrid, CropBox, box_around
from strokelabel.inference.interruption import check_interruption
from strokelabel.types import ChannelVolume, LabelVolume, Volume

_BINS: Final = 64
_PERCENTILES: Final = (0.5, 99.5)
_SMOOTHING_BINS: Final = 1.5
_UNIFORM: Final = 0.1
"""Share of the uniform part of each distribution."""

_SURE: Final = 0.5
"""Probability from which on a voxel counts in the distribution of a structure."""

_LEAST: Final = 0.01
"""Lower probabilities of the network are taken for none."""

_ROUNDS: Final = 2


@dataclass(frozen=True, eq=False)
class _Part:
    """Probability of one class on the scan's grid, where it is above `_LEAST`.

    Attributes:
        index: of the class.
        region: of the scan's grid.
        values: (i, j, k) float16 in the region.
    """

    index: int
    region: tuple[slice, ...]
    values: NDArray[np.float16]


def sharpened_on_source_grid(
    probabilities: ChannelVolume, box: CropBox, canonical: CanonicalGrid, data: Volume
) -> tuple[LabelVolume, list[float]]:
    """Return the likeliest class of each voxel of a scan, given its intensities.

    Args:
        probabilities: (classes, x, y, z) in the box, background first.
        box: that the network was shown.
        canonical: the way between its grid and the scan's.
        data: (i, j, k), the scan's intensities, air near zero.

    Returns:
        As `network_input.likeliest_on_source_grid`: (i, j, k) classes, and each class's sum of probabilities.
    """
    bins, parts = _bins(data), _parts(probabilities, box, canonical)
    fits = np.ones((len(probabilities), _BINS), np.float32)
    total = np.ones(data.shape, np.float32)
    for _ in range(_ROUNDS):
        fits = np.stack(
            [_distribution(_posterior(part, fits, bins, total), bins[part.region]) for part in parts]
        )
        total = np.full(data.shape, np.finfo(np.float32).tiny, np.float32)
        for part in parts:
            total[part.region] += _weighted(part, fits, bins)
    labels = np.zeros(data.shape, np.min_scalar_type(len(probabilities)))
    best, sums = np.zeros(data.shape, np.float32), []
    for part in parts:
        check_interruption()
        values = _weighted(part, fits, bins)
        sums.append(float((values / total[part.region]).sum(dtype=np.float64)))
        better = values > best[part.region]
        best[part.region][better] = values[better]
        labels[part.region][better] = part.index
    return labels, sums


def _parts(probabilities: ChannelVolume, box: CropBox, canonical: CanonicalGrid) -> list[_Part]:
    """Return each class where it may be, in order; a class that is nowhere has an empty region."""
    background = canonical.inverse_of_box(*box.within(probabilities[0]), fill=1.0)
    parts = [_Part(0, (slice(None),) * 3, background.astype(np.float16))]
    for index, channel in enumerate(probabilities[1:], start=1):
        check_interruption()
        inside, start = box.within(channel)
        if not (likely := inside >= _LEAST).any():
            parts.append(_Part(index, (slice(0, 0),) * 3, np.zeros((0, 0, 0), np.float16)))
            continue
        near = box_around(likely, margin_vox=1)
        first = tuple(int(n) for n in np.add(start, near.start))
        values, region = canonical.inverse_region(near.crop(inside), first, fill=0.0)
        parts.append(_Part(index, region, values.astype(np.float16)))
    return parts


def _bins(data: Volume) -> NDArray[np.uint8]:
    """Return the bin of each voxel's intensity."""
    shown = data[data != 0]
    low, high = np.percentile(shown if shown.size else data, _PERCENTILES)
    unit = (data - low) / max(float(high - low), 1e-6)
    return np.clip(unit * _BINS, 0, _BINS - 1).astype(np.uint8)


def _weighted(part: _Part, fits: NDArray[np.float32], bins: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return probability times fit (i, j, k) in the region of a class."""
    return part.values.astype(np.float32) * fits[part.index][bins[part.region]]


def _posterior(
    part: _Part, fits: NDArray[np.float32], bins: NDArray[np.uint8], total: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the probability (i, j, k) of a class in its region, given the intensities."""
    return _weighted(part, fits, bins) / total[part.region]


def _distribution(posterior: NDArray[np.float32], bins: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the distribution of a class's intensities (bins,), summing to one; uniform for one that is nowhere."""
    sure = posterior > _SURE
    uniform = np.full(_BINS, 1 / _BINS, np.float32)
    if not sure.any():
        return uniform
    counts = np.bincount(bins[sure], weights=posterior[sure], minlength=_BINS)
    smooth = ndimage.gaussian_filter1d(counts, _SMOOTHING_BINS, mode="nearest")
    return ((1 - _UNIFORM) * smooth / smooth.sum() + _UNIFORM * uniform).astype(np.float32)
