"""Loads of a lesion in ICBM space: volume, tissues by side, coarse cells, and structures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from strokelabel.errors import DataError
from strokelabel.structures import Structure, classes_of_labels, parcellation_structures
from strokelabel.synthesis.prepared.dataset import PreparedData
from strokelabel.synthesis.prepared.icbm import icbm_template
from strokelabel.synthesis.prepared.source_files import read_lesion_mask
from strokelabel.types import Affine

FINE_MM: Final = 4
"""Cells from which arterial regions are estimated."""

COARSE_MM: Final = 8
"""Cells of the loads that models see."""

TENTORIUM_MM: Final = -20.0
"""Lesion below this z counts as infratentorial: brainstem and cerebellum, and the base of the temporal lobes."""

TISSUES: Final = (
    "gray, left",
    "gray, right",
    "white, left",
    "white, right",
    "left",
    "right",
    "below the tentorium",
)
"""Order of `LesionLoads.tissue_ml`."""


@dataclass(frozen=True, eq=False)
class LesionLoads:
    """Measures of one lesion mask.

    Attributes:
        ml: volume.
        tissue_ml: (7,) ml of `TISSUES`; gray and white matter by the template's probabilities.
        cells: (cells,) voxels of lesion, 0 to 64, in each cell of `FINE_MM`; x slowest, z fastest.
        structures: (structures,) fraction of each structure that is lesion; empty without a `StructureMap`.
    """

    ml: float
    tissue_ml: NDArray[np.float64]
    cells: NDArray[np.uint8]
    structures: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class StructureMap:
    """Structures on the ICBM 1 mm grid.

    Attributes:
        classes: (x, y, z), index in `structures`.
        structures: the background first.
    """

    classes: NDArray[np.uint8]
    structures: tuple[Structure, ...]

    @cached_property
    def sizes(self) -> NDArray[np.intp]:
        """Voxels of each structure, at least 1."""
        counts = np.bincount(self.classes.ravel(), minlength=len(self.structures))
        return np.maximum(counts, 1)


def fine_shape() -> tuple[int, int, int]:
    """Return the number of cells of `FINE_MM` along x, y, z: the ICBM grid, rounded up to whole coarse cells."""
    x, y, z = (-(-size // COARSE_MM) * (COARSE_MM // FINE_MM) for size in icbm_template().shape)
    return x, y, z


def read_loads(path: Path, structures: StructureMap | None = None) -> LesionLoads:
    """Read a lesion mask in ICBM space, on a grid of any orientation and spacing, and measure it.

    Raises:
        ImageError, LabelMapError: see `synthesis.prepared.source_files.read_lesion_mask`.
    """
    offset, mask = read_lesion_mask(path)
    return lesion_loads(offset, mask, structures)


def lesion_loads(
    offset: tuple[int, int, int], mask: NDArray[np.bool_], structures: StructureMap | None = None
) -> LesionLoads:
    """Measure a lesion on the ICBM 1 mm grid.

    Args:
        offset: index on that grid of the first voxel of `mask`.
        mask: (x, y, z), inside the grid.
        structures: to measure too.
    """
    index = np.argwhere(mask) + np.asarray(offset)
    counts = np.bincount(cells_of(index), minlength=int(np.prod(fine_shape())))
    hit: NDArray[np.float64] = np.zeros(0)
    if structures is not None:
        hit = _structure_fractions(index, structures)
    return LesionLoads(len(index) / 1000, _tissue_ml(index), counts.astype(np.uint8), hit)


def cells_of(index: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the cell of `FINE_MM` of voxels of the ICBM 1 mm grid, (voxels,), given their indices (voxels, 3)."""
    return np.ravel_multi_index(tuple((index // FINE_MM).T), fine_shape())


def coarse_loads(cells: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the smoothed fraction of lesion of each cell of `COARSE_MM` with brain in it, (patients, coarse cells).

    Args:
        cells: (patients, cells) of `FINE_MM`, see `LesionLoads`.
    """
    smooth = _smooth(_blocks(cells, COARSE_MM // FINE_MM, fine_shape()))
    return smooth[:, _cells_with_brain()]


def _blocks(values: NDArray[np.generic], step: int, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Return the means of blocks of `step` along x, y, z, (patients, x, y, z), given the shape before."""
    x, y, z = shape
    blocks = values.reshape(-1, x // step, step, y // step, step, z // step, step)
    return np.asarray(blocks.mean(axis=(2, 4, 6), dtype=np.float32))


@lru_cache(maxsize=1)
def _cells_with_brain() -> NDArray[np.intp]:
    """Return the indices of the coarse cells that hold a voxel of the template's brain."""
    brain = icbm_template().brain
    pad = [(0, -size % COARSE_MM) for size in brain.shape]
    padded = np.pad(brain, pad)
    x, y, z = padded.shape
    return np.flatnonzero(_blocks(padded, COARSE_MM, (x, y, z)))


def fine_loads(cells: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the smoothed fraction of lesion of each cell of `FINE_MM`, (patients, cells)."""
    return _smooth(cells.reshape(-1, *fine_shape()))


def _smooth(blocks: NDArray[np.generic]) -> NDArray[np.float32]:
    """Smooth counts by a Gaussian of one cell's SD, so that neighbouring lesions count as similar; return fractions."""
    smooth = [
        ndimage.gaussian_filter(one.astype(np.float32), sigma=1, mode="constant").ravel() for one in blocks
    ]
    return np.stack(smooth) / np.float32(FINE_MM**3)


@lru_cache(maxsize=1)
def _tissue_maps() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Load the probabilities of gray and white matter on the template's grid from nilearn's own files."""
    from nilearn.datasets import load_mni152_gm_template, load_mni152_wm_template

    gray, white = load_mni152_gm_template(resolution=1), load_mni152_wm_template(resolution=1)
    return gray.get_fdata(dtype=np.float32), white.get_fdata(dtype=np.float32)


def _tissue_ml(index: NDArray[np.intp]) -> NDArray[np.float64]:
    world = index @ icbm_template().affine[:3, :3].T + icbm_template().affine[:3, 3]
    left, low = world[:, 0] < 0, world[:, 2] < TENTORIUM_MM
    gray, white = (tissue[tuple(index.T)] for tissue in _tissue_maps())
    parts = [gray[left], gray[~left], white[left], white[~left], left, ~left, low]
    return np.array([float(part.sum()) for part in parts]) / 1000


def _structure_fractions(index: NDArray[np.intp], structures: StructureMap) -> NDArray[np.float64]:
    """Return the fraction of each structure but the background that is lesion."""
    count = len(structures.structures)
    hit = np.bincount(structures.classes[tuple(index.T)], minlength=count)
    return hit[1:] / structures.sizes[1:]


def structure_map(data: PreparedData) -> StructureMap:
    """Return the structure that most prepared brains have at each voxel of the ICBM grid.

    Brains are placed by their affine registration, so that the map is coarse: good for loads, not for borders.

    Raises:
        DataError: no brain, or label maps of intensity clusters, whose place in ICBM space is not known.
    """
    if not data.brain_names or data.structures:
        raise DataError("expected prepared label maps of FreeSurfer, found none", source=data.folder)
    structures = parcellation_structures()
    found = [0 if one is None else one for one in classes_of_labels(data.table, structures)]
    lookup = np.array(found, dtype=np.uint8)
    placed = [_on_icbm_grid(lookup[brain.labels], brain.to_icbm @ brain.affine) for brain in data.brains()]
    return StructureMap(_majority(placed, len(structures)), structures)


def _on_icbm_grid(classes: NDArray[np.uint8], to_icbm: Affine) -> NDArray[np.uint8]:
    """Return a label map on the ICBM grid, by nearest neighbours, given the map of its indices to ICBM mm."""
    template = icbm_template()
    back = np.linalg.inv(to_icbm) @ template.affine
    placed: NDArray[np.uint8] = ndimage.affine_transform(
        classes, back[:3, :3], back[:3, 3], output_shape=template.shape, order=0
    )
    return placed


def _majority(placed: Sequence[NDArray[np.uint8]], count: int) -> NDArray[np.uint8]:
    best = np.zeros(placed[0].shape, dtype=np.uint8)
    most = np.zeros(placed[0].shape, dtype=np.uint8)
    for index in range(count):
        votes = np.sum([one == index for one in placed], axis=0, dtype=np.uint8)
        best[votes > most] = index
        np.maximum(most, votes, out=most)
    return best
