"""Correction of the tissue groups of robust parcellations; on torch, as the denoiser has no ONNX form.

SynthSeg's robust mode (Billot et al. 2023, "Robust machine learning segmentation for large-scale analysis of
heterogeneous clinical brain MRI datasets") has three networks: one finds four tissue groups, a denoiser that has learnt
which shapes heads have corrects them, and a third finds the structures in image and groups. Here the first is the
parcellation itself, averaged over views of the scan (mirrored from left to right, and smoothed), its structures summed
to groups. A denoiser corrects them where one is installed. In place of the third network, structures keep their shares
of their group: p(structure) = p(structure | group) by the parcellation × p(group) by the denoiser.
"""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from strokelabel.errors import LabelMapError, WeightsError
from strokelabel.networks.denoiser import group_maps, padded_maps
from strokelabel.networks.weights import load_weights, multiple_of
from strokelabel.registry import DENOISING, ROBUST_MODEL, ModelSpec
from strokelabel.structures import TISSUE_CLASSES, TISSUE_GROUPS, group_classes, structures_of
from strokelabel.types import ChannelVolume, PathLike

_SPACING_TOLERANCE = 0.05
"""Relative difference up to which whole voxels of the parcellation make a voxel of the denoiser."""

_LEAST = 1e-12
"""Added to probabilities, so that a group that the parcellation did not see at all has shares, too: equal ones."""


class GroupDenoiser:
    """Correction of the tissue groups of one model's parcellations.

    Attributes:
        spec: description of the denoiser.

    Args:
        network: maps (1, groups, x, y, z) to logits of the same shape; in evaluation mode, on `device`.
        spec: its description.
        model: whose parcellations it corrects.
        device: where to compute.

    Raises:
        WeightsError: it is no denoiser of these groups, or the model's voxels or structures do not suit it.
    """

    def __init__(self, network: nn.Module, spec: ModelSpec, model: ModelSpec, device: torch.device) -> None:
        if (spec.task, spec.class_names) != (DENOISING, TISSUE_CLASSES):
            raise WeightsError(
                f"expected a denoiser of the groups {', '.join(TISSUE_CLASSES)}, this model is for {spec.task}, of "
                f"{', '.join(spec.class_names)}; train one with `strokelabel train {ROBUST_MODEL}`",
                source=spec.path,
            )
        self.spec = spec
        self._network, self._device, self._multiple = network, device, multiple_of(spec)
        self._factor = _whole_voxels(spec, model)
        self._groups = torch.tensor(_groups_of(model))

    @classmethod
    def load(cls, model: ModelSpec, device: torch.device, name: PathLike = ROBUST_MODEL) -> Self:
        """Load the denoiser for a model's parcellations.

        Args:
            model: the parcellation.
            device: where to put it.
            name: of a registered model, or a path.

        Raises:
            UnknownModelError, WeightsError: there is none of that name, or it does not suit the model.
        """
        network, spec = load_weights(name, device=str(device))
        return cls(network, spec, model, device)

    @torch.inference_mode()
    def correct(self, probabilities: ChannelVolume, image: np.ndarray) -> ChannelVolume:
        """Return the probabilities of structures with the corrected groups.

        Args:
            probabilities: (structures, x, y, z).
            image: (1, 1, x, y, z), the scan as the model was shown it.
        """
        found = torch.from_numpy(np.ascontiguousarray(probabilities)) + _LEAST
        own = group_maps(found, self._groups, len(TISSUE_CLASSES))
        coarse = F.avg_pool3d(padded_maps(own[None], self._factor), self._factor)
        shown = F.avg_pool3d(_padded(torch.from_numpy(image), self._factor), self._factor)
        change = self._corrected(coarse, shown) / coarse
        if self._factor > 1:
            change = F.interpolate(change, scale_factor=self._factor, mode="trilinear")
        x, y, z = own.shape[1:]
        fused = found * change[0, :, :x, :y, :z][self._groups]
        return (fused / fused.sum(dim=0)).numpy()

    def _corrected(self, coarse: Tensor, image: Tensor) -> Tensor:
        """Return the groups (1, groups, x, y, z) that the network makes of these and the scan (1, 1, x, y, z)."""
        given = torch.cat([padded_maps(coarse, self._multiple), _padded(image, self._multiple)], dim=1)
        logits = self._network(given.to(self._device)).float().cpu()
        x, y, z = coarse.shape[2:]
        return torch.softmax(logits, dim=1)[..., :x, :y, :z]


def _padded(image: Tensor, multiple: int) -> Tensor:
    """Return an image (1, 1, x, y, z) whose last voxels are repeated, up to multiples of a number."""
    x, y, z = (-side % multiple for side in image.shape[2:])
    return F.pad(image, (0, z, 0, y, 0, x), mode="replicate") if x or y or z else image


def _whole_voxels(spec: ModelSpec, model: ModelSpec) -> int:
    """Return how many voxels of a model make up one of a denoiser, along each axis."""
    factor = max(1, round(spec.spacing_mm / model.spacing_mm))
    if abs(factor * model.spacing_mm - spec.spacing_mm) > _SPACING_TOLERANCE * spec.spacing_mm:
        raise WeightsError(
            f"expected a denoiser whose voxels are made of whole voxels of the model ({model.spacing_mm:g} mm), its "
            f"own are {spec.spacing_mm:g} mm; train one at another voxel size, or leave --robust out",
            source=spec.path,
        )
    return factor


def _groups_of(model: ModelSpec) -> tuple[int, ...]:
    """Return the group of each structure of a model."""
    try:
        return group_classes(
            structures_of(model.class_ids, model.recipe.get("structure_table")), TISSUE_GROUPS
        )
    except LabelMapError as error:
        raise WeightsError(f"{error}; leave --robust out", source=model.path) from error
