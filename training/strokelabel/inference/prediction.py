"""What a prediction holds, on the grid of the scan it was made from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from strokelabel.inference.options import PredictionOptions
from strokelabel.metrics import lesion_volumes_ml, volume_ml
from strokelabel.registry import ModelSpec
from strokelabel.types import ChannelVolume, LabelVolume, Volume


@dataclass(frozen=True, eq=False)
class Prediction:
    """Lesion and tissues of one scan.

    Attributes:
        lesion_mask: (i, j, k) uint8, 1 inside the lesion.
        lesion_probability: (i, j, k) float32, zero where a lesion outside the brain was dropped.
        labels: (i, j, k) uint8, the likeliest class of each voxel; 5 exactly where the mask is 1.
        probabilities: (classes, i, j, k) float32, summing to one, as the network gave them; None unless options keep
            them.
        voxel_volume_ml: volume of a voxel of that grid.
        spec: the model.
        options: how it was asked.
        seconds: time that prediction took.
        notes: what a user should know about the scan or the result.
        outside_brain_ml: volume of the lesions that were dropped because they lie outside the brain.
    """

    lesion_mask: LabelVolume
    lesion_probability: Volume
    labels: LabelVolume
    probabilities: ChannelVolume | None
    voxel_volume_ml: float
    spec: ModelSpec
    options: PredictionOptions
    seconds: float
    notes: tuple[str, ...] = ()
    outside_brain_ml: float = 0.0

    @property
    def volume_ml(self) -> float:
        """Volume of the lesion mask in ml."""
        return volume_ml(self.lesion_mask, self.voxel_volume_ml)

    @property
    def lesion_count(self) -> int:
        """Number of 26-connected lesions."""
        return len(self.lesion_volumes_ml)

    @property
    def lesion_volumes_ml(self) -> np.ndarray:
        """Volume of each 26-connected lesion in ml."""
        return lesion_volumes_ml(self.lesion_mask, self.voxel_volume_ml)
