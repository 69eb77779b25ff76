"""Pairs of views of real scans, whose contrast is what it is: they differ in pose and artefacts alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from strokelabel.errors import DataError
from strokelabel.fit.data.real_images.scans import SHAPE, SPACING_MM, PreparedScan
from strokelabel.fit.pretraining.config import PretrainingConfig
from strokelabel.fit.pretraining.views import VIEWS, PairBatch
from strokelabel.networks.normalization import normalize
from strokelabel.synthesis import scanner
from strokelabel.synthesis.anatomy.deformation import head_coordinates, sample_deformation, sample_volume
from strokelabel.synthesis.config import SynthesisConfig
from strokelabel.synthesis.sampling import derived_sampler, on_device


class RealPairs:
    """Maker of pairs of prepared scans; no label of theirs is used.

    Args:
        scans: of a prepared folder.
        synthesis: shape and voxel size of the views, deformation that makes other heads, and artefacts.
        config: deformation of each view.
        device: where views are computed.

    Raises:
        DataError: there are no scans.
    """

    def __init__(
        self,
        scans: Sequence[PreparedScan],
        synthesis: SynthesisConfig,
        config: PretrainingConfig,
        device: torch.device | str = "cpu",
    ) -> None:
        if not scans:
            raise DataError(
                "pretraining.real_fraction: expected prepared scans, found none; run `strokelabel prepare` with --scans"
            )
        self.scans, self.synthesis, self.config = tuple(scans), synthesis, config
        self.device = torch.device(device)

    def generate(self, seed: int) -> PairBatch:
        """Draw a scan and compute its pair; the same seed gives the same pair."""
        own, synthesis = derived_sampler(seed, "real"), self.synthesis
        scan = self.scans[own.integer(0, len(self.scans) - 1)]
        field_of_view = synthesis.field_of_view_mm
        subject = sample_deformation(own, synthesis.deformation, field_of_view)
        views = [sample_deformation(own, self.config.deformation, field_of_view) for _ in range(VIEWS)]
        artefacts = [scanner.sample_artefacts(own, synthesis.artefacts) for _ in range(VIEWS)]
        middle = torch.zeros(VIEWS, 3, device=self.device)
        seen = head_coordinates(views, middle, synthesis.shape, synthesis.spacing_mm, [subject] * VIEWS)
        clean = self._interpolated(scan, seen)
        image = scanner.apply_bias(clean, artefacts, exponential=synthesis.artefacts.bias_exponential)
        image = scanner.acquire(scanner.apply_gamma(image, artefacts), artefacts, synthesis.spacing_mm)
        return PairBatch(normalize(image * (clean > 0)), normalize(clean))

    def _interpolated(self, scan: PreparedScan, positions: Tensor) -> Tensor:
        """Return the scan, from 0 to 1, at positions (views, x, y, z, 3) in mm from its middle."""
        volume = on_device(scan.image.float() / 255, self.device).expand(VIEWS, 1, *SHAPE)
        matrix = torch.eye(3, device=self.device).expand(VIEWS, 3, 3) / SPACING_MM
        offset = (torch.tensor(SHAPE, device=self.device) - 1) / 2
        return sample_volume(volume, positions, matrix, offset.expand(VIEWS, 3))
