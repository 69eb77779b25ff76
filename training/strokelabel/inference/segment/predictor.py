"""Predictor of the command line, the server and every evaluation."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from strokelabel.errors import WeightsError
from strokelabel.inference.engine import EngineNetwork
from strokelabel.inference.network_input import (
    OnProgress,
    ShownScan,
    brain_on_source_grid,
    on_source_grid,
    report_passes,
    shown_box,
    silent,
    trained_flips,
)
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.scan_model import ScanModel, image_notes
from strokelabel.inference.segment.prediction import Prediction, Scores, decide, gather_scores
from strokelabel.io import Image
from strokelabel.registry import DENOISING, PARCELLATION, PRETRAINING, QUALITY, SEGMENTATION, ModelSpec
from strokelabel.types import ChannelVolume

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["LESION", "OnProgress", "Predictor", "trained_flips"]

LESION = "lesion"

SETTINGS_KEY = "adaptation_options"
"""Key of a sidecar that holds how a model was adapted to the scan; missing where it was not."""


_COMMANDS = {
    PARCELLATION: "predict",
    DENOISING: "predict --adapt dae",
    QUALITY: "predict --qc",
    PRETRAINING: "train --encoder",
}
"""Commands that take models of other tasks."""


class Predictor(ScanModel):
    """Predicts lesion and tissues of a scan of any contrast, orientation and spacing, on the scan's own grid.

    Attributes:
        lesion: index of the lesion among the classes.

    Args:
        spec, network, device, options: see `ScanModel`; the network gives logits (1, classes, x, y, z).

    Raises:
        WeightsError: the model does not segment, or has no lesion class.
    """

    task = SEGMENTATION
    purpose = "segments lesions"

    def __init__(
        self,
        spec: ModelSpec,
        network: nn.Module | EngineNetwork,
        device: torch.device | str = "cpu",
        options: PredictionOptions | None = None,
    ) -> None:
        super().__init__(spec, network, device, options)
        if LESION not in spec.class_names:
            raise WeightsError(f"{spec.path}: expected a class named {LESION!r}, found {spec.class_names}")
        self.lesion = spec.class_names.index(LESION)

    @property
    def settings(self) -> dict[str, Any]:
        """Settings that decide a prediction besides the model and its options, as the sidecar holds it."""
        return {SETTINGS_KEY: None}

    def predict(
        self, image: Image, options: PredictionOptions | None = None, progress: OnProgress | None = None
    ) -> Prediction:
        """Predict one scan.

        Args:
            image: from `read_image`, or built from an array.
            options: instead of the predictor's own.
            progress: told how far it is.

        Raises:
            ImageError: the scan cannot be segmented; see `strokelabel.errors`.
        """
        began = time.perf_counter()
        options = options or self.options
        scores = self.scores(image, options, progress)
        prediction = decide(scores, image.grid.voxel_volume_ml, self.spec, options)
        return replace(prediction, seconds=time.perf_counter() - began)

    def scores(
        self, image: Image, options: PredictionOptions | None = None, progress: OnProgress | None = None
    ) -> Scores:
        """Return the scores of each voxel of a scan, from which `decide` makes a prediction.

        Args and errors as `predict`.
        """
        options, report = options or self.options, progress or silent
        scan = self.show(image, options, report)
        flips = trained_flips(self.spec) if options.tta else ()
        probabilities = scan.engine.probabilities(scan.item(), flips, report_passes(report))
        report("writing to the scan's grid", 0.9)
        scores = self.on_scan(probabilities, scan, image, options)
        report("done", 1.0)
        return scores

    def show(self, image: Image, options: PredictionOptions, report: OnProgress = silent) -> ShownScan:
        """Check a scan and bring it to what the network is shown.

        Raises:
            ImageError: the scan cannot be segmented; see `strokelabel.errors`.
        """
        report("preparing", 0.0)
        canonical, volume = self.canonical_volume(image, options.ct_window)
        engine = self.engine(options)
        box = shown_box(volume, self.spec, engine, self.multiple, options)
        return ShownScan(canonical, box, box.crop(volume), engine, self.spec)

    def on_scan(
        self, probabilities: ChannelVolume, scan: ShownScan, image: Image, options: PredictionOptions
    ) -> Scores:
        """Return the probabilities (classes, x, y, z) in the shown box as scores on the scan's own grid."""
        channels = on_source_grid(probabilities, scan.box, scan.canonical)
        keep = len(self.spec.class_names) if options.keep_probabilities else 0
        notes = (*image.notes, *image_notes(image, options), *scan.engine.notes)
        brain = brain_on_source_grid(probabilities, scan)
        return gather_scores(channels, image.grid.shape, self.lesion, keep, notes, brain)

    def _advice(self, spec: ModelSpec) -> str:
        return f"use `strokelabel {_COMMANDS.get(spec.task, 'estimate')}` with it"
