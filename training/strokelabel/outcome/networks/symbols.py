"""Symbols for clinical facts, drawn into a picture: a pentagon by size of the lesion, a pie by age.

As in White et al. 2024, but for facts that our patients have. Each symbol gets more ink the greater its number is.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

SIDE: Final = 24
"""Rows and columns of a symbol."""

LARGEST_ML: Final = 500.0
OLDEST_YEARS: Final = 100.0
"""Greater volumes and ages are drawn as these."""

_OVERSAMPLING: Final = 8
_LEAST_RADIUS: Final = 3.0


def pentagon(ml: float) -> NDArray[np.float32]:
    """Return a regular pentagon whose radius grows with the root of the lesion's volume, (`SIDE`, `SIDE`), 0 to 1."""
    share = np.sqrt(np.clip(ml / LARGEST_ML, 0, 1))
    radius = _LEAST_RADIUS + (SIDE / 2 - 0.5 - _LEAST_RADIUS) * share
    right, up = _grid()
    normals = np.deg2rad(-90 + 72 * np.arange(5))
    reach = np.max([right * np.cos(angle) + up * np.sin(angle) for angle in normals], axis=0)
    return _antialias(reach <= radius * np.cos(np.pi / 5))


def pie(years: float) -> NDArray[np.float32]:
    """Return a pie, clockwise from the top, whose angle (to 330 degrees) and brightness grow with age, 0 to 1."""
    share = float(np.clip(years / OLDEST_YEARS, 0, 1))
    right, up = _grid()
    inside = np.hypot(right, up) <= SIDE / 2 - 0.5
    angle = np.mod(np.arctan2(right, up), 2 * np.pi)
    return _antialias(inside & (angle <= share * np.deg2rad(330))) * np.float32(0.5 + 0.5 * share)


def _grid() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the distances to the right of the middle and above it, pixels, on a finer grid."""
    fine = (np.arange(SIDE * _OVERSAMPLING) + 0.5) / _OVERSAMPLING - SIDE / 2
    return fine[None, :], -fine[:, None]


def _antialias(ink: NDArray[np.bool_]) -> NDArray[np.float32]:
    blocks = ink.reshape(SIDE, _OVERSAMPLING, SIDE, _OVERSAMPLING)
    return np.asarray(blocks.mean(axis=(1, 3)), dtype=np.float32)
