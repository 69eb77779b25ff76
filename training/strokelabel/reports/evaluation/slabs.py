"""2-D slices as input of 3-D networks: a slice is repeated along its normal, and scored as a slice."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np

from strokelabel.geometry import CanonicalGrid, CropBox
from strokelabel.inference.head import centered_box, triple
from strokelabel.inference.network_input import (
    OnProgress,
    ShownScan,
    on_source_grid,
    prepare_intensities,
    report_passes,
    silent,
    trained_flips,
)
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.segment.prediction import Scores, gather_scores
from strokelabel.io import Image
from strokelabel.registry import ModelSpec

if TYPE_CHECKING:
    from strokelabel.inference.segment.predictor import Predictor


SLAB_MM = 48.0
"""Thickness of the slabs that are evaluated: as thick as those that networks are trained with."""


def slab_axis(data: np.ndarray) -> int | None:
    """Return the axis along which all slices of a volume are the same; None where there is none, as in every scan.

    Args:
        data: (i, j, k).
    """
    for axis in range(3):
        slices = np.moveaxis(data, axis, 0)
        if np.array_equal(slices[0], slices[-1]) and bool((slices == slices[0]).all()):
            return axis
    return None


def slab_scores(
    predictor: Predictor,
    image: Image,
    axis: int,
    options: PredictionOptions,
    report: OnProgress = silent,
) -> Scores:
    """Return the scores of a slab straight from the network: those of its middle slice, for all slices.

    The network is shown the slab resampled to its voxel size and normalised, and nothing else: no search for the
    head, no air above or below it, and within the slices as much air as its field of view asks for. So what the slab's
    ends do to the network's answer, and what a predictor does to whole heads, is left out. So is its rule about what
    lies outside the brain, which a slab does not have.

    Args:
        predictor: of the model.
        image: a scan whose slices are all the same along `axis`.
        axis: 0, 1 or 2, of the scan's own axes.
        options: flips, CT window and memory are used.
        report: told how far it is.
    """
    spec = predictor.spec
    canonical = CanonicalGrid.for_image(image.grid.shape, image.affine, spec.spacing_mm)
    volume = canonical.forward(prepare_intensities(image.data, options.ct_window))
    normal = int(nib.orientations.io_orientation(image.affine)[axis, 0])
    sides = _sides(volume.shape, normal, spec, predictor.multiple)
    middle = np.take(volume, [volume.shape[normal] // 2], axis=normal)
    slab = np.repeat(middle, sides[normal], axis=normal)
    engine = predictor.engine(options)
    box = centered_box(triple(slab.shape), (np.array(slab.shape) - 1) / 2, sides)
    shown = ShownScan(canonical, box, box.crop(slab), engine, spec)
    flips = trained_flips(spec) if options.tta else ()
    probabilities = engine.probabilities(shown.item(), flips, report_passes(report))
    everywhere = _everywhere(box, normal, volume.shape[normal])
    found = np.take(probabilities, [sides[normal] // 2], axis=normal + 1)
    found = np.repeat(found, volume.shape[normal], axis=normal + 1)
    channels = on_source_grid(found, everywhere, canonical)
    keep = len(spec.class_names) if options.keep_probabilities else 0
    return gather_scores(channels, image.grid.shape, predictor.lesion, keep, (*image.notes, *engine.notes))


def _sides(shape: tuple[int, ...], normal: int, spec: ModelSpec, multiple: int) -> tuple[int, int, int]:
    """Return the sides of the network's input: the slab along its normal, its field of view or more along
    the others.
    """
    field = [side / spec.spacing_mm for side in spec.field_of_view_mm]
    least = [size if axis == normal else max(size, field[axis]) for axis, size in enumerate(shape)]
    return triple(ceil(side / multiple - 1e-6) * multiple for side in least)


def _everywhere(box: CropBox, normal: int, depth: int) -> CropBox:
    """Return a box that contains all of the scan's own voxels along the normal."""
    full, start, stop = list(box.full_shape), list(box.start), list(box.stop)
    full[normal], start[normal], stop[normal] = depth, 0, depth
    return CropBox(triple(full), triple(start), triple(stop))
