"""SynthStroke generator: from label maps and lesion masks to images of any contrast and their labels.

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
from strokelabel.synthesis import scanner
from strokelabel.synthesis.anatomy.deformation import (
    DeformationParameters,
    head_coordinates,
    sample_deformation,
    sample_volume,
)
from strokelabel.synthesis.anatomy.head import Head, crop_to_view, stack_heads
from strokelabel.synthesis.anatomy.parcellation import ParcellationTarget
from strokelabel.synthesis.anatomy.skull_strip import (
    SkullStripParameters,
    brain_masks,
    sample_skull_strip,
    without_extracerebral,
)
from strokelabel.synthesis.config import SynthesisConfig
from strokelabel.synthesis.contrast.gaussian_mixture import CT, ContrastParameters, sample_contrast, texture
from strokelabel.synthesis.contrast.pockets import Pocket, fill_pockets, sample_pockets
from strokelabel.synthesis.contrast.signals import expose, signal_contrast, vary_structures, vary_surroundings
from strokelabel.synthesis.contrast.tissue_properties import (
    each_lesion_tissue,
    sample_tissue_contrast,
    with_stage,
)
from strokelabel.synthesis.lesions.bank import LesionBank
from strokelabel.synthesis.lesions.lesion import (
    COMPONENTS,
    OWN_COMPONENTS,
    LesionParameters,
    PlacedLesions,
    place_lesions,
    sample_lesions,
)
from strokelabel.synthesis.lesions.realism import Realism, RealismMaps, RealismParameters
from strokelabel.synthesis.quantitative.scan import TEXTURES, scan, textured_maps
from strokelabel.synthesis.sampling import Sampler, derived_sampler, on_device, pad_stack


@dataclass(frozen=True)
class SampleParameters:
    """Parameters of one synthetic image. See `strokelabel.synthesis.record` for JSON."""

    seed: int
    head: int
    deformation: DeformationParameters
    contrast: ContrastParameters
    lesions: LesionParameters
    skull_strip: SkullStripParameters
    artefacts: scanner.ArtefactParameters
    realism: RealismParameters | None = None
    pockets: tuple[Pocket, ...] = ()
    coil: scanner.CoilParameters = scanner.NO_COIL
    coverage: scanner.CoverageParameters | None = None
    subject: DeformationParameters | None = None
    """Deformation that makes another head of the head, before `deformation` is applied."""


@dataclass(frozen=True)
class SyntheticBatch:
    """Images and their labels.

    Attributes:
        image: (batch, 1, x, y, z) float32, z-scored.
        target: (batch, x, y, z) uint8 `TissueClass`, or class of a parcellation.
        parameters: what each image was made from.
        features: (batch, 5, x, y, z) the quantitative maps behind each image (`physics.maps.MAP_NAMES`), zero where the
            skull was stripped away; None unless they were requested.
        visible: (batch, x, y, z) how much of each voxel shows lesion, in [0, 1]: the softened masks, blurred by motion
            and slices as the image is, without noise; None unless it was requested.
    """

    image: Tensor
    target: Tensor
    parameters: tuple[SampleParameters, ...]
    features: Tensor | None = None
    visible: Tensor | None = None
    clean: Tensor | None = None
    """(batch, 1, x, y, z) the images without any artefact, z-scored; None unless they were requested."""


class Synthesizer:
    """Generator of synthetic images from a set of heads and a bank of lesions.

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
            contrast=self._sample_contrast(sampler, seed),
            lesions=sample_lesions(sampler, config.lesion, len(self.lesions)),
            skull_strip=sample_skull_strip(sampler, config.skull_strip),
            artefacts=scanner.sample_artefacts(sampler, config.artefacts),
        )
        contrast, lesions, realism = self._realism.sample(seed, parameters.contrast, parameters.lesions)
        if realism is not None:
            contrast = with_stage(sampler, config.contrast.physics, contrast, realism.stage.stage)
        if contrast.scan is not None and lesions.count > 1:
            own = derived_sampler(seed, "each lesion")
            contrast = each_lesion_tissue(own, config.contrast.physics, contrast, lesions.count)
        parameters = replace(parameters, contrast=contrast, lesions=lesions, realism=realism)
        return self.sample_scanner(parameters)

    def _sample_contrast(self, sampler: Sampler, seed: int) -> ContrastParameters:
        """Sample intensities, or quantitative values and a sequence."""
        config = self.config.contrast
        if config.model == "physics":
            return sample_tissue_contrast(sampler, config, self.table)
        contrast = sample_contrast(sampler, config, self.config.lesion, self.table)
        own = derived_sampler(seed, "structures")
        contrast = vary_structures(own, config.structures, contrast, self.table)
        return vary_surroundings(own, config.surroundings, contrast, self.table)

    def sample_scanner(self, parameters: SampleParameters) -> SampleParameters:
        """Return the same image with pockets, coil, coverage, and the artefacts of CT where it is one."""
        config, family = self.config, parameters.contrast.family
        artefacts, coil = parameters.artefacts, scanner.NO_COIL
        if family == CT:
            artefacts = scanner.as_ct(derived_sampler(parameters.seed, "ct"), artefacts)
        else:
            coil = scanner.sample_coil(derived_sampler(parameters.seed, "coil"), config.artefacts.coil)
        pockets: tuple[Pocket, ...] = ()
        if parameters.contrast.scan is None:
            own = derived_sampler(parameters.seed, "pockets")
            pockets = sample_pockets(own, config.contrast.pockets, family)
        own = derived_sampler(parameters.seed, "coverage")
        coverage = scanner.sample_coverage(own, config.artefacts.coverage, artefacts.resolution_mm)
        return replace(parameters, artefacts=artefacts, coil=coil, pockets=pockets, coverage=coverage)

    @torch.no_grad()
    def apply(
        self,
        parameters: list[SampleParameters],
        keep_features: bool = False,
        keep_visible: bool = False,
        keep_clean: bool = False,
    ) -> SyntheticBatch:
        """Compute the images that these parameters describe, in one batch.

        Args:
            parameters: see `sample`.
            keep_features: keep the quantitative maps that were scanned, too (contrast of the physics alone).
            keep_visible: keep what of the lesions can be seen, too.
            keep_clean: keep the images before the scanner's artefacts, too.
        """
        config, shape = self.config, self.config.shape
        head = stack_heads([self.heads[p.head] for p in parameters])
        head = without_extracerebral(head, [p.skull_strip for p in parameters], self.table)
        subjects = [p.subject for p in parameters if p.subject is not None]
        deformations = [p.deformation for p in parameters]
        coordinates = head_coordinates(deformations, head.center_mm, shape, config.spacing_mm, subjects)
        scans = [p.contrast.scan for p in parameters if p.contrast.scan is not None]
        by_signal = bool(scans) and type(head) is Head and not keep_features
        shown = parameters
        if by_signal:
            shown = [replace(p, contrast=signal_contrast(p.contrast)) for p in parameters]
        lesions = place_lesions([p.lesions for p in parameters], self.lesions, coordinates, head.to_icbm)
        coordinates = self._realism.swollen([p.realism for p in parameters], lesions.soft, coordinates, head)
        anatomy = self._anatomy(shown, head, coordinates)
        lesions = lesions.within(anatomy.allowed > 0.5)
        mask = brain_masks([p.skull_strip for p in parameters], anatomy.brain, config.spacing_mm)
        maps = self._realism_maps(parameters, anatomy, lesions, coordinates, head.to_icbm)
        mean, textures = self._mixture(shown, anatomy, lesions, maps)
        if scans:
            image = expose(mean, textures, scans) if by_signal else scan(mean, textures, scans)
        else:
            image = _magnitudes(mean + textures, parameters)
        image = image if maps is None or maps.gain is None else image * maps.gain
        plain = image
        image = scanner.apply_coil(image, mask, [p.coil for p in parameters], config.spacing_mm)
        mask = scanner.restrict(mask, [p.coverage for p in parameters], config.spacing_mm)
        # The skull is stripped from the acquired image, so the noise outside goes with it.
        image = normalize(self._scan(image, [p.artefacts for p in parameters]) * mask)
        visible = None
        if keep_visible:
            noiseless = [scanner.without_noise(p.artefacts) for p in parameters]
            visible = (scanner.acquire(lesions.soft, noiseless, config.spacing_mm) * mask)[:, 0]
        return SyntheticBatch(
            image=image,
            target=self._label(
                parameters, head, coordinates, anatomy.tissues, lesions.soft[:, 0], mask[:, 0]
            ),
            parameters=tuple(parameters),
            features=textured_maps(mean, textures, scans) * mask if keep_features else None,
            visible=visible,
            clean=normalize(plain * mask) if keep_clean else None,
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
        """Return the tissue classes, or structures."""
        if self.parcellation is None:
            return _target(tissues, lesion, mask)
        return self.parcellation.label([p.deformation for p in parameters], head, coordinates, lesion, mask)

    def generate(self, seeds: list[int]) -> SyntheticBatch:
        """Draw and compute one image per seed."""
        return self.apply([self.sample(seed) for seed in seeds])

    def _anatomy(self, parameters: list[SampleParameters], head: Head, coordinates: Tensor) -> _Anatomy:
        """Return the features per voxel and the tissue maps, deformed together by one interpolation."""
        means, deviations = (
            on_device(torch.stack([getattr(p.contrast, name) for p in parameters]), self.device)
            for name in ("means", "deviations")
        )
        values = torch.cat([means, deviations], dim=2)
        air = values[:, self._air : self._air + 1]
        sizes = [means.shape[2], deviations.shape[2], head.tissues.shape[1], 1, 1]
        head = crop_to_view(head, coordinates)
        # On a CPU, the channels of a voxel lie together: they are read together.
        layout = torch.contiguous_format if values.is_cuda else torch.channels_last_3d
        shape = (len(parameters), sum(sizes), *head.first.shape[1:])
        volume = torch.empty(shape, device=values.device, memory_format=layout)
        # Air continues outside the label map, where interpolation reads zero.
        volume[:, : values.shape[2]] = head.voxels(values, air)
        for channels, mask in zip(
            volume[:, values.shape[2] :].split(sizes[2:], dim=1),
            (head.tissues, head.brain[:, None], head.lesion_allowed[:, None]),
            strict=True,
        ):
            channels.copy_(mask).mul_(1 / 255)
        warped = sample_volume(volume, coordinates, head.matrix, head.offset)
        warped[:, : values.shape[2]] += air[:, 0, :, None, None, None]
        return _Anatomy(*warped.split(sizes, dim=1))

    def _realism_maps(
        self,
        parameters: list[SampleParameters],
        anatomy: _Anatomy,
        lesions: PlacedLesions,
        coordinates: Tensor,
        to_icbm: Tensor,
    ) -> RealismMaps | None:
        """Return the further lesion components and distractors, where the recipe has any."""
        drawn = [p.realism for p in parameters if p.realism is not None]
        if not drawn:
            return None
        return self._realism.maps(
            drawn, lesions, anatomy.tissues, anatomy.brain, anatomy.allowed, coordinates, to_icbm
        )

    def _mixture(
        self,
        parameters: list[SampleParameters],
        anatomy: _Anatomy,
        lesions: PlacedLesions,
        realism: RealismMaps | None,
    ) -> tuple[Tensor, Tensor]:
        """Lay tissue and lesion components over each other: means, and textures as strong as the deviations."""
        contrasts = [p.contrast for p in parameters]
        weights = {COMPONENTS[0]: lesions.weight} | (realism.weights if realism else {})
        means = on_device(pad_stack([c.lesion_means for c in contrasts]), self.device)
        deviations = on_device(torch.stack([c.lesion_deviations for c in contrasts]), self.device)
        mean = self._blend(anatomy.mean, means, weights, lesions)
        deviation = self._blend(anatomy.deviation, deviations[:, None], weights, lesions)
        air = on_device(torch.stack([c.means[self._air] for c in contrasts]), self.device)
        pockets = [p.pockets for p in parameters]
        mean = fill_pockets(mean, anatomy.brain, air, pockets, self.config.spacing_mm)
        channels = TEXTURES if contrasts[0].means.shape[1] == len(MAP_NAMES) else 1
        return mean, deviation * texture(contrasts, self.config.shape, self.device, channels)

    def _blend(
        self, tissue: Tensor, values: Tensor, weights: dict[str, Tensor], lesions: PlacedLesions
    ) -> Tensor:
        """Lay lesion components over the tissue, one after another, in place.

        Args:
            tissue: (batch, features, x, y, z).
            values: (batch, lesions, components, features).
            weights: of each component that occurs; see `RealismMaps`.
            lesions: which voxel belongs to which lesion.
        """
        for index, name in enumerate(COMPONENTS):
            if name not in weights:
                continue
            inside = index < OWN_COMPONENTS
            part = tissue[(..., *lesions.region)] if inside else tissue
            owner = lesions.owner if inside else None
            own = _of_owner(values[:, :, index], owner)
            part.lerp_(own.expand_as(part), weights[name].expand_as(part))
        return tissue

    def _scan(self, image: Tensor, artefacts: list[scanner.ArtefactParameters]) -> Tensor:
        """Apply bias, gamma, blur, slices and noise."""
        image = scanner.apply_bias(image, artefacts, exponential=self.config.artefacts.bias_exponential)
        # A scan has a reference of its own, the brain, not the scalp; so has a CT, its window.
        if self.config.contrast.model == "mixture":
            highest = image.amax(dim=(1, 2, 3, 4), keepdim=True).clamp_min(1e-6)
            ct = [item for item, drawn in enumerate(artefacts) if not drawn.magnitude]
            if ct:
                highest[ct] = 1.0
            image = image / highest
        image = scanner.apply_gamma(image, artefacts)
        return scanner.clip_to_window(scanner.acquire(image, artefacts, self.config.spacing_mm), artefacts)


@dataclass(frozen=True)
class _Anatomy:
    """Deformed maps, each (batch, channels, x, y, z); mean and deviation have one channel per feature."""

    mean: Tensor
    deviation: Tensor
    tissues: Tensor
    brain: Tensor
    allowed: Tensor


def _magnitudes(image: Tensor, parameters: list[SampleParameters]) -> Tensor:
    """Clip images to values of at least zero, in place, but for CT, which is clipped to its window later."""
    for item, drawn in zip(image, parameters, strict=True):
        if drawn.artefacts.magnitude:
            item.clamp_min_(0)
    return image


def _of_owner(values: Tensor, owner: Tensor | None) -> Tensor:
    """Return the values of the lesion of each voxel.

    Args:
        values: (batch, lesions, features).
        owner: (batch, x, y, z), or None for the first lesion everywhere.

    Returns:
        (batch, features, x, y, z), the last three of one voxel where one value is everywhere.
    """
    if owner is None or values.shape[1] == 1:
        return values[:, 0, :, None, None, None]
    return torch.stack([rows.T[:, where] for rows, where in zip(values, owner, strict=True)])


def _target(tissues: Tensor, lesion: Tensor, mask: Tensor) -> Tensor:
    """Return the most probable class per voxel; lesions overwrite, and stripped voxels are background."""
    largest = 1 - tissues.sum(dim=1)
    classes = torch.zeros_like(largest, dtype=torch.uint8)
    for index in range(tissues.shape[1]):  # an argmax over so few channels is ten times slower on the CPU
        larger = tissues[:, index] > largest
        classes.masked_fill_(larger, index + 1)
        largest = torch.maximum(largest, tissues[:, index])
    classes.masked_fill_(lesion > 0.5, int(TissueClass.LESION))
    return classes.masked_fill_(mask == 0, int(TissueClass.BACKGROUND))
