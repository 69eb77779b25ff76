"""Pictures of patients, as the networks see them: stitched sections, regions with symbols, cells, and FLAIR slices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from strokelabel.errors import DataError
from strokelabel.io import slice_files
from strokelabel.outcome.networks.canvas import Canvas, Tile, pack, stitched_canvas, volume_canvas
from strokelabel.outcome.networks.symbols import SIDE, pentagon, pie
from strokelabel.outcome.patients import Patient
from strokelabel.outcome.predictors import Cohort
from strokelabel.synthesis.prepared.icbm import icbm_template
from strokelabel.synthesis.prepared.source_files import read_lesion_mask

Picture = NDArray[np.float32]

LEFT_REGIONS_MM: Final = {
    "precentral gyrus": ((-62, -28, 18), (-14, 12, 74)),
    "postcentral gyrus": ((-66, -44, 14), (-18, 0, 74)),
    "inferior frontal gyrus": ((-62, 4, 0), (-34, 44, 36)),
    "insula": ((-50, -24, -18), (-26, 28, 22)),
    "superior temporal gyrus": ((-68, -52, -8), (-40, 8, 22)),
    "supramarginal gyrus": ((-68, -52, 18), (-36, -20, 46)),
    "corona radiata": ((-36, -32, 16), (-12, 20, 40)),
    "lentiform nucleus and internal capsule": ((-34, -22, -10), (-10, 18, 16)),
    "thalamus": ((-24, -34, -4), (0, -2, 18)),
}
"""Boxes around regions that often decide severity or language, ICBM mm, left; the right ones are their mirror images.

The package has no atlas; the boxes are usual extents in ICBM space, not an atlas' own.
"""

MIDLINE_REGIONS_MM: Final = {"brainstem": ((-16, -44, -58), (16, -8, -8))}

_REGION_MM: Final = 4
_REGION_SECTIONS: Final = 2
_REGION_COLUMNS: Final = 96

SLICE_VIEWS: Final = ("axial", "coronal", "sagittal")
_SLICE_MM: Final = 3


@lru_cache(maxsize=1)
def region_canvas() -> Canvas:
    """Return a canvas of the lower and the upper half of each region's box, with room for symbols below."""
    boxes = [box for _, box in region_boxes()]
    halves = [half for box in boxes for half in _halves(*box)]
    sizes = [_pixels(low, high) for low, high in halves]
    places, rows = pack(sizes, _REGION_COLUMNS)
    tiles = tuple(
        Tile(low, high, row, column, _REGION_MM)
        for (low, high), (row, column) in zip(halves, places, strict=True)
    )
    return Canvas(tiles, (rows + 1 + SIDE, _REGION_COLUMNS))


def region_boxes() -> tuple[tuple[str, tuple[NDArray[np.intp], NDArray[np.intp]]], ...]:
    """Return names of regions and their first voxel and the one after the last on the ICBM grid."""
    found = []
    for name, (low, high) in LEFT_REGIONS_MM.items():
        found.append((f"{name}, left", _voxels(low, high)))
        found.append((f"{name}, right", _voxels((-high[0], *low[1:]), (-low[0], *high[1:]))))
    found += [(name, _voxels(*box)) for name, box in MIDLINE_REGIONS_MM.items()]
    return tuple(found)


def _voxels(
    low: tuple[int, int, int], high: tuple[int, int, int]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    origin = icbm_template().affine[:3, 3]
    return np.asarray(low - origin).astype(np.intp), np.asarray(high - origin).astype(np.intp)


def _halves(
    low: NDArray[np.intp], high: NDArray[np.intp]
) -> list[tuple[tuple[int, int, int], tuple[int, int, int]]]:
    cuts = np.linspace(low[2], high[2], _REGION_SECTIONS + 1).round().astype(int).tolist()
    (x, y), (right, front) = low[:2].tolist(), high[:2].tolist()
    return [((x, y, a), (right, front, b)) for a, b in pairwise(cuts)]


def _pixels(low: tuple[int, int, int], high: tuple[int, int, int]) -> tuple[int, int]:
    return (high[1] - low[1]) // _REGION_MM, (high[0] - low[0]) // _REGION_MM


def draw_symbols(picture: Picture, ml: float, years: float | None) -> Picture:
    """Return a picture of regions with a pentagon by volume and, where the age is known, a pie by age at its bottom."""
    drawn = picture.copy()
    drawn[-SIDE:, SIDE : 2 * SIDE] = pentagon(ml)
    if years is not None:
        drawn[-SIDE:, 2 * SIDE : 3 * SIDE] = pie(years)
    return drawn


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures of patients by kind, and facts beside them.

    Attributes:
        ids: of the patients.
        kinds: name -> (patients, rows, columns), or (patients, z, y, x) of cells. `stitched`: 64 axial sections;
            `regions`: regions of interest; `symbols`: these with drawn symbols; `cells`: 8 mm cells; `flair`: slices.
        facts: (patients, facts) logarithm and root of the volume, and age where known.
    """

    ids: tuple[str, ...]
    kinds: dict[str, Picture]
    facts: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.facts)


def read_pictures(
    cohort: Cohort,
    slices: Path | None = None,
    on_progress: Callable[[int], None] = lambda done: None,
    kinds: Sequence[str] = ("stitched", "regions", "symbols", "cells"),
) -> Pictures:
    """Read the masks of patients again and paint them.

    Args:
        cohort: the patients and their measures.
        slices: folder of FLAIR slices, see `read_slices`; without it there are no pictures of FLAIR.
        on_progress: called with the number of masks that are done.
        kinds: to paint.

    Raises:
        ImageError, LabelMapError: a mask cannot be read.
        DataError: see `read_slices`.
    """
    flair = None if slices is None else read_slices(slices, cohort.ids)
    found: dict[str, list[Picture]] = {kind: [] for kind in kinds}
    for done, (patient, loads) in enumerate(zip(cohort.patients, cohort.loads, strict=True), start=1):
        for kind, picture in paint(patient, loads.ml, kinds).items():
            found[kind].append(picture)
        on_progress(done)
    stacked = {kind: np.stack(pictures) for kind, pictures in found.items()}
    if flair is not None:
        stacked["flair"] = flair
    return Pictures(cohort.ids, stacked, facts(cohort))


def facts(cohort: Cohort) -> NDArray[np.float32]:
    """Return what networks know beside pictures, see `Pictures`."""
    predictors = cohort.predictors()
    names = ("size", "age") if predictors.has(("age",)) else ("size",)
    return predictors.matrix(names).astype(np.float32)


def paint(patient: Patient, ml: float, kinds: Sequence[str]) -> dict[str, Picture]:
    """Return pictures of one patient's lesion by kind.

    Raises:
        ImageError, LabelMapError: the mask cannot be read.
    """
    offset, mask = read_lesion_mask(patient.mask)
    painted: dict[str, Picture] = {}
    if "stitched" in kinds:
        painted["stitched"] = default_stitched_canvas().paint(offset, mask)
    if "cells" in kinds:
        canvas, shape = default_volume_canvas()
        painted["cells"] = canvas.paint(offset, mask).reshape(shape)
    if {"regions", "symbols"} & set(kinds):
        regions = region_canvas().paint(offset, mask)
        both = {"regions": regions, "symbols": draw_symbols(regions, ml, patient.age)}
        painted |= {kind: picture for kind, picture in both.items() if kind in kinds}
    return painted


@lru_cache(maxsize=1)
def default_stitched_canvas() -> Canvas:
    """Return the canvas of `stitched` pictures."""
    return stitched_canvas()


@lru_cache(maxsize=1)
def default_volume_canvas() -> tuple[Canvas, tuple[int, int, int]]:
    """Return the canvas of `cells`, and its shape (z, y, x)."""
    return volume_canvas()


def read_slices(folder: Path, ids: Sequence[str]) -> Picture:
    """Read the FLAIR slices of patients and put them side by side, (patients, rows, columns), 0 to 1.

    Args:
        folder: with `*_axial.npz`, `*_coronal.npz` and `*_sagittal.npz`, see `io.slice_files`; one or more of each.
        ids: of the patients, `sub-<number>`.

    Raises:
        DataError: a file is missing or cannot be read, or a patient has no slice.
    """
    views = [_read_view(folder, view, ids) for view in SLICE_VIEWS]
    rows = max(view.shape[1] for view in views)
    padded = [np.pad(view, ((0, 0), (0, rows - view.shape[1]), (0, 0))) for view in views]
    return np.concatenate(padded, axis=2)


def _read_view(folder: Path, view: str, ids: Sequence[str]) -> Picture:
    """Return one view of patients at `_SLICE_MM`, (patients, rows, columns)."""
    found: dict[int, NDArray[np.uint8]] = {}
    paths = sorted(folder.glob(f"*_{view}.npz"))
    if not paths:
        raise DataError(f"expected slices *_{view}.npz, found none", source=folder)
    for path in paths:
        stored = slice_files.read_slices(path)
        found |= dict(zip(stored.subject.tolist(), stored.image, strict=True))
    missing = [name for name in ids if _subject(name) not in found]
    if missing:
        raise DataError(
            f"expected {view} slices of all patients, found none of {len(missing)} ({', '.join(missing[:5])}); "
            "leave out --slices or these patients",
            source=folder,
        )
    return np.stack([_shrink(found[_subject(name)]) for name in ids])


def _subject(name: str) -> int:
    """Return the number of an id `sub-<number>`, which may have leading zeros; -1 where it is none."""
    digits = name.removeprefix("sub-")
    return int(digits) if digits.isdecimal() else -1


def _shrink(image: NDArray[np.uint8]) -> Picture:
    """Return the means of blocks, with rows from top to bottom, scaled to the slice's 99th percentile."""
    sides = [size // _SLICE_MM for size in image.shape]
    cut = image[: sides[0] * _SLICE_MM, : sides[1] * _SLICE_MM].astype(np.float32)
    blocks = cut.reshape(sides[0], _SLICE_MM, sides[1], _SLICE_MM).mean(axis=(1, 3))
    brightest = float(np.percentile(blocks[blocks > 0], 99)) if blocks.any() else 1.0
    return np.asarray(np.clip(blocks / brightest, 0, 1).T[::-1], dtype=np.float32)
