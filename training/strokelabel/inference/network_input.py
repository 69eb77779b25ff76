"""Class probabilities in the part of a scan that a network is shown, and their way back onto the scan's grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from strokelabel.geometry import CanonicalGrid, CropBox
from strokelabel.inference.engine import Engine, OnPass
from strokelabel.inference.field_of_view import brain_view, head_view
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.postprocessing.brain_region import brain_region
from strokelabel.labels import PARENCHYMA_NAMES
from strokelabel.networks.normalization import normalize
from strokelabel.registry import ModelSpec
from strokelabel.types import ChannelVolume, Mask, Volume

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

    def item(self) -> Tensor:
        """Return the normalised input (1, 1, x, y, z) of the network."""
        return normalize(torch.from_numpy(self.volume)[None, None], **self.spec.normalization)


def shown_probabilities(
    volume: Volume,
    spec: ModelSpec,
    engine: Engine,
    multiple: int,
    options: PredictionOptions,
    report: OnProgress,
) -> tuple[CropBox, ChannelVolume]:
    """Return the probabilities (classes, x, y, z) in the part of a canonical volume that is the network's input.

    Args:
        volume: (x, y, z), canonical, at the model's voxel size, air near zero.
        spec: the model's description.
        engine: runs its network.
        multiple: what the network asks of the sides of a box.
        options: view and flips.
        report: told how far it is, from 0.1 to 0.9.
    """
    box = shown_box(volume, spec, engine, multiple, options)
    item = normalize(torch.from_numpy(box.crop(volume))[None, None], **spec.normalization)
    flips = trained_flips(spec) if options.tta else ()
    return box, engine.probabilities(item, flips, report_passes(report)).numpy()


def shown_box(
    volume: Volume, spec: ModelSpec, engine: Engine, multiple: int, options: PredictionOptions
) -> CropBox:
    """Return the part of a canonical volume that is the network's input; see `PredictionOptions.view`.

    Args as `shown_probabilities`.
    """

    def classify(box: CropBox) -> ChannelVolume:
        item = torch.from_numpy(box.crop(volume))[None, None]
        return engine.probabilities(normalize(item, **spec.normalization)).numpy()

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
        yield canonical.inverse_of_box(*box.within(channel), fill=1.0 if index == BACKGROUND else 0.0)


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
