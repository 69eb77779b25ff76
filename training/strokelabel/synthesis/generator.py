"""The SynthStroke generator: from label maps and lesion masks to images of any contrast and their labels.

Chalcroft et al. 2025, section 3.1, with the corrections that the project's specification takes. `sample` draws the
parameters of an image from a seed; `apply` computes images from parameters, in batches, on CPU or GPU.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from strokelabel.errors import DataError
from strokelabel.labels import LabelTable, TissueClass
from strokelabel.networks.normalization import normalize
from strokelabel.physics.maps import MAP_NAMES
from strokelabel.synthesis.artefacts import (
    ArtefactParameters,
    acquire,
    apply_bias,
    apply_gamma,
    sample_artefacts,
)
from strokelabel.synthesis.config import SynthesisConfig
from strokelabel.synthesis.contrast import ContrastParameters, sample_contrast, texture
from strokelabel.synthesis.deformation import (
    DeformationParameters,
    head_coordinates,
    sample_deformation,
    sample_volume,
)
from strokelabel.synthesis.head import Head, stack_heads
from strokelabel.synthesis.lesion import LesionParameters, penumbra, place_lesions, sample_lesions
from strokelabel.synthesis.lesion_bank import LesionBank
from strokelabel.synthesis.lesion_realism import Realism, RealismMaps, RealismParameters
from strokelabel.synthesis.parcellation import ParcellationTarget
from strokelabel.synthesis.sampling import Sampler
from strokelabel.synthesis.scan import TEXTURES, scan, textured_maps
from strokelabel.synthesis.signals import expose, signal_contrast
from strokelabel.synthesis.skull_strip import (
    SkullStripParameters,
    brain_masks,
    sample_skull_strip,
    without_extracerebral,
)
from strokelabel.synthesis.tissue_contrast import sample_tissue_contrast, with_stage


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
    realism: RealismParameters | None = None


@dataclass(frozen=True)
class SyntheticBatch:
    """Images and their labels.

    Attributes:
        image: (batch, 1, x, y, z) float32, z-scored.
        target: (batch, x, y, z) uint8 `TissueClass`, or class of a parcellation.
        parameters: what each image was made from.
        features: (batch, 5, x, y, z) the quantitative maps behind each image (`physics.maps.MAP_NAMES`), zero where the
            skull was stripped away; None unless they were asked for.
    """

    image: Tensor
    target: Tensor
    parameters: tuple[SampleParameters, ...]
    features: Tensor | None = None


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
        self._realism = Realism(lesions, table, config)
        self._air = table.index(0)

    def sample(self, seed: int) -> SampleParameters:
        """Draw the parameters of one image; the same seed gives the same parameters."""
        sampler, config = Sampler(seed), self.config
        parameters = SampleParameters(
            seed=seed,
            head=sampler.integer(0, len(self.heads) - 1),
            deformation=sample_deformation(sampler, config.deformation, config.field_of_view_mm),
            contrast=self._sample_contrast(sampler),
            lesions=sample_lesions(sampler, config.lesion, len(self.lesions)),
            skull_strip=sample_skull_strip(sampler, config.skull_strip),
            artefacts=sample_artefacts(sampler, config.artefacts),
        )
        contrast, lesions, realism = self._realism.sample(seed, parameters.contrast, parameters.lesions)
        if realism is not None:
            contrast = with_stage(sampler, config.contrast.physics, contrast, realism.stage.stage)
        return replace(parameters, contrast=contrast, lesions=lesions, realism=realism)

    def _sample_contrast(self, sampler: Sampler) -> ContrastParameters:
        """Intensities, or quantitative values and a sequence."""
        if self.config.contrast.model == "physics":
            return sample_tissue_contrast(sampler, self.config.contrast, self.table)
        return sample_contrast(sampler, self.config.contrast, self.config.lesion, self.table)

    @torch.no_grad()
    def apply(self, parameters: list[SampleParameters], keep_features: bool = False) -> SyntheticBatch:
        """Compute the images that these parameters describe, in one batch.

        Args:
            parameters: see `sample`.
            keep_features: keep the quantitative maps that were scanned, too (contrast of the physics alone).
        """
        config, shape = self.config, self.config.shape
        head = stack_heads([self.heads[p.head] for p in parameters])
        head = without_extracerebral(head, [p.skull_strip for p in parameters], self.table)
        coordinates = head_coordinates(
            [p.deformation for p in parameters], head.center_mm, shape, config.spacing_mm
        )
        scans = [p.contrast.scan for p in parameters if p.contrast.scan is not None]
        by_signal = bool(scans) and type(head) is Head and not keep_features
        shown = parameters
        if by_signal:
            shown = [replace(p, contrast=signal_contrast(p.contrast)) for p in parameters]
        lesion = place_lesions([p.lesions for p in parameters], self.lesions, coordinates, head.to_icbm)
        coordinates = self._realism.swollen([p.realism for p in parameters], lesion[:, 1:], coordinates, head)
        anatomy = self._anatomy(shown, head, coordinates)
        lesion = lesion * (anatomy.allowed > 0.5)
        mask = brain_masks([p.skull_strip for p in parameters], anatomy.brain, config.spacing_mm)
        maps = self._realism_maps(parameters, anatomy, lesion[:, 1:], coordinates, head.to_icbm)
        mean, textures = self._mixture(shown, anatomy, lesion[:, 1:], maps)
        if scans:
            image = expose(mean, textures, scans) if by_signal else scan(mean, textures, scans)
        else:
            image = (mean + textures).clamp_min(0)
        image = image if maps is None or maps.gain is None else image * maps.gain
        # The skull is stripped from the acquired image, so the noise outside goes with it.
        image = normalize(self._scan(image, [p.artefacts for p in parameters]) * mask)
        return SyntheticBatch(
            image=image,
            target=self._label(parameters, head, coordinates, anatomy.tissues, lesion[:, 0], mask[:, 0]),
            parameters=tuple(parameters),
            features=textured_maps(mean, textures, scans) * mask if keep_features else None,
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
        means, deviations = (
            torch.stack([getattr(p.contrast, name) for p in parameters]).to(self.device)
            for name in ("means", "deviations")
        )
        values = torch.cat([means, deviations], dim=2)
        air = values[:, self._air : self._air + 1]
        # Air goes on outside the label map, where interpolation reads zero.
        maps = head.voxels(values, air)
        masks = torch.cat([head.tissues, torch.stack([head.brain, head.lesion_allowed], dim=1)], dim=1)
        volume = torch.cat([maps, masks.float() / 255], dim=1)
        warped = sample_volume(volume, coordinates, head.matrix, head.offset)
        warped[:, : values.shape[2]] += air[:, 0, :, None, None, None]
        sizes = [means.shape[2], deviations.shape[2], head.tissues.shape[1], 1, 1]
        return _Anatomy(*warped.split(sizes, dim=1))

    def _realism_maps(
        self,
        parameters: list[SampleParameters],
        anatomy: _Anatomy,
        soft: Tensor,
        coordinates: Tensor,
        to_icbm: Tensor,
    ) -> RealismMaps | None:
        """Further lesion components and distractors, where the recipe has any."""
        drawn = [p.realism for p in parameters if p.realism is not None]
        if not drawn:
            return None
        return self._realism.maps(
            drawn, soft, anatomy.tissues, anatomy.brain, anatomy.allowed, coordinates, to_icbm
        )

    def _mixture(
        self,
        parameters: list[SampleParameters],
        anatomy: _Anatomy,
        weights: Tensor,
        realism: RealismMaps | None,
    ) -> tuple[Tensor, Tensor]:
        """Tissue and lesion components laid over each other: means, and textures as strong as the deviations."""
        shape = self.config.shape
        contrasts = [p.contrast for p in parameters]
        weights = weights * penumbra([p.lesions for p in parameters], shape, self.device)
        if realism is not None:
            weights = torch.cat([weights, realism.weights], dim=1)
        mean = self._blend(anatomy.mean, [c.lesion_means for c in contrasts], weights)
        deviation = self._blend(anatomy.deviation, [c.lesion_deviations for c in contrasts], weights)
        channels = TEXTURES if contrasts[0].means.shape[1] == len(MAP_NAMES) else 1
        return mean, deviation * texture(contrasts, shape, self.device, channels)

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
        # A scan has a reference of its own: the brain, not the scalp.
        if self.config.contrast.model == "mixture":
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
