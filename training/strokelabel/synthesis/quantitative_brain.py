"""Where the brain is in quantitative maps, for heads that nobody has labelled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from strokelabel.physics.maps import MAP_NAMES

_PARENCHYMA: dict[str, tuple[float, float]] = {"pd": (40.0, 130.0), "r1": (0.4, 1.5), "mt": (0.35, 5.0)}
"""Ranges that gray and white matter keep to; fluid, fat and bone fall out, muscle and skin do not quite."""

_BRIDGES = 3
"""Voxels that thin connections to the scalp (vessels, nerves) are eroded by."""
_SULCI = 4
"""Voxels over which sulci are closed."""


def brain_from_maps(maps: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The brain with its sulci and ventricles: the largest piece of parenchyma, opened, closed and filled.

    Args:
        maps: (5, x, y, z) in the order of `physics.maps.MAP_NAMES`, 1 mm.

    Returns:
        (x, y, z); empty if nothing looks like parenchyma.
    """
    named = dict(zip(MAP_NAMES, maps, strict=True))
    inside = [(named[name] > low) & (named[name] < high) for name, (low, high) in _PARENCHYMA.items()]
    parenchyma = np.logical_and.reduce(inside)
    core = _largest(ndimage.binary_erosion(parenchyma, iterations=_BRIDGES))
    grown = ndimage.binary_dilation(core, iterations=_BRIDGES + 1, mask=parenchyma) if core.any() else core
    return _closed(grown)


def brain_from_tissues(tissues: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The brain with its sulci and ventricles, from tissue fractions.

    Args:
        tissues: (5, x, y, z) gray matter, partial volume, white matter, CSF, lesion; in [0, 1], 1 mm.

    Returns:
        (x, y, z).
    """
    return _closed(tissues[[0, 1, 2, 4]].sum(axis=0) > 0.5)


def _closed(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Close sulci, fill ventricles."""
    padded = np.pad(mask, _SULCI)
    closed = ndimage.binary_fill_holes(ndimage.binary_closing(padded, iterations=_SULCI))
    inside = (slice(_SULCI, -_SULCI),) * 3
    return np.asarray(closed[inside], dtype=bool)


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected piece."""
    pieces, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return np.asarray(pieces == sizes.argmax(), dtype=bool)
