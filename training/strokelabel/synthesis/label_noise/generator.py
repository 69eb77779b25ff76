"""Generator of label maps with errors, and of the correct ones behind them.

`sample` draws the parameters of a label map from a seed; `apply` computes maps from parameters, in batches.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from strokelabel.errors import DataError
from strokelabel.labels import TissueClass
from strokelabel.synthesis.anatomy.deformation import (
    DeformationParameters,
    head_coordinates,
    sample_deformation,
    sample_volume,
)
from strokelabel.synthesis.anatomy.head import Head, stack_heads
from strokelabel.synthesis.anatomy.skull_strip import SkullStripParameters, brain_masks, sample_skull_strip
from strokelabel.synthesis.config import SynthesisConfig
from strokelabel.synthesis.label_noise.errors import (
    JigsawParameters,
    LabelNoiseConfig,
    LesionErrors,
    apply_jigsaw,
    sample_jigsaw,
    sample_lesion_errors,
)
from strokelabel.synthesis.lesions.bank import LesionBank
from strokelabel.synthesis.lesions.lesion import LesionParameters, place_lesions, sample_lesions
from strokelabel.synthesis.sampling import Sampler, derived_sampler

_NO_LESIONS = LesionParameters((), (0.0, 0.0, 0.0), 1.0)


@dataclass(frozen=True)
class LabelMapParameters:
    """Parameters of a correct label map.

    Attributes:
        seed: all others are drawn from it.
        head: index of the head.
        deformation: of the head.
        lesions: the true ones.
        skull_strip: classes outside this mask are background.
    """

    seed: int
    head: int
    deformation: DeformationParameters
    lesions: LesionParameters
    skull_strip: SkullStripParameters


@dataclass(frozen=True)
class LabelNoiseParameters:
    """Parameters of one label map with errors.

    Attributes:
        seed: the errors are drawn from it.
        correct: the map behind it.
        hard: whether every voxel has one class alone.
        lesion_errors: None for lesions as they are.
        jigsaw: None for no replaced cubes.
    """

    seed: int
    correct: LabelMapParameters
    hard: bool
    lesion_errors: LesionErrors | None
    jigsaw: JigsawParameters | None


@dataclass(frozen=True)
class NoisyLabels:
    """Label maps with errors.

    Attributes:
        maps: (batch, 6, x, y, z) float32 share of each `TissueClass` in a voxel, with errors; they sum to one.
        target: (batch, x, y, z) uint8 `TissueClass`, correct.
        parameters: what each was made from.
    """

    maps: Tensor
    target: Tensor
    parameters: tuple[LabelNoiseParameters, ...]


class LabelNoiseGenerator:
    """Generator of label maps with errors.

    Args:
        heads: label maps at the working resolution.
        lesions: lesion masks in ICBM space.
        config: shape, deformation, lesions and skull strip; nothing else of it is used.
        noise: errors.

    Raises:
        DataError: there are no heads.
    """

    def __init__(
        self, heads: list[Head], lesions: LesionBank, config: SynthesisConfig, noise: LabelNoiseConfig
    ) -> None:
        if not heads:
            raise DataError("Expected at least one label map, got none; run `strokelabel prepare` first")
        self.heads, self.lesions = heads, lesions
        self.config, self.noise = config, noise

    def sample(
        self, seed: int, correct: bool | None = None, anatomy: LabelMapParameters | None = None
    ) -> LabelNoiseParameters:
        """Draw the parameters of one label map; the same seed gives the same parameters.

        Args:
            seed: any number.
            correct: whether it is without errors; None to draw that, too. The anatomy is the same either way.
            anatomy: from `sample_anatomy`, to make errors in; None to draw one from the same seed.
        """
        noise, own = self.noise, derived_sampler(seed, "label noise")
        anatomy = anatomy or self.sample_anatomy(seed)
        hard, drawn = own.flip(noise.hard_probability), own.flip(noise.correct_probability)
        right = drawn if correct is None else correct
        errors = None if right else sample_lesion_errors(own, noise, anatomy.lesions, self.lesions)
        jigsaw = None
        if not right and own.flip(noise.jigsaw_probability):
            jigsaw = sample_jigsaw(own, noise, self.config.shape)
        return LabelNoiseParameters(seed, anatomy, hard, errors, jigsaw)

    def sample_anatomy(self, seed: int) -> LabelMapParameters:
        """Draw the parameters of one correct label map."""
        sampler, config = Sampler(seed), self.config
        return LabelMapParameters(
            seed=seed,
            head=sampler.integer(0, len(self.heads) - 1),
            deformation=sample_deformation(sampler, config.deformation, config.field_of_view_mm),
            lesions=sample_lesions(sampler, config.lesion, len(self.lesions)),
            skull_strip=sample_skull_strip(sampler, config.skull_strip),
        )

    @torch.no_grad()
    def apply(self, parameters: list[LabelNoiseParameters]) -> NoisyLabels:
        """Compute the label maps that these parameters describe, in one batch.

        An anatomy that several of them share is computed once.
        """
        different = list({id(p.correct): p.correct for p in parameters}.values())
        place = {id(anatomy): index for index, anatomy in enumerate(different)}
        index = torch.tensor([place[id(p.correct)] for p in parameters])
        anatomy = self._anatomy(different)
        lesions = anatomy.place([p.lesions for p in different], self.lesions, cut=True)
        target = _likeliest(_with_lesion(anatomy.tissues, lesions, anatomy.mask))[index]
        anatomy = anatomy.of(index)
        given = self._given_lesions(parameters, anatomy, lesions[index])
        maps = _with_lesion(anatomy.tissues, given, anatomy.mask)
        noisy = [_with_errors(item, p) for item, p in zip(maps, parameters, strict=True)]
        return NoisyLabels(torch.stack(noisy), target, tuple(parameters))

    def _given_lesions(
        self, parameters: list[LabelNoiseParameters], anatomy: _Anatomy, lesions: Tensor
    ) -> Tensor:
        """Return the soft masks (batch, 1, x, y, z) of the lesions as the maps have them.

        Args:
            parameters: of the maps.
            anatomy: theirs.
            lesions: the true soft masks.
        """
        errors = [p.lesion_errors for p in parameters]
        given = lesions
        if any(one is not None and not one.is_complete for one in errors):
            found = [
                p.correct.lesions if e is None else e.found for p, e in zip(parameters, errors, strict=True)
            ]
            given = anatomy.place(found, self.lesions, cut=True)
        if any(one is not None and one.false.count for one in errors):
            false = [_NO_LESIONS if one is None else one.false for one in errors]
            given = torch.maximum(given, anatomy.place(false, self.lesions, cut=False))
        return given

    def generate(self, seeds: list[int]) -> NoisyLabels:
        """Draw and compute one label map per seed."""
        return self.apply([self.sample(seed) for seed in seeds])

    def _anatomy(self, parameters: list[LabelMapParameters]) -> _Anatomy:
        """Return the tissues, deformed."""
        head = stack_heads([self.heads[p.head] for p in parameters])
        deformations = [p.deformation for p in parameters]
        coordinates = head_coordinates(
            deformations, head.center_mm, self.config.shape, self.config.spacing_mm
        )
        parts = torch.cat([head.tissues, head.brain[:, None], head.lesion_allowed[:, None]], dim=1) / 255
        warped = sample_volume(parts, coordinates, head.matrix, head.offset)
        tissues, brain, allowed = warped.split([head.tissues.shape[1], 1, 1], dim=1)
        mask = brain_masks([p.skull_strip for p in parameters], brain, self.config.spacing_mm)
        return _Anatomy(tissues, allowed > 0.5, mask, coordinates, head.to_icbm)


@dataclass(frozen=True)
class _Anatomy:
    """Deformed heads.

    Attributes:
        tissues: (batch, 4, x, y, z).
        allowed: (batch, 1, x, y, z) where lesions may be.
        mask: (batch, 1, x, y, z) what skull stripping leaves.
        coordinates: (batch, x, y, z, 3) mm.
        to_icbm: (batch, 4, 4).
    """

    tissues: Tensor
    allowed: Tensor
    mask: Tensor
    coordinates: Tensor
    to_icbm: Tensor

    def of(self, index: Tensor) -> _Anatomy:
        """Return the heads at these positions, as a batch."""
        return _Anatomy(*(getattr(self, field.name)[index] for field in fields(self)))

    def place(self, lesions: list[LesionParameters], bank: LesionBank, *, cut: bool) -> Tensor:
        """Return the soft masks (batch, 1, x, y, z) of lesions; cut off where none may be, if requested."""
        soft = place_lesions(lesions, bank, self.coordinates, self.to_icbm).soft
        return soft * self.allowed if cut else soft


def _with_lesion(tissues: Tensor, lesion: Tensor, mask: Tensor) -> Tensor:
    """Return the share of each class, (batch, 6, x, y, z): lesion takes the place of tissue."""
    tissues = tissues * (mask * (1 - lesion))
    lesion = lesion * mask
    background = (1 - tissues.sum(dim=1, keepdim=True) - lesion).clamp_min(0)
    shares = torch.cat([background, tissues, lesion], dim=1)
    return shares / shares.sum(dim=1, keepdim=True)  # shares of tissues were rounded


def _likeliest(maps: Tensor) -> Tensor:
    """Return the class with the largest share, (batch, x, y, z) uint8 of (batch, classes, x, y, z)."""
    largest = maps[:, 0].clone()
    classes = torch.zeros_like(largest, dtype=torch.uint8)
    for index in range(1, maps.shape[1]):  # an argmax over so few channels is ten times slower on the CPU
        classes.masked_fill_(maps[:, index] > largest, index)
        torch.maximum(largest, maps[:, index], out=largest)
    return classes


def _with_errors(maps: Tensor, parameters: LabelNoiseParameters) -> Tensor:
    """Return one label map (6, x, y, z) as its parameters describe it."""
    if parameters.hard:
        classes = _likeliest(maps[None])
        maps = torch.cat([classes == index for index in TissueClass]).to(maps.dtype)
    return maps if parameters.jigsaw is None else apply_jigsaw(maps, parameters.jigsaw)
