"""Part of a scan that a network is shown, its intensities, and the way back of class probabilities onto the scan.

The part is the whole head, or as much around the brain as the training images show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

import numpy as np
from scipy import ndimage

from strokelabel.errors import ConstantImageError
from strokelabel.geometry import CanonicalGrid, CropBox, box_around
from strokelabel.inference.engine import Engine, OnPass, softmax
from strokelabel.inference.head import Triple, centered_box, head_box, triple
from strokelabel.inference.interruption import check_interruption
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.postprocessing import brain_region
from strokelabel.labels import PARENCHYMA_NAMES
from strokelabel.metrics import largest_component
from strokelabel.networks.volume_normalization import SMALL_DEVIATION, normalize_volume
from strokelabel.registry import ModelSpec
from strokelabel.types import ChannelVolume, LabelVolume, Mask, Volume

_MUCH_LARGER = 1.15
"""A head larger than the field of view by more than this factor along an axis is searched for its brain."""

_BRAIN_MARGIN_MM = 8.0
_TAILS = (1.0, 99.0)
"""Percentiles of the brain's voxels between which its middle is taken, so that a leak does not move it."""

Classify = Callable[[CropBox], ChannelVolume]
"""Predicts probabilities (classes, x, y, z) in a box."""


def head_view(volume: Volume, spacing_mm: float, multiple: int) -> CropBox:
    """Return the whole head in one box, sides a multiple of `multiple`.

    Args:
        volume: (x, y, z), canonical, air near zero.
        spacing_mm: voxel size.
        multiple: what the network asks for.
    """
    head = head_box(volume, spacing_mm)
    return _around(head, _round_up(head.shape, multiple))


def brain_view(
    volume: Volume, spacing_mm: float, multiple: int, field_mm: tuple[float, float, float], classify: Classify
) -> CropBox:
    """Return the network's field of view, around the brain.

    Centred on the head where the head fits; where it is much larger, a first pass over the whole head finds
    the brain, as the largest piece that is not background.

    Args:
        volume: (x, y, z), canonical, air near zero.
        spacing_mm: voxel size.
        multiple: what the network asks for.
        field_mm: field of view of the training images.
        classify: used for the first pass.
    """
    head = head_box(volume, spacing_mm)
    field = tuple(side / spacing_mm for side in field_mm)
    if all(n <= side * _MUCH_LARGER for n, side in zip(head.shape, field, strict=True)):
        sides = [max(n, side) for n, side in zip(head.shape, field, strict=True)]
        return _around(head, _round_up(sides, multiple))
    whole = _around(head, _round_up(head.shape, multiple))
    brain = _brain_extent(classify(whole))
    if brain is None:
        return whole
    low, high = brain
    margin = 2 * _BRAIN_MARGIN_MM / spacing_mm
    sides = [max(side, n + margin) for side, n in zip(field, high - low, strict=True)]
    return centered_box(triple(volume.shape), whole.start + (low + high) / 2, _round_up(sides, multiple))


def _brain_extent(probabilities: ChannelVolume) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the lowest and highest voxel index (3,) of the brain, tails left out; None where all is background."""
    voxels = np.argwhere(largest_component(probabilities.argmax(axis=0) > 0))
    if len(voxels) == 0:
        return None
    low, high = np.percentile(voxels, _TAILS, axis=0)
    return low, high


def _around(box: CropBox, sides: Triple) -> CropBox:
    middle = (np.array(box.start) + np.array(box.stop) - 1) / 2
    return centered_box(box.full_shape, middle, sides)


def _round_up(sides: Iterable[float], multiple: int) -> Triple:
    return triple(ceil(side / multiple) * multiple for side in sides)


_FLAT_FRACTION = 0.5
"""Fraction of the faces with exactly the same value from which on that value is a mask, not measured air."""

_CT_AIR_HU = -500.0
_CT_AIR_FRACTION = 0.1


def prepare_intensities(data: Volume, ct_window: tuple[float, float] | None) -> Volume:
    """Clip a CT to its window and bring the air of any scan to zero.

    Args:
        data: (i, j, k), finite.
        ct_window: (low, high) in Hounsfield units; None for anything but CT.

    Returns:
        float32 (i, j, k), as a rule without negative values.

    Raises:
        ConstantImageError: a CT that is flat inside the window.
    """
    values = np.asarray(data, dtype=np.float32)
    if ct_window is not None:
        values = np.clip(values, *ct_window)
        if values.min() == values.max():
            raise ConstantImageError(
                f"Expected a CT with contrast from {ct_window[0]:g} to {ct_window[1]:g} Hounsfield units, "
                f"found values of {data.min():g} to {data.max():g}; leave the CT option off for other scans."
            )
    return zero_air(values)


def zero_air(values: Volume) -> Volume:
    """Shift intensities so that air is zero, as in the images that networks are trained on.

    Scans that were z-scored or masked have air at any value, even in the middle of the brain's range. A value
    that fills most of the volume's faces is such a mask: it becomes zero and everything else positive. Air
    that was measured is left alone, unless it is negative.
    """
    faces = _faces(values)
    border = np.median(faces)
    if np.mean(faces == border) >= _FLAT_FRACTION:
        lifted = values - values.min()
        lifted[values == border] = 0
        return lifted
    return np.maximum(values - border, 0) if border < 0 else values


def looks_like_ct(data: Volume) -> bool:
    """Return whether values are so far below zero that they must be Hounsfield units."""
    return bool(np.mean(data < _CT_AIR_HU) > _CT_AIR_FRACTION)


def _faces(values: Volume) -> np.ndarray:
    """Return the voxels of the six faces of a volume, flat."""
    sides = (np.moveaxis(values, axis, 0)[index] for axis in range(3) for index in (0, -1))
    return np.concatenate([side.ravel() for side in sides])  # `take` would copy a file's volume each time


BACKGROUND = 0

OnProgress = Callable[[str, float], None]
"""Called with what is being done and the fraction, 0 to 1, of the whole prediction that is over."""


@dataclass(frozen=True, eq=False)
class ShownScan:
    """A scan as the network is shown it.

    Attributes:
        canonical: the way between the scan's own grid and the canonical one.
        box: the part of the canonical grid that is shown.
        volume: (x, y, z), the intensities in the box, air near zero.
        engine: runs the network; its notes are about this scan.
        spec: the model's description.
    """

    canonical: CanonicalGrid
    box: CropBox
    volume: Volume
    engine: Engine
    spec: ModelSpec

    def item(self) -> np.ndarray:
        """Return the normalised input of the network, float32 (1, 1, x, y, z)."""
        return normalized_item(self.volume, self.spec)


def normalized_item(volume: Volume, spec: ModelSpec) -> np.ndarray:
    """Return the input of a model's network, float32 (1, 1, x, y, z), for intensities (x, y, z)."""
    return normalize_volume(volume, **spec.normalization)[np.newaxis, np.newaxis]


def shown_probabilities(
    volume: Volume,
    spec: ModelSpec,
    engine: Engine,
    multiple: int,
    options: PredictionOptions,
    report: OnProgress,
    views: Callable[[np.ndarray], Sequence[np.ndarray]] = lambda item: [item],
) -> tuple[CropBox, ChannelVolume]:
    """Return the probabilities (classes, x, y, z) in the part of a canonical volume that is the network's input.

    Args:
        volume: (x, y, z), canonical, at the model's voxel size, air near zero.
        spec: the model's description.
        engine: runs its network.
        multiple: what the network asks of the sides of a box.
        options: view and flips.
        report: told how far it is, from 0.1 to 0.9.
        views: of the normalised scan (1, 1, x, y, z); logits are averaged over them.
    """
    box = shown_box(volume, spec, engine, multiple, options)
    flips = trained_flips(spec) if options.tta else ()
    shown, on_pass = views(normalized_item(box.crop(volume), spec)), report_passes(report)

    def mean_output(view: int) -> np.ndarray:
        def told(done: int, total: int) -> None:
            on_pass(view * total + done, len(shown) * total)

        return engine.mean_output(shown[view], flips, told)

    total = mean_output(0)
    for view in range(1, len(shown)):
        total += mean_output(view)
    if len(shown) > 1:
        total /= len(shown)
    return box, softmax(total)


SMOOTHING_VOXELS: Final = 0.7
"""Standard deviation of the kernel that a view of the scan is smoothed with, in voxels of the network."""


def smoothed_views(item: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a normalised scan (1, 1, x, y, z), and the same with less noise."""
    sigma = (0.0, 0.0, *[SMOOTHING_VOXELS] * 3)
    smooth = ndimage.gaussian_filter(item, sigma, mode="nearest")
    smooth -= smooth.mean(dtype=np.float64)
    smooth /= smooth.std(dtype=np.float64, ddof=1) + SMALL_DEVIATION
    return item, smooth


def shown_box(
    volume: Volume, spec: ModelSpec, engine: Engine, multiple: int, options: PredictionOptions
) -> CropBox:
    """Return the part of a canonical volume that is the network's input; see `PredictionOptions.view`.

    Args as `shown_probabilities`.
    """

    def classify(box: CropBox) -> ChannelVolume:
        return engine.probabilities(normalized_item(box.crop(volume), spec))

    knows_brain = len(spec.class_names) > 2  # else a first pass would find the lesion, not the brain
    if options.view == "head" or not knows_brain:
        return head_view(volume, spec.spacing_mm, multiple)
    return brain_view(volume, spec.spacing_mm, multiple, spec.field_of_view_mm, classify)


def report_passes(report: OnProgress) -> OnPass:
    """Tell of passes of the network as the progress from 0.1 to 0.9."""
    return lambda done, total: report("predicting", 0.1 + 0.8 * done / total)


def trained_flips(spec: ModelSpec) -> tuple[int, ...]:
    """Return the axes (0 left-right, 1 back-front, 2 bottom-top) along which a model's training images were flipped.

    Flipping a scan along any other axis shows the network what it has never seen. All three where the recipe
    does not say.
    """
    deformation = spec.recipe.get("synthesis", {}).get("deformation", {})
    probabilities = deformation.get("flip_probability", (1, 1, 1))
    return tuple(axis for axis, probability in enumerate(probabilities) if probability > 0)


def on_source_grid(probabilities: ChannelVolume, box: CropBox, canonical: CanonicalGrid) -> Iterator[Volume]:
    """Yield each class's probability (i, j, k) on the scan's grid; outside the box it is certainly background."""
    for index, channel in enumerate(probabilities):
        check_interruption()
        yield canonical.inverse_of_box(*box.within(channel), fill=1.0 if index == BACKGROUND else 0.0)


def likeliest_on_source_grid(
    probabilities: ChannelVolume, box: CropBox, canonical: CanonicalGrid
) -> tuple[LabelVolume, list[float]]:
    """Return what the channels of `on_source_grid` decide, without computing all of them.

    A class is interpolated only where it may be the likeliest, about voxels where it has a share of one by the number
    of classes.

    Returns:
        The likeliest class of each voxel, (i, j, k), the first of equal ones; and each class's sum over all voxels.
    """
    share = (1 - 1e-3) / len(probabilities)
    best = canonical.inverse_of_box(*box.within(probabilities[BACKGROUND]), fill=1.0)
    labels = np.zeros(best.shape, np.min_scalar_type(len(probabilities)))
    sums = [float(best.sum(dtype=np.float64))]
    for index, channel in enumerate(probabilities[1:], start=1):
        check_interruption()
        inside, start = box.within(channel)
        sums.append(canonical.inverse_sum(inside, start))
        if not (likely := inside >= share).any():
            continue
        part = box_around(likely, margin_vox=1)
        first = tuple(int(n) for n in np.add(start, part.start))
        values, region = canonical.inverse_region(part.crop(inside), first, fill=0.0)
        better = values > best[region]
        best[region][better] = values[better]
        labels[region][better] = index
    return labels, sums


def brain_on_source_grid(probabilities: ChannelVolume, scan: ShownScan) -> Mask | None:
    """Return the brain (i, j, k) on the scan's grid; None from models without tissues, or where it is not found.

    Args:
        probabilities: (classes, x, y, z) in the shown box.
        scan: that box.
    """
    tissues = [index for index, name in enumerate(scan.spec.class_names) if name in PARENCHYMA_NAMES]
    if not tissues:
        return None
    parenchyma = np.sum([probabilities[index] for index in tissues], axis=0)
    region = brain_region(parenchyma, 1 - probabilities[BACKGROUND], scan.spec.spacing_mm)
    return None if region is None else scan.canonical.inverse_labels(scan.box.paste(region))


def silent(stage: str, fraction: float) -> None:
    """Report nothing."""
