"""Pictures of quantitative maps beside the scan that they were estimated from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from strokelabel.geometry import CanonicalGrid
from strokelabel.io import Image
from strokelabel.io.map_files import MAP_UNITS, PLAIN_SUFFIXES
from strokelabel.networks.estimator import ESTIMATED_MAPS
from strokelabel.reports.contact_sheet import Panel, save_contact_sheet

MAP_WINDOWS: dict[str, tuple[float, float]] = {
    "pd": (0.0, 110.0),
    "r1": (0.0, 1.5),
    "r2_star": (0.0, 50.0),
    "mt": (0.0, 2.0),
}
"""Values drawn black and white, the same in every picture, in the maps' units."""

_LEVELS = (0.45, 0.6, 0.75)
"""Axial slices, from the lowest to the highest of the head."""


def map_panels(
    scan: NDArray[np.float32],
    maps: NDArray[np.float32],
    title: str = "scan",
    levels: tuple[float, ...] = _LEVELS,
) -> list[Panel]:
    """Return the scan and its four maps in a row for each level.

    Args:
        scan: (x, y, z) canonical RAS, isotropic.
        maps: (4, x, y, z) in the order of `ESTIMATED_MAPS`, on the same grid.
        title: of the scan.
        levels: axial slices, as fractions of the head's extent from bottom to top.
    """
    high = float(np.percentile(scan, 99.5))
    windows = {
        title: (0.0, max(high, 1e-6)),
        **{_caption(name): MAP_WINDOWS[name] for name in ESTIMATED_MAPS},
    }
    occupied = np.flatnonzero((scan > 0.1 * high).mean(axis=(0, 1)) > 0.02)
    low, top = (occupied[0], occupied[-1]) if len(occupied) else (0, scan.shape[2] - 1)
    panels = []
    for level in levels:
        index = round(low + level * (top - low))
        slices = [scan[:, :, index], *maps[:, :, :, index]]
        panels += [
            Panel(picture.copy(), window, {}, caption)
            for picture, (caption, window) in zip(slices, windows.items(), strict=True)
        ]
    return panels


def save_estimate_picture(
    scan: Image, maps: NDArray[np.float32], path: Path, spacing_mm: float = 1.0
) -> None:
    """Draw a scan and its maps, three axial slices from bottom to top, the patient's left on the right.

    Args:
        scan: what the maps were estimated from.
        maps: (4, i, j, k) on the scan's grid.
        path: PNG to write.
        spacing_mm: voxel size of the picture.

    Raises:
        OutputError: the picture cannot be written.
    """
    grid = CanonicalGrid.for_image(scan.grid.shape, scan.affine, spacing_mm)
    turned = [grid.forward(values) for values in (scan.data, *maps)]
    save_contact_sheet(map_panels(turned[0], np.stack(turned[1:])), path, columns=1 + len(ESTIMATED_MAPS))


def _caption(name: str) -> str:
    low, high = MAP_WINDOWS[name]
    return f"{PLAIN_SUFFIXES[name]}  {low:g} to {high:g} {MAP_UNITS[name]}"
