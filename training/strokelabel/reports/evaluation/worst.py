"""Pictures of the worst cases: reference and prediction outlined on the scan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from scipy.ndimage import map_coordinates

from strokelabel.errors import ImageError
from strokelabel.geometry import Grid
from strokelabel.io import Image, read_image
from strokelabel.metrics.case import ComparedMasks
from strokelabel.metrics.common_grid import SIDE
from strokelabel.reports.contact_sheet import Panel, best_slice, save_contact_sheet
from strokelabel.reports.evaluation.results import CaseResult

REFERENCE_COLOR: Final = "lime"
PREDICTION_COLOR: Final = "red"

_MARGIN: Final = 6
_TITLE_WIDTH: Final = 30


def worst_results(results: Sequence[CaseResult], method: str, count: int = 5) -> list[CaseResult]:
    """The cases of a method with the lowest Dice; the larger lesion first where Dice is the same."""
    scored = [(r.metrics, r) for r in results if r.metrics is not None and r.method == method]
    scored.sort(key=lambda item: (item[0].dice, -item[0].reference_ml, item[1].case))
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


def _panels(result: CaseResult, masks: ComparedMasks) -> tuple[Panel, Panel]:
    """The two pictures of a case."""
    image = _read(result.image)
    levels = best_slice(masks.reference, SIDE), best_slice(masks.reference ^ masks.prediction, SIDE)
    metrics = result.metrics
    scores = f"Dice {metrics.dice:.2f}, HD95 {metrics.hd95_mm:.0f} mm" if metrics else ""
    volumes = f"{metrics.reference_ml:.1f} ml, predicted {metrics.prediction_ml:.1f} ml" if metrics else ""
    titles = f"{_short(result.case)}\n{scores}", f"{volumes}\nmost error"
    first, second = (_panel(image, masks, level, title) for level, title in zip(levels, titles, strict=True))
    return first, second


def _read(path: str) -> Image | None:
    """The scan; None where there is none to be had, which leaves the masks on black."""
    try:
        return read_image(path) if path else None
    except ImageError:
        return None


def _panel(image: Image | None, masks: ComparedMasks, level: int, title: str) -> Panel:
    """An axial slice of the common grid, cut to the head."""
    reference, prediction = masks.reference[:, :, level], masks.prediction[:, :, level]
    picture = np.zeros(reference.shape, np.float32)
    if image is not None:
        picture = axial_slice(image, masks.grid, level)
    low, high = (float(value) for value in np.percentile(picture, [0.5, 99.5]))
    shown = (picture > low + 0.1 * (high - low)) | reference | prediction
    x, y = (_span(shown.any(axis=axis)) for axis in (1, 0))
    return Panel(
        picture=picture[x, y],
        window=(low, max(high, low + 1e-6)),
        outlines={REFERENCE_COLOR: reference[x, y], PREDICTION_COLOR: prediction[x, y]},
        title=title,
    )


def axial_slice(image: Image, grid: Grid, level: int) -> np.ndarray:
    """A scan's values (x, y) in one axial plane of a grid, linearly interpolated; zero outside the scan."""
    x, y = np.meshgrid(np.arange(grid.shape[0]), np.arange(grid.shape[1]), indexing="ij")
    points = image.grid.to_voxel(grid.to_world(np.stack([x, y, np.full_like(x, level)], axis=-1)))
    values = map_coordinates(image.data, np.moveaxis(points, -1, 0), order=1, mode="grid-constant")
    return np.asarray(values, dtype=np.float32)


def _span(shown: np.ndarray) -> slice:
    found = np.flatnonzero(shown)
    if len(found) == 0:
        return slice(None)
    return slice(max(int(found[0]) - _MARGIN, 0), int(found[-1]) + 1 + _MARGIN)


def _short(name: str) -> str:
    """A name that fits above a picture: its middle gives way."""
    if len(name) <= _TITLE_WIDTH:
        return name
    half = _TITLE_WIDTH // 2
    return f"{name[:half]}…{name[-half + 1 :]}"
