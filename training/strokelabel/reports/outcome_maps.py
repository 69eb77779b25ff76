"""Report of the maps that explain an outcome: NIfTI files in ICBM space, pictures on the template, and numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Final

import matplotlib
import nibabel as nib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage

from strokelabel.io.atomic import atomic_path, atomic_write_json
from strokelabel.io.images import Image, write_nifti
from strokelabel.outcome.explanation.explain import Map
from strokelabel.synthesis.prepared.icbm import icbm_template

SECTIONS_MM: Final = (-40, -28, -16, -6, 4, 12, 20, 28, 36, 46, 56, 66)
"""z of the axial sections of the pictures."""

_ACROSS: Final = 6
_MNI_CODE: Final = 4
_COLORS: Final = "hot"
_FAINT: Final = 0.35


def write_explanation(maps: Sequence[Map], facts: Mapping[str, Mapping[str, object]], folder: Path) -> None:
    """Write each map as `<name>.nii.gz`, `<name>_significant.nii.gz` and `<name>.png`, and all numbers as JSON.

    Args:
        maps: to write.
        facts: further numbers of each map by its name, and of the whole.
        folder: where to.

    Raises:
        OutputError: a file cannot be written.
    """
    like = _icbm_image()
    for one in maps:
        write_nifti(folder / f"{one.name}.nii.gz", one.values, like, np.float32, one.title)
        write_nifti(folder / f"{one.name}_significant.nii.gz", one.significant, like, np.uint8)
        write_map_picture(one, folder / f"{one.name}.png")
    described = {one.name: describe(one) | dict(facts.get(one.name, {})) for one in maps}
    rest = {name: dict(of) for name, of in facts.items() if name not in described}
    atomic_write_json(folder / "explanation.json", rest | described)


def describe(found: Map) -> dict[str, object]:
    """Return the numbers of a map: threshold, p, significant ml, and where its greatest value lies (ICBM mm)."""
    peak = np.unravel_index(int(found.values.argmax()), found.values.shape)
    world = icbm_template().affine[:3, :3] @ np.array(peak) + icbm_template().affine[:3, 3]
    return {
        "unit": found.unit,
        "greatest": float(found.values.max()),
        "greatest_at_mm": [round(float(one)) for one in world],
        "threshold": None if isnan(found.threshold) else found.threshold,
        "p": None if isnan(found.p) else found.p,
        "significant_ml": float(found.significant.sum()) / 1000,
        "resolution_mm": found.resolution_mm,
    }


def _icbm_image() -> Image:
    """Return the template as an image whose header says that it is in MNI space."""
    template = icbm_template()
    header = nib.Nifti1Image(template.image, template.affine).header
    header.set_sform(template.affine, code=_MNI_CODE)
    header.set_qform(template.affine, code=_MNI_CODE)
    return Image(template.image, template.affine, header, "ICBM template")


def write_map_picture(found: Map, path: Path) -> None:
    """Draw a map on axial sections of the template: significant values bright, all other positive ones faint.

    Colours are smoothed by a quarter of the resolution, and a map that was not tested gets more solid with its values.

    Raises:
        OutputError: the file cannot be written.
    """
    rows = -(-len(SECTIONS_MM) // _ACROSS)
    figure = Figure(figsize=(10, 2.15 * rows + 0.9), facecolor="black")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, _ACROSS, gridspec_kw={"wspace": 0.02, "hspace": 0.08})
    shown = [_smoothed_section(found, height) for height in SECTIONS_MM]
    norm = Normalize(0, max(float(np.max(shown)), 1e-12), clip=True)
    for axes, height, values in zip(np.ravel(grid), SECTIONS_MM, shown, strict=True):
        _draw_section(axes, found, height, norm(values))
    figure.text(0.125, 0.5, "L", color="white", fontsize=11, ha="right")
    figure.text(0.9, 0.5, "R", color="white", fontsize=11, ha="left")
    figure.suptitle(f"{found.title}\n{_verdict(found)}", color="white", fontsize=11, y=0.99)
    _draw_scale(figure, found, norm)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png", facecolor="black", bbox_inches="tight")


def _verdict(found: Map) -> str:
    if isnan(found.threshold):
        return "not tested against shuffled outcomes"
    if not found.significant.any():
        return f"nothing is significant (p = {found.p:.3f}); faint: not significant"
    return f"bright: significant (p < 0.05, corrected for the whole brain), {found.significant.sum() / 1000:.0f} ml"


def _draw_section(axes: Axes, found: Map, height: int, share: NDArray[np.floating]) -> None:
    gray, bright = _section(icbm_template().image, height), _section(found.significant, height)
    axes.imshow(gray, cmap="gray", vmin=0, vmax=1.15, interpolation="bilinear")
    colors = matplotlib.colormaps[_COLORS](0.25 + 0.65 * share)
    faint = np.sqrt(share) if isnan(found.threshold) else _FAINT * share
    colors[..., 3] = np.where(bright > 0, 0.9, faint * (gray > 0))
    axes.imshow(colors, interpolation="nearest")
    axes.set_title(f"z = {height}", color="white", fontsize=8, pad=2)
    axes.axis("off")


def _smoothed_section(found: Map, height: int) -> NDArray[np.float32]:
    values = ndimage.gaussian_filter(_section(found.values, height), found.resolution_mm / 4)
    return np.asarray(np.maximum(values, 0))


def _section(volume: NDArray[np.generic], height: int) -> NDArray[np.float32]:
    """Return the axial section of the brain's box at a z in mm, front up and left on the left."""
    index = round(height - icbm_template().affine[2, 3])
    x, y = (slice(low, high) for low, high in ((22, 175), (22, 212)))
    return np.asarray(volume[x, y, index].T[::-1], dtype=np.float32)


def _draw_scale(figure: Figure, found: Map, norm: Normalize) -> None:
    axes = figure.add_axes((0.35, 0.045, 0.3, 0.022))
    ramp = matplotlib.colormaps[_COLORS](0.25 + 0.65 * np.linspace(0, 1, 256))[None]
    axes.imshow(ramp, aspect="auto", extent=(0.0, float(norm.vmax or 1), 0.0, 1.0))
    if not isnan(found.threshold) and found.threshold < (norm.vmax or 1):
        axes.axvline(found.threshold, color="white", linewidth=1.2)
    axes.set_yticks([])
    axes.tick_params(colors="white", labelsize=8)
    threshold = "" if isnan(found.threshold) else "; the line is the threshold of significance"
    axes.set_xlabel(f"{found.unit}{threshold}", color="white", fontsize=8)
