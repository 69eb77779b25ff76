"""Simulated scans as files with BIDS sidecars, and pictures of them and of quantitative maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image as PILImage

from strokelabel import __version__
from strokelabel.geometry import CanonicalGrid
from strokelabel.io.atomic import atomic_path, atomic_write_json
from strokelabel.io.images import Image, write_nifti
from strokelabel.io.map_files import MAP_UNITS, PLAIN_SUFFIXES
from strokelabel.networks.estimator import ESTIMATED_MAPS
from strokelabel.physics.acquisition import Acquisition
from strokelabel.physics.maps import MAP_NAMES, QuantitativeMaps
from strokelabel.reports.contact_sheet import Panel, save_contact_sheet

_INCHES = 2.0
_BRIGHTEST_PERCENTILE = 99.5
_MARGIN_VOXELS = 4


@dataclass(frozen=True)
class Cell:
    """One picture of a table.

    Attributes:
        maps: one axial slice of quantitative maps, (x, y), x to the patient's right and y to the front.
        acquisition: how it is scanned.
        title: what stands above it.
    """

    maps: QuantitativeMaps
    acquisition: Acquisition
    title: str


def write_simulation(
    path: Path,
    signal: NDArray[np.float32],
    like: Image,
    acquisition: Acquisition,
    **more: str | float | list[str],
) -> None:
    """Write a simulated scan on the grid of its maps, after a JSON sidecar with BIDS parameter names.

    Args:
        path: .nii or .nii.gz.
        signal: (i, j, k).
        like: the image whose grid it takes.
        acquisition: what was simulated.
        more: further entries of the sidecar.

    Raises:
        OutputError: a file cannot be written.
    """
    name = path.name.removesuffix(".gz").removesuffix(".nii")
    sidecar = {"SequenceName": acquisition.title, **acquisition.bids(), "Units": "arbitrary", **more}
    about = f"StrokeLabel {__version__} simulation, {acquisition.title}"
    atomic_write_json(path.with_name(f"{name}.json"), {**sidecar, "GeneratedBy": [{"Name": about}]})
    write_nifti(path, signal, like, np.float32, about)


def axial_slice(
    maps: QuantitativeMaps, image: Image, mask: torch.Tensor | None = None
) -> tuple[QuantitativeMaps, torch.Tensor]:
    """Return the axial slice that shows the lesion best, or without one, the ventricles; cut to the head.

    Args:
        maps: of shape (i, j, k).
        image: the grid that they lie on.
        mask: (i, j, k) lesion.

    Returns:
        Maps (x, y), and the mask there.
    """
    shown = mask if mask is not None else _ventricles(maps)
    volumes = [_canonical(volume, image) for volume in (*maps.stack(), shown)]
    level = int(volumes[-1].sum(dim=(0, 1)).argmax())
    slices = torch.stack([volume[:, :, level] for volume in volumes])
    head = slices[0] > 0
    x, y = (_extent(head.any(dim=1 - axis)) for axis in range(2))
    cut = slices[:, x, y]
    return QuantitativeMaps.unstack(cut[: len(MAP_NAMES)]), cut[-1] * float(mask is not None)


def save_table(rows: Sequence[Sequence[Cell]], path: Path, labels: Sequence[str] = ()) -> None:
    """Draw simulated scans side by side, each black at 0 and white at its own brightest tissue.

    Args:
        rows: pictures by row.
        path: PNG to write.
        labels: what stands beside each row.
    """
    columns = max(len(row) for row in rows)
    height, width = rows[0][0].maps.pd.shape[::-1]
    size = (columns * _INCHES, len(rows) * (_INCHES * height / width + 0.25))
    dpi = 110 if len(rows) == 1 else 70
    figure = Figure(figsize=size, dpi=dpi, facecolor="black", layout="constrained")
    canvas = FigureCanvasAgg(figure)
    for number, row in enumerate(rows):
        for column, cell in enumerate(row):
            axes = figure.add_subplot(len(rows), columns, number * columns + column + 1)
            axes.imshow(_picture(cell), cmap="gray", origin="lower", vmin=0, vmax=1)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_title(cell.title, color="white", fontsize=7)
            if column == 0 and labels:
                axes.set_ylabel(labels[number].replace("-", "\n"), color="white", fontsize=7)
    canvas.draw()
    gray = PILImage.fromarray(np.asarray(canvas.buffer_rgba())[..., 0])  # a third of the size in colour
    with atomic_path(path) as temporary:
        gray.save(temporary, format="PNG", optimize=True)


def _picture(cell: Cell) -> NDArray[np.float32]:
    """Return the slice in radiological convention (left on the right), in [0, 1]."""
    signal = cell.acquisition.magnitude(cell.maps).numpy()
    brain = signal[(cell.maps.mt > 0.6).numpy()]  # fat, which is far brighter at times, has less
    window = np.percentile(brain if brain.size else signal, _BRIGHTEST_PERCENTILE)
    fluid = signal[((cell.maps.r1 < 0.3) & (cell.maps.pd > 80)).numpy()]
    if fluid.size:
        window = max(window, float(np.percentile(fluid, 50)))
    return np.clip(signal / max(1.1 * float(window), 1e-9), 0, 1)[::-1].T


def _ventricles(maps: QuantitativeMaps) -> torch.Tensor:
    """Return the fluid that decays slowly, far from vessels and bone; any fluid if there is none such."""
    fluid = (maps.r1 < 0.3) & (maps.pd > 80)
    deep = fluid & (maps.r2_star < 3)
    return (deep if bool(deep.any()) else fluid).float()


def _canonical(volume: torch.Tensor, image: Image) -> torch.Tensor:
    """Return the axes closest to right, front, top."""
    orientation = nib.io_orientation(image.affine)
    return torch.from_numpy(np.ascontiguousarray(nib.apply_orientation(volume.numpy(), orientation)))


def _extent(occupied: torch.Tensor) -> slice:
    """Return the range from the first to the last occupied position, with a margin."""
    positions = occupied.nonzero().flatten()
    if positions.numel() == 0:
        return slice(None)
    return slice(max(0, int(positions[0]) - _MARGIN_VOXELS), int(positions[-1]) + 1 + _MARGIN_VOXELS)


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
