"""Preparation of real scans and slices: resampled, centred on the brain, their place in ICBM space known."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from strokelabel.errors import DataError, DimensionError, ImageError, LabelMapError
from strokelabel.fit.data.real_images.scans import (
    DESCRIPTION,
    FOLDER,
    SHAPE,
    SPACING_MM,
    RealImages,
    describe,
    save_scan,
    stored_scan,
)
from strokelabel.fit.data.real_images.slices import prepare_slices, slices_sha256
from strokelabel.fit.data.real_images.sources import ScanSource, find_scans, find_slices
from strokelabel.fit.pseudo_labels.lesions import align_with_icbm, has_tissues
from strokelabel.geometry import CanonicalGrid, CropBox, box_around
from strokelabel.inference.network_input import prepare_intensities
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.io.atomic import atomic_write_json
from strokelabel.io.images import Image, read_image
from strokelabel.io.lesion_pairs import LesionPair, read_lesion_pair
from strokelabel.metrics import largest_component
from strokelabel.synthesis.prepared.registration import MINIMUM_SIMILARITY
from strokelabel.synthesis.prepared.source_files import fingerprint
from strokelabel.types import Affine, Mask, Volume

ICBM_BRAIN_MM = np.array([[-72.0, -107.0, -64.0], [72.0, 74.0, 82.0]])
"""Bounding box of the template's brain, for scans that cannot be registered."""

_CLOSING_VOXELS = 3
_MEDIAN_VOXELS = 9
_BRIGHTEST = 99.9
_HEADROOM = 1.25
"""Headroom of the brightest brain tissue, which is stored as 255 / 1.25, so that fat and vessels may be brighter."""


@dataclass(frozen=True)
class ScanOnGrid:
    """A scan as it is stored; see `strokelabel.fit.data.real_images.scans.PreparedScan`.

    Attributes:
        similarity: of the registration; below `MINIMUM_SIMILARITY`, the brain's bounding box has taken its place.
    """

    image: NDArray[np.uint8]
    brain: NDArray[np.bool_]
    lesion: NDArray[np.bool_] | None
    to_icbm: Affine
    similarity: float


def bring_to_grid(
    image: Image, lesion: Mask | None, predictor: Predictor, *, fill_hyperintensities: bool
) -> ScanOnGrid:
    """Bring a scan and its lesion mask to the training grid.

    Args:
        image: any orientation and spacing.
        lesion: (i, j, k) on the scan's grid; None for a scan without a stroke.
        predictor: its classes say where the brain is.
        fill_hyperintensities: replace bright spots of the white matter by what surrounds them.

    Raises:
        LabelMapError: the model finds no brain.
        ImageError: the scan cannot be segmented.
    """
    labels = predictor.predict(image, PredictionOptions()).labels
    grid = CanonicalGrid.for_image(image.grid.shape, image.affine, SPACING_MM)
    brain = _brain_mask(grid.forward((labels > 0).astype(np.float32)) > 0.5, image.source)
    box = _box_about(brain)
    inside = box.crop(brain)
    volume = box.crop(grid.forward(prepare_intensities(image.data, None)))
    if fill_hyperintensities:
        volume = fill_bright_spots(volume, inside)
    alignment = align_with_icbm(labels, image.grid)
    similarity = 0.0 if alignment is None else alignment.similarity
    if alignment is None or similarity < MINIMUM_SIMILARITY:
        to_icbm = _icbm_by_bounding_box(inside)
    else:
        to_icbm = alignment.to_icbm @ box.grid(grid.target).affine @ _index_from_mm()
    return ScanOnGrid(
        image=_as_bytes(volume, inside),
        brain=inside,
        lesion=None if lesion is None else box.crop(_on_grid(lesion, grid, image.source)),
        to_icbm=to_icbm,
        similarity=similarity,
    )


def fill_bright_spots(volume: Volume, brain: NDArray[np.bool_]) -> Volume:
    """Replace what is much brighter than the brain around it, such as lesions of multiple sclerosis on FLAIR.

    Left as they are, and labelled "no lesion", they teach a model that bright white matter is never a stroke.

    Args:
        volume: (x, y, z), voxels of 1.5 mm.
        brain: (x, y, z).

    Returns:
        (x, y, z): spots more than two (robust) standard deviations above the brain's median, deeper than 6 mm, as the
        median of their surroundings with noise.
    """
    inner = ndimage.binary_erosion(brain, iterations=4)
    if not inner.any():
        return volume
    median = float(np.median(volume[inner]))
    deviation = 1.4826 * float(np.median(np.abs(volume[inner] - median)))
    hot = ndimage.binary_dilation((volume > median + 2 * deviation) & inner) & inner
    if not hot.any():
        return volume
    weight = ndimage.gaussian_filter(hot.astype(np.float32), 0.7)
    around = np.minimum(_local_median(volume, weight > 0), median + deviation)
    noise = np.random.default_rng(0).normal(0, 0.4 * deviation, volume.shape)
    filled = volume * (1 - weight) + (around + noise) * weight
    return np.clip(filled, 0, None).astype(np.float32)


def _local_median(volume: Volume, wanted: NDArray[np.bool_]) -> Volume:
    """Return the median over 9 voxels along each axis where it is wanted, (x, y, z); elsewhere the volume itself."""
    box = box_around(wanted, margin_vox=_MEDIAN_VOXELS // 2)
    filtered = box.paste(ndimage.median_filter(box.crop(volume), _MEDIAN_VOXELS))
    return np.where(wanted, filtered, volume)


def _brain_mask(predicted: NDArray[np.bool_], source: str) -> NDArray[np.bool_]:
    """Return the largest piece of the predicted brain, closed and without holes."""
    if not predicted.any():
        raise LabelMapError(f"{source}: expected a scan of a brain, the model finds none in it")
    closed = ndimage.binary_closing(
        np.pad(largest_component(predicted), _CLOSING_VOXELS), iterations=_CLOSING_VOXELS
    )
    x, y, z = (slice(_CLOSING_VOXELS, -_CLOSING_VOXELS) for _ in range(3))
    return ndimage.binary_fill_holes(closed[x, y, z])


def _box_about(brain: NDArray[np.bool_]) -> CropBox:
    """Return the box of `SHAPE` voxels with the brain's centroid in its middle; it may reach beyond the scan."""
    x, y, z = (
        round(centre - (side - 1) / 2)
        for centre, side in zip(ndimage.center_of_mass(brain), SHAPE, strict=True)
    )
    a, b, c = brain.shape
    return CropBox((a, b, c), (x, y, z), (x + SHAPE[0], y + SHAPE[1], z + SHAPE[2]))


def _on_grid(lesion: Mask, grid: CanonicalGrid, source: str) -> NDArray[np.bool_]:
    """Return a mask on the canonical grid."""
    if lesion.shape != grid.source.shape:
        raise DimensionError(
            f"{source}: expected a lesion mask on the scan's grid, found shape {lesion.shape}"
        )
    return grid.forward(lesion.astype(np.float32)) > 0.5


def _as_bytes(volume: Volume, brain: NDArray[np.bool_]) -> NDArray[np.uint8]:
    top = _HEADROOM * max(float(np.percentile(volume[brain], _BRIGHTEST)), 1e-12)
    return np.round(255 * np.clip(volume / top, 0, 1)).astype(np.uint8)


def _index_from_mm() -> Affine:
    """Return the map (4, 4) from mm about the grid's centre to its voxel index."""
    matrix = np.diag([1 / SPACING_MM] * 3 + [1.0])
    matrix[:3, 3] = (np.array(SHAPE) - 1) / 2
    return matrix


def _icbm_by_bounding_box(brain: NDArray[np.bool_]) -> Affine:
    """Return the map (4, 4) from mm about the grid's centre to ICBM mm: bounding box of the brain onto that of the
    template.
    """
    found = np.argwhere(brain)
    low, high = (SPACING_MM * (corner - (np.array(SHAPE) - 1) / 2) for corner in (found.min(0), found.max(0)))
    scale = (ICBM_BRAIN_MM[1] - ICBM_BRAIN_MM[0]) / np.maximum(high - low, SPACING_MM)
    matrix = np.diag([*scale, 1.0])
    matrix[:3, 3] = ICBM_BRAIN_MM[0] - scale * low
    return matrix


FORMAT_VERSION = 1
"""Version of the stored scans; those of another version are prepared again."""

OnProgress = Callable[[str, int, int], None]
"""Called with the stage ("slices" or "scans"), how many are done, and how many there are."""


@dataclass(frozen=True)
class RealPreparation:
    """Result of `prepare_real_images`.

    Attributes:
        slices: how many slices there are.
        scans: how many scans.
        skipped: path or name → why it was left out.
        warnings: scans whose alignment deserves a look.
        digest: of all sources.
    """

    slices: int
    scans: int
    skipped: dict[str, str]
    warnings: tuple[str, ...]
    digest: str


@dataclass
class _Findings:
    """Notes taken on the way."""

    skipped: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def prepare_real_images(
    output: Path,
    *,
    slices: Sequence[Path] = (),
    scans: Sequence[Path] = (),
    model: str = "base",
    fill_hyperintensities: Sequence[str] = (),
    on_progress: OnProgress = lambda stage, done, total: None,
) -> RealPreparation:
    """Write real slices and scans into a prepared folder.

    What an earlier run finished is kept where its source, the model and the options are the same. Of a kind for which
    no folder is named, everything stays as it is.

    Args:
        output: the prepared folder; receives `real-images/`.
        slices: folders (or files) of slices, .npz; see `slices.prepare_slices`.
        scans: folders (or files) of NIfTI scans without a stroke, or with an expert's lesion mask beside them.
        model: name or path of the model that says where the brain is.
        fill_hyperintensities: patterns of file names; white matter lesions of these scans are no strokes, and filled.
        on_progress: called after every file.

    Raises:
        DataError: nothing to train on found, a file of slices that is none, or a lesion mask that belongs to no scan.
        WeightsError, UnknownModelError: no such model, or one without tissues.
        OutputError: the folder cannot be written.
    """
    folder, noted = output / FOLDER, _Findings()
    before = describe(folder)
    if before is None and not (slices or scans):
        return RealPreparation(0, 0, {}, (), "")
    slice_names, scan_names = (before["slices"], before["scans"]) if before else ([], [])
    if slices:
        slice_names = _prepare_slices(slices, folder / "slices", noted, on_progress)
    if scans:
        maker = _ScanMaker(model, tuple(fill_hyperintensities), folder / "scans", noted)
        scan_names = maker.make_all(scans, on_progress)
    sources = [[name, slices_sha256(folder / "slices" / f"{name}.npz")] for name in slice_names]
    sources += [[name, (stored_scan(folder / "scans" / f"{name}.npz") or ("",))[0]] for name in scan_names]
    digest = hashlib.sha256(json.dumps(sources).encode()).hexdigest()
    content = {
        "format_version": FORMAT_VERSION,
        "digest": digest,
        "slices": slice_names,
        "scans": scan_names,
        "left_out": noted.skipped,
    }
    atomic_write_json(folder / DESCRIPTION, content)
    count = sum(len(part) for part in RealImages.load(output).slices)
    return RealPreparation(count, len(scan_names), noted.skipped, tuple(noted.warnings), digest)


def _prepare_slices(
    folders: Sequence[Path], target: Path, noted: _Findings, on_progress: OnProgress
) -> list[str]:
    found = find_slices(folders)
    noted.skipped.update(found.skipped)
    for done, path in enumerate(found.slices):
        on_progress("slices", done, len(found.slices))
        prepare_slices(path, target / path.name)
    on_progress("slices", len(found.slices), len(found.slices))
    return [path.stem for path in found.slices]


class _ScanMaker:
    """Prepares scans; the model is loaded when the first one needs it."""

    def __init__(self, model: str, fill: tuple[str, ...], target: Path, noted: _Findings) -> None:
        self._fill, self._target, self._noted = fill, target, noted
        self._predictor = Predictor.from_model(model, "cpu")
        if not has_tissues(self._predictor.spec.class_names):
            raise DataError(
                f"{model}: expected a model of tissues and lesion, which says where the brain is, found "
                f"{self._predictor.spec.class_names}"
            )
        self._model_sha256 = fingerprint(self._predictor.spec.path)

    def make_all(self, folders: Sequence[Path], on_progress: OnProgress) -> list[str]:
        """Prepare all scans of some folders; return the names of those that could be used."""
        found = find_scans(folders)
        self._noted.skipped.update(found.skipped)
        self._check_patterns([scan.image.name for scan in found.scans])
        names = []
        for done, source in enumerate(found.scans):
            on_progress("scans", done, len(found.scans))
            try:
                self._make(source)
                names.append(source.name)
            except (ImageError, LabelMapError) as error:
                self._noted.skipped[str(source.image)] = str(error)
        on_progress("scans", len(found.scans), len(found.scans))
        if not names:
            raise DataError(
                f"expected at least one usable scan, all {len(found.scans)} were refused; "
                f"the first: {self._noted.skipped[str(found.scans[0].image)]}"
            )
        return names

    def _make(self, source: ScanSource) -> None:
        path = self._target / f"{source.name}.npz"
        filled = any(fnmatch(source.image.name, pattern) for pattern in self._fill)
        mask = fingerprint(source.mask) if source.mask else ""
        sha256 = fingerprint(source.image, mask, self._model_sha256, str(filled), str(FORMAT_VERSION))
        known = stored_scan(path)
        similarity = known[1] if known is not None and known[0] == sha256 else None
        if similarity is None:
            image, lesion = _read(source)
            made = bring_to_grid(image, lesion, self._predictor, fill_hyperintensities=filled)
            save_scan(path, sha256, made.image, made.brain, made.lesion, made.to_icbm, made.similarity)
            similarity = made.similarity
        if similarity < MINIMUM_SIMILARITY:
            self._noted.warnings.append(
                f"{source.image}: its correlation with the ICBM template is {similarity:.2f} after alignment, expected "
                f"at least {MINIMUM_SIMILARITY}; the bounding box of the brain says where lesions are painted"
            )

    def _check_patterns(self, names: list[str]) -> None:
        for pattern in self._fill:
            if not any(fnmatch(name, pattern) for name in names):
                raise DataError(
                    f"expected the pattern {pattern!r} for hyperintensities to match a scan, it matches none of {names}"
                )


def _read(source: ScanSource) -> tuple[Image, Mask | None]:
    """Read a scan and its mask."""
    if source.mask is None:
        return read_image(source.image), None
    return read_lesion_pair(LesionPair(source.name, source.name, source.image, source.mask))
