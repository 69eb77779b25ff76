"""The predictor: one object behind the command line, the server and every evaluation."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from strokelabel.errors import WeightsError
from strokelabel.geometry import CanonicalGrid
from strokelabel.inference.device import resolve_device, voxels_that_fit
from strokelabel.inference.engine import Engine
from strokelabel.inference.intensity import looks_like_ct, prepare_intensities
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.postprocess import lesion_mask
from strokelabel.inference.prediction import Prediction
from strokelabel.inference.shown import (
    OnProgress,
    on_source_grid,
    shown_probabilities,
    silent,
    trained_flips,
)
from strokelabel.io import Image, check_volume
from strokelabel.networks.unet import UNetConfig
from strokelabel.networks.weights import load_weights
from strokelabel.registry import PARCELLATION, SEGMENTATION, ModelSpec
from strokelabel.types import PathLike, Volume

__all__ = ["LESION", "OnProgress", "Predictor", "trained_flips"]

LESION = "lesion"
_LITTLE_BRAIN_ML = 100.0


class Predictor:
    """Predicts lesion and tissues of a scan of any contrast, orientation and spacing, on the scan's own grid.

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
        self._multiple = UNetConfig(**spec.network).multiple
        if LESION not in spec.class_names:
            raise WeightsError(f"{spec.path}: expected a class named {LESION!r}, found {spec.class_names}")
        self._lesion = spec.class_names.index(LESION)

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
        report = progress or silent
        check_volume(image.data, image.affine, image.source)
        canonical = CanonicalGrid.for_image(image.grid.shape, image.affine, self.spec.spacing_mm)
        report("preparing", 0.0)
        volume = canonical.forward(prepare_intensities(image.data, options.ct_window))
        max_voxels = options.max_voxels or voxels_that_fit(self.device)
        engine = Engine(self.network, self.device, self._multiple, max_voxels, options.overlap)
        box, probabilities = shown_probabilities(volume, self.spec, engine, self._multiple, options, report)
        report("writing to the scan's grid", 0.9)
        channels = on_source_grid(probabilities, box, canonical)
        prediction = self._decide(channels, image, options)
        report("done", 1.0)
        return replace(prediction, seconds=time.perf_counter() - began)

    def _decide(self, channels: Iterator[Volume], image: Image, options: PredictionOptions) -> Prediction:
        """Mask and labels from channels that come one at a time, so that they need not all be in memory."""
        shape, voxel_ml = image.grid.shape, image.grid.voxel_volume_ml
        kept = (
            np.empty((len(self.spec.class_names), *shape), np.float32) if options.keep_probabilities else None
        )
        best, lesion = np.full(shape, -1.0, np.float32), np.zeros(shape, np.float32)
        labels = np.zeros(shape, np.uint8)
        for index, channel in enumerate(channels):
            if kept is not None:
                kept[index] = channel
            if index == self._lesion:
                lesion = channel
                continue
            better = channel > best
            best[better] = channel[better]
            labels[better] = index
        mask = lesion_mask(lesion, best, voxel_ml, options)
        labels[mask] = self._lesion
        notes = image.notes + self._notes(image, options, float(np.count_nonzero(labels)) * voxel_ml)
        return Prediction(
            mask.astype(np.uint8),
            lesion,
            labels,
            kept,
            voxel_ml,
            self.spec,
            options,
            seconds=0.0,
            notes=notes,
        )

    def _notes(self, image: Image, options: PredictionOptions, brain_ml: float) -> tuple[str, ...]:
        notes = []
        if options.ct_window is None and looks_like_ct(image.data):
            notes.append("the values look like Hounsfield units: use the CT option for a CT")
        if len(self.spec.class_names) > 2 and brain_ml < _LITTLE_BRAIN_ML:
            notes.append(
                f"only {brain_ml:.1f} ml of brain were recognised: check the orientation and the picture"
            )
        return tuple(notes)
