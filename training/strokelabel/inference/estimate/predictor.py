"""Quantitative maps of a scan, on the scan's own grid (Chalcroft et al. 2025, qATLAS, section 2.1)."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import torch

from strokelabel.inference.field_of_view import head_view
from strokelabel.inference.network_input import OnProgress, trained_flips
from strokelabel.inference.scan_model import ScanModel
from strokelabel.io import Image
from strokelabel.networks.normalization import normalize
from strokelabel.registry import ESTIMATION, ModelSpec
from strokelabel.types import ChannelVolume


@dataclass(frozen=True, eq=False)
class Estimate:
    """Maps of one scan.

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


class QuantitativeEstimator(ScanModel):
    """Estimator of quantitative maps of T1-weighted (MPRAGE) scans of any orientation and spacing.

    Args:
        spec, network, device: see `ScanModel`; the network maps normalised scans to maps (1, 4, x, y, z).
        options: memory; nothing else is used.

    Raises:
        WeightsError: the model is not an estimator.
    """

    task = ESTIMATION
    purpose = "estimates quantitative maps"

    def passes(self, flips: bool) -> int:
        """Return the number of passes that `estimate` averages."""
        return 2 ** len(trained_flips(self.spec)) if flips else 1

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
        canonical, volume = self.canonical_volume(image)
        # Instance normalisation needs more than one voxel at the coarsest level, however small the head.
        box = head_view(volume, self.spec.spacing_mm, 2 * self.multiple)
        item = normalize(torch.from_numpy(box.crop(volume))[None, None], **self.spec.normalization)
        engine = self.engine(replace(self.options, max_voxels=max_voxels or self.options.max_voxels))
        axes = trained_flips(self.spec) if flips else ()

        def on_pass(done: int, total: int) -> None:
            if progress is not None:
                progress("estimating", 0.9 * done / total)

        maps = engine.mean_output(item, axes, on_pass).numpy()
        return Estimate(
            maps=np.stack([canonical.inverse(box.paste(one)[np.newaxis])[0] for one in maps]),
            spec=self.spec,
            passes=self.passes(flips),
            seconds=time.perf_counter() - began,
            notes=image.notes,
        )

    def _advice(self, spec: ModelSpec) -> str:
        return "train one with `strokelabel train qatlas-estimator`"
