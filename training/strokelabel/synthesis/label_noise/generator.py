"""Generator of label maps with errors, and of the correct ones behind them.

`sample` draws the parameters of a label map from a seed; `apply` computes maps from parameters, in batches.
"""

from __future__ import annotations

from dataclasses import dataclass

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
from strokelabel.synthesis.label_noise.config import LabelNoiseConfig
from strokelabel.synthesis.label_noise.jigsaw import JigsawParameters, apply_jigsaw, sample_jigsaw
from strokelabel.synthesis.label_noise.lesion_errors import LesionErrors, sample_lesion_errors
from strokelabel.synthesis.lesions.bank import LesionBank
from strokelabel.synthesis.lesions.lesion import LesionParameters, place_lesions, sample_lesions
from strokelabel.synthesis.sampling import Sampler


@dataclass(frozen=True)
class LabelNoiseParameters:
    """Parameters of one label map.

    Attributes:
        seed: all others are drawn from it.
        head: index of the head.
        deformation: of the head.
        lesions: the true ones.
        skull_strip: classes outside this mask are background.
        hard: whether every voxel has one class alone.
        lesion_errors: None for lesions as they are.
        jigsaw: None for no replaced cubes.
    """

    seed: int
    head: int
    deformation: DeformationParameters
    lesions: LesionParameters
    skull_strip: SkullStripParameters
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

    def sample(self, seed: int, correct: bool | None = None) -> LabelNoiseParameters:
        """Draw the parameters of one label map; the same seed gives the same parameters.

        Args:
            seed: any number.
            correct: whether it is without errors; None to draw that, too. The anatomy is the same either way.
        """
        sampler, config, noise = Sampler(seed), self.config, self.noise
        lesions = sample_lesions(sampler, config.lesion, len(self.lesions))
        deformation = sample_deformation(sampler, config.deformation, config.field_of_view_mm)
        head = sampler.integer(0, len(self.heads) - 1)
        skull_strip = sample_skull_strip(sampler, config.skull_strip)
        hard, drawn = sampler.flip(noise.hard_probability), sampler.flip(noise.correct_probability)
        right = drawn if correct is None else correct
        errors = None if right else sample_lesion_errors(sampler, noise, lesions, self.lesions)
        jigsaw = None
        if not right and sampler.flip(noise.jigsaw_probability):
            jigsaw = sample_jigsaw(sampler, noise, config.shape)
        return LabelNoiseParameters(seed, head, deformation, lesions, skull_strip, hard, errors, jigsaw)

    @torch.no_grad()
    def apply(self, parameters: list[LabelNoiseParameters]) -> NoisyLabels:
        """Compute the label maps that these parameters describe, in one batch."""
        anatomy = self._anatomy(parameters)
        lesions = anatomy.place([p.lesions for p in parameters], self.lesions, cut=True)
        found = [p.lesions if p.lesion_errors is None else p.lesion_errors.found for p in parameters]
        same = all(
            len(one.draws) == p.lesions.count
            and all(a is b for a, b in zip(one.draws, p.lesions.draws, strict=True))
            for one, p in zip(found, parameters, strict=True)
        )
        given = lesions if same else anatomy.place(found, self.lesions, cut=True)
        false = [p.lesion_errors.false for p in parameters if p.lesion_errors is not None]
        if any(one.count for one in false):
            empty = LesionParameters((), (0.0, 0.0, 0.0), 1.0)
            everywhere = [empty if p.lesion_errors is None else p.lesion_errors.false for p in parameters]
            given = torch.maximum(given, anatomy.place(everywhere, self.lesions, cut=False))
        target = _likeliest(_with_lesion(anatomy.tissues, lesions, anatomy.mask))
        maps = _with_lesion(anatomy.tissues, given, anatomy.mask)
        noisy = [_with_errors(item, p) for item, p in zip(maps, parameters, strict=True)]
        return NoisyLabels(torch.stack(noisy), target, tuple(parameters))

    def generate(self, seeds: list[int]) -> NoisyLabels:
        """Draw and compute one label map per seed."""
        return self.apply([self.sample(seed) for seed in seeds])

    def _anatomy(self, parameters: list[LabelNoiseParameters]) -> _Anatomy:
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
