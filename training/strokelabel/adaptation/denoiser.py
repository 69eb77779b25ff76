"""Denoising autoencoder, applied to the output of a model."""

from __future__ import annotations

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from strokelabel.adaptation.options import DENOISER
from strokelabel.errors import UnknownModelError, WeightsError
from strokelabel.networks.denoiser import padded_maps
from strokelabel.networks.weights import load_weights, multiple_of
from strokelabel.registry import DENOISING, ModelSpec
from strokelabel.types import PathLike

_SPACING_TOLERANCE = 0.05
"""Relative difference up to which whole voxels of a model make a voxel of the autoencoder."""


def voxels_of_model(spec: ModelSpec, model: ModelSpec) -> int:
    """Return how many voxels of a model make up one of a denoiser, along each axis.

    Args:
        spec: of the denoiser.
        model: whose output it is to correct.

    Raises:
        WeightsError: it is no denoiser, or one for other classes or voxel sizes.
    """
    if spec.task != DENOISING:
        raise WeightsError(
            f"expected a denoising autoencoder, this model is for {spec.task}; choose another one with --denoiser",
            source=spec.path,
        )
    if spec.class_names != model.class_names:
        raise WeightsError(
            f"expected a denoiser of the model's classes ({', '.join(model.class_names)}), this one is of "
            f"{', '.join(spec.class_names)}; train one of the model's classes, or adapt with tent",
            source=spec.path,
        )
    factor = max(1, round(spec.spacing_mm / model.spacing_mm))
    if abs(factor * model.spacing_mm - spec.spacing_mm) > _SPACING_TOLERANCE * spec.spacing_mm:
        raise WeightsError(
            "expected a denoiser whose voxels are made of whole voxels of the model "
            f"({model.spacing_mm:g} mm), its own are {spec.spacing_mm:g} mm; train one at another voxel size, "
            "or adapt with tent",
            source=spec.path,
        )
    return factor


class LabelDenoiser:
    """A denoising autoencoder for the output of one model.

    Attributes:
        spec: its description.
        factor: voxels of the model, along each axis, in one of its own.

    Args:
        network: the autoencoder, in evaluation mode.
        spec: its description.
        model: whose output it is to correct.

    Raises:
        WeightsError: it is no denoiser, or one for other classes or voxel sizes.
    """

    def __init__(self, network: nn.Module, spec: ModelSpec, model: ModelSpec) -> None:
        self.factor = voxels_of_model(spec, model)
        self.spec = spec
        self._network = network
        self._multiple = multiple_of(spec)

    @classmethod
    def load(cls, denoiser: PathLike, model: ModelSpec, device: torch.device) -> Self:
        """Load a denoiser by name or path.

        Raises:
            UnknownModelError, WeightsError: there is none, or it does not suit the model.
        """
        try:
            network, spec = load_weights(denoiser, device=str(device))
        except UnknownModelError as error:
            raise UnknownModelError(
                f"The adaptation 'dae' needs a denoising autoencoder. {error.message}; `strokelabel train {DENOISER}` "
                "and `strokelabel export` make one; or adapt with tent"
            ) from error
        return cls(network, spec, model)

    def coarse(self, probabilities: Tensor) -> Tensor:
        """Return the output at the voxel size of the autoencoder: means over whole voxels.

        Args:
            probabilities: (1, classes, x, y, z) of the model; where a side is no multiple, background is added.

        Returns:
            (1, classes, x', y', z'), differentiable.
        """
        if self.factor == 1:
            return probabilities
        return F.avg_pool3d(padded_maps(probabilities, self.factor), self.factor)

    @torch.no_grad()
    def corrected(self, coarse: Tensor) -> Tensor:
        """Return the probabilities that the autoencoder makes of an output, on the same grid.

        Args:
            coarse: (1, classes, x, y, z) at its own voxel size, on its device.
        """
        logits = self._network(padded_maps(coarse, self._multiple)).float()
        x, y, z = coarse.shape[2:]
        return torch.softmax(logits, dim=1)[..., :x, :y, :z]
