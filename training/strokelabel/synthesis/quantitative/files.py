"""Heads of quantitative maps, read from files and kept, so that each is registered once."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from scipy import ndimage

from strokelabel.errors import DataError, ImageError, OutputError
from strokelabel.geometry import CanonicalGrid, Grid, bring_to_grid
from strokelabel.io.atomic import atomic_path
from strokelabel.io.map_files import MapFiles, find_map_files
from strokelabel.io.stored_volume import StoredVolume
from strokelabel.io.volumes import read_volume
from strokelabel.labels import TissueClass
from strokelabel.physics.maps import MAP_NAMES, QuantitativeMaps, check_units, r2_from_r2_star
from strokelabel.synthesis.quantitative.heads import QuantitativeHead
from strokelabel.types import Affine

_PARENCHYMA: dict[str, tuple[float, float]] = {"pd": (40.0, 130.0), "r1": (0.4, 1.5), "mt": (0.35, 5.0)}
"""Ranges that gray and white matter keep to; fluid, fat and bone fall out, muscle and skin do not quite."""

_BRIDGES = 3
"""Voxels that thin connections to the scalp (vessels, nerves) are eroded by."""
_SULCI = 4
"""Voxels over which sulci are closed."""


def brain_from_maps(maps: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the brain with its sulci and ventricles: the largest piece of parenchyma, opened, closed and filled.

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
    """Return the brain with its sulci and ventricles, from tissue fractions.

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
    """Return the largest connected piece."""
    pieces, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return np.asarray(pieces == sizes.argmax(), dtype=bool)


_FINE_MM = 1.0
"""Brains are found and registered at this voxel size."""

_R1_OF_WHITE = 0.97
_T1_OF_WHITE = 0.87
"""Grey value of white matter in `registration.T1_INTENSITY`; R1 is nearly proportional to those of a T1w scan."""

_TISSUE_CLASSES = (
    TissueClass.GRAY_MATTER,
    TissueClass.PARTIAL_VOLUME,
    TissueClass.WHITE_MATTER,
    TissueClass.CSF,
    TissueClass.LESION,
)


@dataclass(frozen=True, eq=False)
class MapVolumes:
    """One subject's maps on the canonical grid of 1 mm.

    Attributes:
        maps: (5, x, y, z) in the order of `physics.maps.MAP_NAMES`.
        tissues: (5, x, y, z) gray matter, partial volume, white matter, CSF, lesion; in [0, 1].
        labelled: whether the tissues are known; if not, only the lesion can be.
        affine: voxel index to RAS mm.
    """

    maps: NDArray[np.float32]
    tissues: NDArray[np.float32]
    labelled: bool
    affine: Affine


def read_map_volumes(files: MapFiles) -> MapVolumes:
    """Read maps and what is known about their tissues.

    Where there is no R2 map, R2 is a fraction of R2*, and that of free water where R1 is fluid's.

    Raises:
        ImageError: a file cannot be read, lies on another grid than the others, or is in other units.
    """
    images = {name: read_volume(path, np.float32) for name, path in files.maps.items()}
    first = images["pd"]
    grid = CanonicalGrid.for_image(_grid_of(first).shape, first.affine, _FINE_MM)
    volumes = {}
    for name, image in images.items():
        # Maps are undefined in the air: NaN, negative, or infinite where a fit failed.
        values = np.nan_to_num(_on_grid(image, first, files.maps[name]), posinf=0, neginf=0)
        volumes[name] = torch.from_numpy(grid.forward(np.maximum(values, 0)))
    volumes.setdefault("r2", r2_from_r2_star(volumes["r2_star"], volumes["r1"]))
    maps = QuantitativeMaps(**{name: volumes[name] for name in MAP_NAMES})
    check_units(maps, ignore=("r2",))
    tissues = _read_tissues(files, first, grid)
    return MapVolumes(maps.stack().numpy(), tissues, files.tissues is not None, grid.target.affine)


def make_quantitative_head(
    volumes: MapVolumes, spacing_mm: float, source: str, to_icbm: Affine | None = None
) -> QuantitativeHead:
    """Bring maps to the working resolution, and find where they lie in ICBM space.

    Args:
        volumes: see `read_map_volumes`.
        spacing_mm: working voxel size.
        source: named in errors.
        to_icbm: RAS mm to ICBM RAS mm where that is known; None to register.

    Raises:
        DataError: no brain is to be seen in the maps.
    """
    brain = brain_from_tissues(volumes.tissues) if volumes.labelled else brain_from_maps(volumes.maps)
    if not brain.any():
        raise DataError(
            f"{source}: expected the maps of a head, found no brain in them; add a segmentation of their tissues "
            "(`strokelabel predict --tissues`), or look at the maps"
        )
    r1 = volumes.maps[MAP_NAMES.index("r1")]
    if to_icbm is None:
        from strokelabel.synthesis.prepared.registration import (
            register_picture,  # needs SimpleITK, training does not
        )

        picture = np.clip(r1 * (_T1_OF_WHITE / _R1_OF_WHITE), 0, 1) * brain
        to_icbm = register_picture(picture.astype(np.float32), brain, volumes.affine).to_icbm
    shape = (r1.shape[0], r1.shape[1], r1.shape[2])
    grid = CanonicalGrid.for_image(shape, volumes.affine, spacing_mm)
    fluid = np.maximum(volumes.tissues[3], r1 < 0.35) * ndimage.binary_erosion(brain, iterations=3)
    allowed = brain * (1 - fluid) * (1 - volumes.tissues[4])
    center = volumes.affine[:3, :3] @ np.array(ndimage.center_of_mass(brain)) + volumes.affine[:3, 3]
    to_index = np.linalg.inv(grid.target.affine)
    unknown = torch.zeros(grid.target.shape, dtype=torch.uint8)
    return QuantitativeHead(
        first=unknown,
        second=unknown,
        fraction=unknown,
        tissues=_as_bytes(np.stack([grid.forward(one) for one in volumes.tissues])),
        brain=_as_bytes(grid.forward(brain.astype(np.float32))),
        lesion_allowed=_as_bytes(grid.forward(allowed.astype(np.float32))),
        matrix=torch.from_numpy(to_index[:3, :3].astype(np.float32)),
        offset=torch.from_numpy(to_index[:3, 3].astype(np.float32)),
        center_mm=torch.from_numpy(center.astype(np.float32)),
        to_icbm=torch.from_numpy(to_icbm.astype(np.float32)),
        maps=torch.from_numpy(np.stack([grid.forward(one) for one in volumes.maps])).half(),
        labelled=torch.tensor([volumes.labelled]),
    )


def _read_tissues(files: MapFiles, like: StoredVolume, grid: CanonicalGrid) -> NDArray[np.float32]:
    """Return tissue fractions (5, x, y, z); the lesion mask counts beside the segmentation's own lesion."""
    tissues = np.zeros((len(_TISSUE_CLASSES), *grid.target.shape), dtype=np.float32)
    if files.tissues is not None:
        labels = _on_grid(read_volume(files.tissues, np.int32), like, files.tissues)
        for row, tissue in zip(tissues, _TISSUE_CLASSES, strict=True):
            row[...] = grid.forward((labels == tissue).astype(np.float32))
    if files.lesion is not None:
        mask = _on_grid(read_volume(files.lesion, np.float32), like, files.lesion)
        lesion = grid.forward((mask > 0.5).astype(np.float32))
        tissues[:-1] *= 1 - lesion
        tissues[-1] = np.maximum(tissues[-1], lesion)
    return tissues


def _on_grid(image: StoredVolume, like: StoredVolume, path: Path) -> np.ndarray:
    """Return the data in the order of the PD map's axes; files on another grid are refused."""
    return bring_to_grid(image.data, _grid_of(image), _grid_of(like), str(path), "the PD map")


def _grid_of(image: StoredVolume) -> Grid:
    i, j, k = image.data.shape
    return Grid((i, j, k), image.affine)


def _as_bytes(fractions: NDArray[np.float32]) -> torch.Tensor:
    """Convert [0, 1] to 0..255."""
    return torch.from_numpy((np.clip(fractions, 0, 1) * 255).round().astype(np.uint8))


_VERSION = "1"
"""Another one when `make_quantitative_head` changes."""

_LOG = logging.getLogger(__name__)


def load_quantitative_heads(folder: Path, spacing_mm: float, cache: Path) -> list[QuantitativeHead]:
    """Load the heads of all maps in a folder, from the cache if possible.

    A head that cannot be used is left out with a warning.

    Args:
        folder: see `io.map_files.find_map_files`.
        spacing_mm: working voxel size.
        cache: folder to keep heads in.

    Raises:
        DataError: no maps, or none that can be used.
    """
    heads = []
    for files in find_map_files(folder):
        try:
            heads.append(_load(files, spacing_mm, cache))
        except (ImageError, DataError) as error:
            _LOG.warning("%s; this head is left out", error)
    if not heads:
        raise DataError(f"{folder}: expected quantitative maps of heads, none of those there can be used")
    return heads


def _load(files: MapFiles, spacing_mm: float, cache: Path) -> QuantitativeHead:
    """Return one head; computed and stored if the cache has none, a damaged one, or one of other files."""
    path = cache / f"{files.name}_{_digest(files)}_{spacing_mm:g}mm.safetensors"
    try:
        tensors = load_file(path)
        return QuantitativeHead(*(tensors[f.name] for f in fields(QuantitativeHead)))
    except (OSError, KeyError, SafetensorError):
        head = make_quantitative_head(read_map_volumes(files), spacing_mm, files.name)
    try:
        with atomic_path(path) as temporary:
            save_file(
                {f.name: getattr(head, f.name).clone().contiguous() for f in fields(QuantitativeHead)},
                temporary,
            )
    except (OutputError, SafetensorError) as error:
        _LOG.warning("%s; continuing without it, heads are computed again the next time", error)
    return head


def _digest(files: MapFiles) -> str:
    """Return a digest of the files' names, sizes and times, without reading gigabytes."""
    digest = hashlib.sha256(_VERSION.encode())
    for path in (*files.maps.values(), files.tissues, files.lesion):
        if path is not None:
            state = path.stat()
            digest.update(f"{path.resolve()} {state.st_size} {state.st_mtime_ns}\0".encode())
    return digest.hexdigest()[:16]
