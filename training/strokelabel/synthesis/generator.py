"""The SynthStroke generator: from label maps and lesion masks to images of any contrast and their labels.

Chalcroft et al. 2025, section 3.1, with the corrections that the project's specification takes. `sample` draws the
parameters of an image from a seed; `apply` computes images from parameters, in batches, on CPU or GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from strokelabel.errors import DataError
from strokelabel.labels import LabelTable, TissueClass
from strokelabel.networks.normalization import normalize
from strokelabel.synthesis.artefacts import (
    ArtefactParameters,
    acquire,
    apply_bias,
    apply_gamma,
    sample_artefacts,
)
from strokelabel.synthesis.config import SynthesisConfig
from strokelabel.synthesis.contrast import ContrastParameters, look_up, sample_contrast, texture
from strokelabel.synthesis.deformation import (
    DeformationParameters,
    head_coordinates,
    sample_deformation,
    sample_volume,
)
from strokelabel.synthesis.head import Head, stack_heads
from strokelabel.synthesis.lesion import LesionParameters, penumbra, place_lesions, sample_lesions
from strokelabel.synthesis.lesion_bank import LesionBank
from strokelabel.synthesis.parcellation import ParcellationTarget
from strokelabel.synthesis.sampling import Sampler
from strokelabel.synthesis.skull_strip import (
    SkullStripParameters,
    brain_masks,
    sample_skull_strip,
    without_extracerebral,
)


@dataclass(frozen=True)
class SampleParameters:
    """Everything that makes one synthetic image. See `strokelabel.synthesis.record` for JSON."""

    seed: int
    head: int
    deformation: DeformationParameters
    contrast: ContrastParameters
    lesions: LesionParameters
    skull_strip: SkullStripParameters
    artefacts: ArtefactParameters


@dataclass(frozen=True)
class SyntheticBatch:
    """Images and their labels.

    Attributes:
        image: (batch, 1, x, y, z) float32, z-scored.
        target: (batch, x, y, z) uint8 `TissueClass`, or class of a parcellation.
        parameters: what each image was made from.
    """

    image: Tensor
    target: Tensor
    parameters: tuple[SampleParameters, ...]


class Synthesizer:
    """Makes synthetic images from a set of heads and a bank of lesions.

    Args:
        heads: label maps at the working resolution.
        lesions: lesion masks in ICBM space; may be empty (lesion-free heads only).
        table: label table that the heads' indices point into.
        config: ranges of all parameters.
        device: where images are computed.
        parcellation: labels images with structures; None for tissue classes.

    Raises:
        DataError: there are no heads.
    """

    def __init__(
        self,
        heads: list[Head],
        lesions: LesionBank,
        table: LabelTable,
        config: SynthesisConfig,
        device: torch.device | str = "cpu",
        parcellation: ParcellationTarget | None = None,
    ) -> None:
        if not heads:
            raise DataError(
                "Synthesis needs at least one label map, got none; run `strokelabel prepare` first"
            )
        self.device = torch.device(device)
        self.heads = [head.to(self.device) for head in heads]
        self.lesions = lesions
        self.table = table
        self.config = config
        self.parcellation = parcellation
        self._air = table.index(0)

    def sample(self, seed: int) -> SampleParameters:
        """Draw the parameters of one image; the same seed gives the same parameters."""
        sampler, config = Sampler(seed), self.config
        return SampleParameters(
            seed=seed,
            head=sampler.integer(0, len(self.heads) - 1),
            deformation=sample_deformation(sampler, config.deformation, config.field_of_view_mm),
            contrast=sample_contrast(sampler, config.contrast, config.lesion, self.table),
            lesions=sample_lesions(sampler, config.lesion, len(self.lesions)),
            skull_strip=sample_skull_strip(sampler, config.skull_strip),
            artefacts=sample_artefacts(sampler, config.artefacts),
        )

    @torch.no_grad()
    def apply(self, parameters: list[SampleParameters]) -> SyntheticBatch:
        """Compute the images that these parameters describe, in one batch."""
        config, shape = self.config, self.config.shape
        head = stack_heads([self.heads[p.head] for p in parameters])
        head = without_extracerebral(head, [p.skull_strip for p in parameters], self.table)
        coordinates = head_coordinates(
            [p.deformation for p in parameters], head.center_mm, shape, config.spacing_mm
        )
        anatomy = self._anatomy(parameters, head, coordinates)
        lesion = place_lesions([p.lesions for p in parameters], self.lesions, coordinates, head.to_icbm)
        lesion = lesion * (anatomy.allowed > 0.5)
        mask = brain_masks([p.skull_strip for p in parameters], anatomy.brain, config.spacing_mm)
        image = self._intensities(parameters, anatomy, lesion[:, 1:])
        # The skull is stripped from the acquired image, so the noise outside goes with it.
        image = normalize(self._scan(image, [p.artefacts for p in parameters]) * mask)
        return SyntheticBatch(
            image=image,
            target=self._label(parameters, head, coordinates, anatomy.tissues, lesion[:, 0], mask[:, 0]),
            parameters=tuple(parameters),
        )

    def _label(
        self,
        parameters: list[SampleParameters],
        head: Head,
        coordinates: Tensor,
        tissues: Tensor,
        lesion: Tensor,
        mask: Tensor,
    ) -> Tensor:
        """Tissue classes, or structures."""
        if self.parcellation is None:
            return _target(tissues, lesion, mask)
        return self.parcellation.label([p.deformation for p in parameters], head, coordinates, lesion, mask)

    def generate(self, seeds: list[int]) -> SyntheticBatch:
        """Draw and compute one image per seed."""
        return self.apply([self.sample(seed) for seed in seeds])

    def _anatomy(self, parameters: list[SampleParameters], head: Head, coordinates: Tensor) -> _Anatomy:
        """Features per voxel and the tissue maps, deformed together by one interpolation."""
        maps, airs = [], []
        for name in ("means", "deviations"):
            values = torch.stack([getattr(p.contrast, name) for p in parameters]).to(self.device)
            air = values[:, self._air, :, None, None, None]
            # Air goes on outside the label map, where interpolation reads zero.
            maps.append(look_up(values, head.first, head.second, head.fraction) - air)
            airs.append(air)
        masks = torch.cat([head.tissues, torch.stack([head.brain, head.lesion_allowed], dim=1)], dim=1)
        volume = torch.cat([*maps, masks.float() / 255], dim=1)
        warped = sample_volume(volume, coordinates, head.matrix, head.offset)
        features = maps[0].shape[1]
        mean, deviation, tissues, brain, allowed = warped.split([features, features, 4, 1, 1], dim=1)
        return _Anatomy(mean + airs[0], deviation + airs[1], tissues, brain, allowed)

    def _intensities(self, parameters: list[SampleParameters], anatomy: _Anatomy, weights: Tensor) -> Tensor:
        """Gaussian mixture of tissue and lesion components. (batch, 1, x, y, z)."""
        shape = self.config.shape
        contrasts = [p.contrast for p in parameters]
        weights = weights * penumbra([p.lesions for p in parameters], shape, self.device)
        mean = self._blend(anatomy.mean, [c.lesion_means for c in contrasts], weights)
        deviation = self._blend(anatomy.deviation, [c.lesion_deviations for c in contrasts], weights)
        return (mean + deviation * texture(contrasts, shape, self.device)).clamp_min(0)

    def _blend(self, tissue: Tensor, components: list[Tensor], weights: Tensor) -> Tensor:
        """Lay lesion components over the tissue, one after another.

        Args:
            tissue: (batch, features, x, y, z).
            components: per item, (components, features).
            weights: (batch, components, x, y, z) in [0, 1].
        """
        values = torch.stack(components).to(self.device)[..., None, None, None]
        for index in range(weights.shape[1]):
            weight = weights[:, index : index + 1].expand_as(tissue)
            tissue = torch.lerp(tissue, values[:, index].expand_as(tissue), weight)
        return tissue

    def _scan(self, image: Tensor, artefacts: list[ArtefactParameters]) -> Tensor:
        """Bias, gamma, blur, slices and noise."""
        image = apply_bias(image, artefacts, exponential=self.config.artefacts.bias_exponential)
        image = image / image.amax(dim=(1, 2, 3, 4), keepdim=True).clamp_min(1e-6)
        image = apply_gamma(image, artefacts)
        return acquire(image, artefacts, self.config.spacing_mm)


@dataclass(frozen=True)
class _Anatomy:
    """Deformed maps, each (batch, channels, x, y, z); mean and deviation have one channel per feature."""

    mean: Tensor
    deviation: Tensor
    tissues: Tensor
    brain: Tensor
    allowed: Tensor


def _target(tissues: Tensor, lesion: Tensor, mask: Tensor) -> Tensor:
    """Most probable class per voxel; lesions overwrite, and what was stripped away is background."""
    largest = 1 - tissues.sum(dim=1)
    classes = torch.zeros_like(largest, dtype=torch.uint8)
    for index in range(tissues.shape[1]):  # an argmax over so few channels is ten times slower on the CPU
        larger = tissues[:, index] > largest
        classes.masked_fill_(larger, index + 1)
        largest = torch.maximum(largest, tissues[:, index])
    classes.masked_fill_(lesion > 0.5, int(TissueClass.LESION))
    return classes.masked_fill_(mask == 0, int(TissueClass.BACKGROUND))
