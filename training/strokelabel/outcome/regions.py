"""Arterial regions of a lesion mask without the atlas: a linear map learned from patients with known fractions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from strokelabel.outcome.loads import fine_loads, fine_shape

_RIDGE: Final = 0.003
"""Regularisation as a fraction of the kernel's mean diagonal; from 0.001 to 0.01 the estimates are equally good."""

_LEAST_LOAD: Final = 0.1
"""Cells in which no patient has more are left out: half of them, without any effect on the estimates."""

_LEAST_SHARE: Final = 0.25
"""A cell belongs to no region if it would count less than this for each of them, of a cell inside one."""


@dataclass(frozen=True, eq=False)
class RegionMap:
    """Fractions of arterial regions as a linear function of the lesion's smoothed cells.

    The fraction of a region is the overlap of the mask with it, which is linear in the mask's voxels. The atlas itself
    is not in the package.

    Attributes:
        cells: indices of the cells of `loads.FINE_MM` that are used.
        weights: (cells used, regions), numbers that half precision holds.
    """

    cells: NDArray[np.int32]
    weights: NDArray[np.float32]

    @classmethod
    def fit(cls, cells: NDArray[np.uint8], fractions: NDArray[np.float64]) -> Self:
        """Learn the map by ridge regression.

        Args:
            cells: (patients, cells), see `loads.LesionLoads`.
            fractions: (patients, regions), 0 to 1.
        """
        loads = fine_loads(cells)
        used = np.flatnonzero(loads.max(axis=0) > _LEAST_LOAD).astype(np.int32)
        loads = loads[:, used]
        kernel = (loads @ loads.T).astype(np.float64)
        kernel[np.diag_indices_from(kernel)] += _RIDGE * np.trace(kernel) / len(kernel)
        weights = loads.T @ np.linalg.solve(kernel, fractions).astype(np.float32)
        return cls(used, weights.astype(np.float16).astype(np.float32))

    def fractions(self, cells: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the fraction of each region that is lesion, (patients, regions), 0 to 1.

        Args:
            cells: (patients, cells), see `loads.LesionLoads`.
        """
        loads = fine_loads(cells)[:, self.cells]
        return np.clip((loads @ self.weights).astype(np.float64), 0, 1)

    def cell_regions(self) -> NDArray[np.int8]:
        """Return the index of the region that each cell of `loads.FINE_MM` lies in, (all cells,); -1 for none.

        Inside a region the map's weights are about the same, the reciprocal of the region's size, and zero elsewhere.
        """
        positive = np.maximum(self.weights, 0)
        inside = (positive**2).sum(axis=0) / np.maximum(positive.sum(axis=0), 1e-12)
        share = positive / np.maximum(inside, 1e-12)
        regions = np.full(int(np.prod(fine_shape())), -1, dtype=np.int8)
        regions[self.cells] = np.where(share.max(axis=1) > _LEAST_SHARE, share.argmax(axis=1), -1)
        return regions

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the arrays that `from_arrays` takes."""
        return {"cells": self.cells, "weights": self.weights.astype(np.float16)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Self:
        """Return the map of these arrays.

        Raises:
            KeyError: an array is missing.
        """
        return cls(arrays["cells"].astype(np.int32), arrays["weights"].astype(np.float32))
