"""Intensities of a scan before anything else: the CT window, and an air that is zero."""

from __future__ import annotations

import numpy as np

from strokelabel.errors import ConstantImageError
from strokelabel.types import Volume

_FLAT_FRACTION = 0.5
"""Fraction of the faces with exactly the same value from which on that value is a mask, not measured air."""

_CT_AIR_HU = -500.0
_CT_AIR_FRACTION = 0.1


def prepare_intensities(data: Volume, ct_window: tuple[float, float] | None) -> Volume:
    """Clip a CT to its window and bring the air of any scan to zero.

    Args:
        data: (i, j, k), finite.
        ct_window: (low, high) in Hounsfield units; None for anything but CT.

    Returns:
        float32 (i, j, k), as a rule without negative values.

    Raises:
        ConstantImageError: a CT that is flat inside the window.
    """
    values = np.asarray(data, dtype=np.float32)
    if ct_window is not None:
        values = np.clip(values, *ct_window)
        if values.min() == values.max():
            raise ConstantImageError(
                f"Expected a CT with contrast from {ct_window[0]:g} to {ct_window[1]:g} Hounsfield units, "
                f"found values of {data.min():g} to {data.max():g}; leave the CT option off for other scans."
            )
    return zero_air(values)


def zero_air(values: Volume) -> Volume:
    """Shift intensities so that air is zero, as in the images that networks are trained on.

    Scans that were z-scored or masked have air at any value, even in the middle of the brain's range. A value
    that fills most of the volume's faces is such a mask: it becomes zero and everything else positive. Air
    that was measured is left alone, unless it is negative.
    """
    faces = _faces(values)
    border = np.median(faces)
    if np.mean(faces == border) >= _FLAT_FRACTION:
        lifted = values - values.min()
        lifted[values == border] = 0
        return lifted
    return np.maximum(values - border, 0) if border < 0 else values


def looks_like_ct(data: Volume) -> bool:
    """Return whether values are so far below zero that they must be Hounsfield units."""
    return bool(np.mean(data < _CT_AIR_HU) > _CT_AIR_FRACTION)


def _faces(values: Volume) -> np.ndarray:
    """Return the voxels of the six faces of a volume, flat."""
    sides = (np.moveaxis(values, axis, 0)[index] for axis in range(3) for index in (0, -1))
    return np.concatenate([side.ravel() for side in sides])  # `take` would copy a file's volume each time
