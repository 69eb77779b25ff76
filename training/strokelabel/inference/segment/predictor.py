"""The predictor: one object behind the command line, the server and every evaluation."""

from __future__ import annotations

import time
from dataclasses import replace

import torch
from torch import nn

from strokelabel.errors import WeightsError
from strokelabel.geometry import CanonicalGrid
from strokelabel.inference.device import resolve_device, voxels_that_fit
from strokelabel.inference.engine import Engine
from strokelabel.inference.intensity import looks_like_ct, prepare_intensities
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
from strokelabel.inference.segment.options import PredictionOptions
from strokelabel.inference.segment.scores import Prediction, Scores, decide, gather_scores
from strokelabel.io import Image, check_volume
from strokelabel.networks.unet import UNetConfig
from strokelabel.networks.weights import load_weights
from strokelabel.registry import PARCELLATION, SEGMENTATION, ModelSpec
from strokelabel.types import ChannelVolume, PathLike

__all__ = ["LESION", "OnProgress", "Predictor", "trained_flips"]

LESION = "lesion"


class Predictor:
    """Predicts lesion and tissues of a scan of any contrast, orientation and spacing, on the scan's own grid.

    Attributes:
        multiple: what the network asks of the sides of a box.
        lesion: index of the lesion among the classes.

    Args:
        spec: the model's description; its spacing and field of view decide what the network is shown.
        network: maps (1, 1, x, y, z) to logits (1, classes, x, y, z); on `device`, in evaluation mode.
        device: where to compute.
        options: used where `predict` is not given others.

    Raises:
        WeightsError: the model does not segment, or has no lesion class.
    """

    def __init__(
        self,
        spec: ModelSpec,
        network: nn.Module,
        device: torch.device,
        options: PredictionOptions | None = None,
    ) -> None:
        self.spec = spec
        self.network = network
        self.device = device
        self.options = options or PredictionOptions()
        if spec.task != SEGMENTATION:
            command = "predict" if spec.task == PARCELLATION else "estimate"
            raise WeightsError(
                f"{spec.path}: expected a model that segments lesions, this one is for {spec.task}; "
                f"use `strokelabel {command}` with it"
            )
        self.multiple = UNetConfig(**spec.network).multiple
        if LESION not in spec.class_names:
            raise WeightsError(f"{spec.path}: expected a class named {LESION!r}, found {spec.class_names}")
        self.lesion = spec.class_names.index(LESION)

    @classmethod
    def from_model(
        cls, model: PathLike = "base", device: str = "auto", options: PredictionOptions | None = None
    ) -> Predictor:
        """Load a registered model by name, or a weights file by path.

        Args:
            model: name or path of a safetensors file.
            device: "auto", "cpu", "cuda" or "cuda:1".
            options: see `PredictionOptions`.

        Raises:
            UnknownModelError, WeightsError: no such model, or a corrupt file.
            OptionError: no such device.
        """
        place = resolve_device(device)
        network, spec = load_weights(model, device=str(place))
        return cls(spec, network, place, options)

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
        """What the network says about each voxel of a scan, from which `decide` makes a prediction.

        Args and errors as `predict`.
        """
        options, report = options or self.options, progress or silent
        scan = self.show(image, options, report)
        flips = trained_flips(self.spec) if options.tta else ()
        probabilities = scan.engine.probabilities(scan.item(), flips, report_passes(report))
        report("writing to the scan's grid", 0.9)
        scores = self.on_scan(probabilities.numpy(), scan, image, options)
        report("done", 1.0)
        return scores

    def show(self, image: Image, options: PredictionOptions, report: OnProgress = silent) -> ShownScan:
        """Check a scan and bring it to what the network is shown.

        Raises:
            ImageError: the scan cannot be segmented; see `strokelabel.errors`.
        """
        check_volume(image.data, image.affine, image.source)
        canonical = CanonicalGrid.for_image(image.grid.shape, image.affine, self.spec.spacing_mm)
        report("preparing", 0.0)
        volume = canonical.forward(prepare_intensities(image.data, options.ct_window))
        max_voxels = options.max_voxels or voxels_that_fit(self.device)
        engine = Engine(self.network, self.device, self.multiple, max_voxels, options.overlap)
        box = shown_box(volume, self.spec, engine, self.multiple, options)
        return ShownScan(canonical, box, box.crop(volume), engine, self.spec)

    def on_scan(
        self, probabilities: ChannelVolume, scan: ShownScan, image: Image, options: PredictionOptions
    ) -> Scores:
        """Probabilities (classes, x, y, z) in the shown box as scores on the scan's own grid."""
        channels = on_source_grid(probabilities, scan.box, scan.canonical)
        keep = len(self.spec.class_names) if options.keep_probabilities else 0
        notes = (*image.notes, *_ct_notes(image, options), *scan.engine.notes)
        brain = brain_on_source_grid(probabilities, scan)
        return gather_scores(channels, image.grid.shape, self.lesion, keep, notes, brain)


def _ct_notes(image: Image, options: PredictionOptions) -> tuple[str, ...]:
    if options.ct_window is None and looks_like_ct(image.data):
        return ("the values look like Hounsfield units: use the CT option for a CT",)
    return ()
