"""Agreement with a denoising autoencoder as what an adaptation raises (Karani et al. 2021, section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor

from strokelabel.adaptation.denoiser import LabelDenoiser
from strokelabel.adaptation.objective import Corner, window

_SMOOTHING = 10.0
"""Voxels of the autoencoder, 0.27 ml at 3 mm, added to both sides of the Dice.

A class with less than that in both, such as the lesion of a healthy brain, is no reason to adapt.
"""


def disagreement(found: Tensor, wanted: Tensor) -> Tensor:
    """Return one minus the mean soft Dice of the foreground classes, plus the squared distance of the probabilities.

    Args:
        found: (1, classes, x, y, z).
        wanted: the same shape.

    Returns:
        Scalar, zero for equal maps, however soft: the Dice has squares below its fraction bar (Milletari et al. 2016).
        The squared distance is summed over classes and averaged over voxels.
    """
    overlap = (found * wanted).sum(dim=(0, 2, 3, 4))[1:]
    size = (found.square() + wanted.square()).sum(dim=(0, 2, 3, 4))[1:]
    dice = (2 * overlap + _SMOOTHING) / (size + _SMOOTHING)
    return 1 - dice.mean() + (found - wanted).square().sum(dim=1).mean()


class AgreementObjective:
    """Disagreement between the output and what the autoencoder made of it some iterations ago.

    Args:
        denoiser: for the model's output.
        device: where output and target are compared.
    """

    name = "disagreement with the denoiser"
    needs_output = True

    def __init__(self, denoiser: LabelDenoiser, device: torch.device) -> None:
        self.alignment = denoiser.factor
        self._denoiser, self._device = denoiser, device
        self._target: Tensor | None = None

    def renew(self, probabilities: Tensor) -> None:
        """Make the target from the present output (classes, x, y, z) of the whole box."""
        self._target = self._denoiser.corrected(self._coarse(probabilities)).clone()

    def loss(self, probabilities: Tensor, corner: Corner) -> Tensor:
        """Return the disagreement in a window."""
        if self._target is None:
            raise ValueError("expected a call of `renew` first")
        factor = self._denoiser.factor
        # The end of a window may hold a part of a coarse voxel, which is left out.
        i, j, k = (side // factor * factor for side in probabilities.shape[2:])
        found = self._denoiser.coarse(probabilities[..., :i, :j, :k])
        x, y, z = (first // factor for first in corner)
        part = window((x, y, z), found.shape[2:])
        return disagreement(found, self._target[(..., *part)])

    def value(self, probabilities: Tensor) -> float:
        """Return the disagreement of the whole box with what the autoencoder makes of it."""
        coarse = self._coarse(probabilities)
        return float(disagreement(coarse, self._denoiser.corrected(coarse)))

    def _coarse(self, probabilities: Tensor) -> Tensor:
        # A copy: results of inference mode cannot be part of a loss.
        return self._denoiser.coarse(probabilities.clone()[None].to(self._device))
