"""Quantitative maps of a scan, on the scan's own grid (Chalcroft et al. 2025, qATLAS, section 2.1)."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from strokelabel.errors import WeightsError
from strokelabel.geometry import CanonicalGrid
from strokelabel.inference.device import resolve_device, voxels_that_fit
from strokelabel.inference.engine import Engine
from strokelabel.inference.field_of_view import head_view
from strokelabel.inference.intensity import prepare_intensities
from strokelabel.inference.network_input import OnProgress, trained_flips
from strokelabel.io import Image, check_volume
from strokelabel.networks.estimator import EstimatorConfig
from strokelabel.networks.normalization import normalize
from strokelabel.networks.weights import load_weights
from strokelabel.registry import ESTIMATION, ModelSpec
from strokelabel.types import ChannelVolume, PathLike


@dataclass(frozen=True, eq=False)
class Estimate:
    """The maps of one scan.

    Attributes:
        maps: (4, i, j, k) float32 on the scan's grid, in the order of `networks.estimator.ESTIMATED_MAPS`: PD (p.u.),
            R1 (1/s), R2* (1/s), MT (p.u.); zero where the network was not shown the scan.
        spec: the model.
        passes: over how many flips the maps were averaged.
        seconds: time that it took.
        notes: what a user should know about the scan.
    """

    maps: ChannelVolume
    spec: ModelSpec
    passes: int
    seconds: float
    notes: tuple[str, ...] = ()


class QuantitativeEstimator:
    """Estimates quantitative maps of T1-weighted (MPRAGE) scans of any orientation and spacing.

    Args:
        spec: the model's description.
        network: maps normalised scans (1, 1, x, y, z) to maps (1, 4, x, y, z); on `device`, in evaluation mode.
        device: where to compute.

    Raises:
        WeightsError: the model is not an estimator.
    """

    def __init__(self, spec: ModelSpec, network: nn.Module, device: torch.device) -> None:
        if spec.task != ESTIMATION:
            raise WeightsError(
                f"{spec.path}: expected a model that estimates quantitative maps, this one is for {spec.task}; "
                "train one with `strokelabel train qatlas-estimator`"
            )
        self.spec = spec
        self.network = network
        self.device = device
        self._multiple = EstimatorConfig(**spec.network).multiple

    @classmethod
    def from_model(cls, model: PathLike, device: str = "auto") -> QuantitativeEstimator:
        """Load a registered model by name, or a weights file by path.

        Raises:
            UnknownModelError, WeightsError: no such model, a damaged file, or not an estimator.
            OptionError: no such device.
        """
        place = resolve_device(device)
        network, spec = load_weights(model, device=str(place))
        return cls(spec, network, place)

    def estimate(
        self,
        image: Image,
        *,
        flips: bool = True,
        max_voxels: int | None = None,
        progress: OnProgress | None = None,
    ) -> Estimate:
        """Estimate the maps of one scan.

        Args:
            image: from `read_image`, or built from an array.
            flips: average over all flips that the network was trained with, eight as a rule. The average is over the
                maps themselves and divided by their true number (the public code averages logarithms of eight maps and
                divides by seven, which inflates them).
            max_voxels: largest box, in canonical voxels, to do in one pass; None for what memory allows.
            progress: told how far it is.

        Raises:
            ImageError: the scan cannot be used; see `strokelabel.errors`.
        """
        began = time.perf_counter()
        check_volume(image.data, image.affine, image.source)
        canonical = CanonicalGrid.for_image(image.grid.shape, image.affine, self.spec.spacing_mm)
        volume = canonical.forward(prepare_intensities(image.data, ct_window=None))
        # Instance normalisation needs more than one voxel at the coarsest level, however small the head.
        box = head_view(volume, self.spec.spacing_mm, 2 * self._multiple)
        item = normalize(torch.from_numpy(box.crop(volume))[None, None], **self.spec.normalization)
        engine = Engine(self.network, self.device, self._multiple, max_voxels or voxels_that_fit(self.device))
        axes = trained_flips(self.spec) if flips else ()

        def on_pass(done: int, total: int) -> None:
            if progress is not None:
                progress("estimating", 0.9 * done / total)

        maps = engine.mean_output(item, axes, on_pass).numpy()
        return Estimate(
            maps=np.stack([canonical.inverse(box.paste(one)[np.newaxis])[0] for one in maps]),
            spec=self.spec,
            passes=2 ** len(axes),
            seconds=time.perf_counter() - began,
            notes=image.notes,
        )
