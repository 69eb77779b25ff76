"""Intensity normalisation of one volume as an array; `normalization` does the same to batches of tensors."""

from __future__ import annotations

import numpy as np

from strokelabel.types import Volume

MAX_SAMPLES = 100_000
"""Percentiles come from at most this many voxels per image; sorting a whole head costs more than it tells."""

FEWEST = 100
"""With no more voxels than this that are not zero, all voxels count."""

TINY = 1e-12
"""Least distance of the two percentiles, by which intensities are divided."""

SMALL_DEVIATION = 1e-6
"""Added to the standard deviation, by which intensities are divided."""


def normalize_volume(volume: Volume, lower: float = 1.0, upper: float = 99.0) -> Volume:
    """Clip a volume to its own percentiles and scale it to zero mean and unit standard deviation.

    Args:
        volume: (x, y, z), finite.
        lower: lower percentile of the non-zero voxels, in [0, 100).
        upper: upper percentile of the non-zero voxels, in (lower, 100].

    Returns:
        float32 (x, y, z); all zeros where the volume is constant.
    """
    low, high = nonzero_percentiles(volume, lower, upper)
    scaled = (volume - low) / max(high - low, np.float32(TINY))
    np.clip(scaled, 0, 1, out=scaled)
    mean = scaled.mean(dtype=np.float64)
    deviation = scaled.std(dtype=np.float64, ddof=1)
    scaled -= np.float32(mean)
    scaled /= np.float32(deviation + SMALL_DEVIATION)
    return scaled


def nonzero_percentiles(volume: np.ndarray, lower: float, upper: float) -> tuple[np.float32, np.float32]:
    """Return two percentiles of the voxels that are not zero, from a sample of them.

    Args:
        volume: of any shape, finite.
        lower, upper: in [0, 100].
    """
    values = volume.ravel()
    values = values[:: max(1, values.size // (4 * MAX_SAMPLES))]
    nonzero = values[values != 0]
    values = nonzero if nonzero.size > FEWEST else values
    values = values[:: max(1, values.size // MAX_SAMPLES)].astype(np.float32)
    low, high = np.percentile(values, (lower, upper))
    return np.float32(low), np.float32(high)
