"""Pictures of the worst cases: reference and prediction outlined on the scan.

Slices are axial, but for a slab, a single slice that was repeated along its normal: that slice is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import nibabel as nib
import numpy as np
from scipy.ndimage import map_coordinates

from strokelabel.errors import ImageError
from strokelabel.geometry import Grid
from strokelabel.io import Image, read_image
from strokelabel.metrics.case import CaseMetrics, ComparedMasks
from strokelabel.metrics.common_grid import SIDE
from strokelabel.reports.contact_sheet import Panel, best_slice, save_contact_sheet
from strokelabel.reports.evaluation.results import CaseResult
from strokelabel.reports.evaluation.slabs import slab_axis

REFERENCE_COLOR: Final = "lime"
PREDICTION_COLOR: Final = "red"

_MARGIN: Final = 6
_TITLE_WIDTH: Final = 30


def worst_results(results: Sequence[CaseResult], method: str, count: int = 5) -> list[CaseResult]:
    """Return the cases of a method with the lowest Dice; the larger lesion first where Dice is the same.

    Scans without a lesion are left out: `worst_false_results` has them.
    """
    scored = [(metrics, r) for metrics, r in _scored(results, method) if metrics.reference_ml > 0]
    scored.sort(key=lambda item: (item[0].dice, -item[0].reference_ml, item[1].case))
    return [result for _, result in scored[:count]]


def worst_false_results(results: Sequence[CaseResult], method: str, count: int = 5) -> list[CaseResult]:
    """Return the scans without a lesion in which a method found most; those in which it found none are left out."""
    scored = [
        (metrics, r)
        for metrics, r in _scored(results, method)
        if metrics.reference_ml == 0 and metrics.prediction_ml > 0
    ]
    scored.sort(key=lambda item: (-item[0].prediction_ml, item[1].case))
    return [result for _, result in scored[:count]]


def write_worst(cases: Sequence[tuple[CaseResult, ComparedMasks]], path: Path) -> None:
    """Write a sheet with two axial slices per case: most reference above, most error below.

    Args:
        cases: results with their masks.
        path: PNG to write.

    Raises:
        OutputError: it cannot be written.
    """
    panels = [_panels(result, masks) for result, masks in cases]
    if panels:
        save_contact_sheet([above for above, _ in panels] + [below for _, below in panels], path, len(panels))


def case_panel(result: CaseResult, masks: ComparedMasks, facts: str) -> Panel:
    """Draw the slice of a case with most of reference and prediction; `facts` stand below its name."""
    image = _read(result.image)
    axis = _shown_axis(image)
    level = _fullest(masks.reference | masks.prediction, axis)
    return _panel(image, masks, axis, level, f"{_short(result.case)}\n{facts}")


def _scored(results: Sequence[CaseResult], method: str) -> list[tuple[CaseMetrics, CaseResult]]:
    return [(r.metrics, r) for r in results if r.metrics is not None and r.method == method]


def _panels(result: CaseResult, masks: ComparedMasks) -> tuple[Panel, Panel]:
    """Return the two pictures of a case."""
    image = _read(result.image)
    axis = _shown_axis(image)
    levels = _fullest(masks.reference, axis), _fullest(masks.reference ^ masks.prediction, axis)
    metrics = result.metrics
    scores = f"Dice {metrics.dice:.2f}, HD95 {metrics.hd95_mm:.0f} mm" if metrics else ""
    volumes = f"{metrics.reference_ml:.1f} ml, predicted {metrics.prediction_ml:.1f} ml" if metrics else ""
    titles = f"{_short(result.case)}\n{scores}", f"{volumes}\nmost error"
    first, second = (
        _panel(image, masks, axis, level, title) for level, title in zip(levels, titles, strict=True)
    )
    return first, second


def _shown_axis(image: Image | None) -> int:
    """Return the axis of the common grid that the shown slice is perpendicular to."""
    axis = slab_axis(image.data) if image is not None else None
    if image is None or axis is None:
        return 2
    return int(nib.orientations.io_orientation(image.affine)[axis, 0])


def _fullest(mask: np.ndarray, axis: int) -> int:
    """Return the slice with most of a mask."""
    return best_slice(np.moveaxis(mask, axis, 2), SIDE)


def _read(path: str) -> Image | None:
    """Read the scan; None if there is none, so that the masks are on black."""
    try:
        return read_image(path) if path else None
    except ImageError:
        return None


def _panel(image: Image | None, masks: ComparedMasks, axis: int, level: int, title: str) -> Panel:
    """Return a slice of the common grid, cut to the head."""
    reference, prediction = (np.take(mask, level, axis) for mask in (masks.reference, masks.prediction))
    picture = np.zeros(reference.shape, np.float32)
    if image is not None:
        picture = grid_slice(image, masks.grid, level, axis)
    low, high = (float(value) for value in np.percentile(picture, [0.5, 99.5]))
    shown = (picture > low + 0.1 * (high - low)) | reference | prediction
    x, y = (_span(shown.any(axis=other)) for other in (1, 0))
    return Panel(
        picture=picture[x, y],
        window=(low, max(high, low + 1e-6)),
        outlines={REFERENCE_COLOR: reference[x, y], PREDICTION_COLOR: prediction[x, y]},
        title=title,
    )


def grid_slice(image: Image, grid: Grid, level: int, axis: int = 2) -> np.ndarray:
    """Return a scan's values in one plane of a grid, linearly interpolated; zero outside the scan.

    Args:
        image: the scan.
        grid: axes x, y, z.
        level: of the plane.
        axis: perpendicular to the plane; 2 for an axial one, (x, y).
    """
    sizes = [1 if other == axis else size for other, size in enumerate(grid.shape)]
    indices = np.stack(np.meshgrid(*(np.arange(size) for size in sizes), indexing="ij"), axis=-1)
    indices[..., axis] = level
    points = np.take(image.grid.to_voxel(grid.to_world(indices)), 0, axis)
    values = map_coordinates(image.data, np.moveaxis(points, -1, 0), order=1, mode="grid-constant")
    return np.asarray(values, dtype=np.float32)


def _span(shown: np.ndarray) -> slice:
    found = np.flatnonzero(shown)
    if len(found) == 0:
        return slice(None)
    return slice(max(int(found[0]) - _MARGIN, 0), int(found[-1]) + 1 + _MARGIN)


def _short(name: str) -> str:
    """Shorten a name in its middle to fit above a picture."""
    if len(name) <= _TITLE_WIDTH:
        return name
    half = _TITLE_WIDTH // 2
    return f"{name[:half]}…{name[-half + 1 :]}"
