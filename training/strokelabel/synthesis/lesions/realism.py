"""Switches for realistic lesions, drawn after and separately from everything else.

Their random numbers come from a source of their own, seeded by the image's seed: with every switch off nothing of an
image changes, and with one switched on, everything it does not touch stays as it was.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from strokelabel.labels import LabelTable
from strokelabel.synthesis.anatomy.deformation import sample_volume
from strokelabel.synthesis.anatomy.head import Head
from strokelabel.synthesis.config import LesionConfig, SynthesisConfig
from strokelabel.synthesis.contrast.gaussian_mixture import ContrastParameters
from strokelabel.synthesis.fields import CoarseGrid
from strokelabel.synthesis.lesions.appearance import component_contrast, each_lesion
from strokelabel.synthesis.lesions.arrangement import LesionArranger
from strokelabel.synthesis.lesions.bank import LesionBank
from strokelabel.synthesis.lesions.distractors import (
    DistractorParameters,
    alter_basal_ganglia,
    hyperintensity_weight,
    sample_distractors,
    signal_gain,
)
from strokelabel.synthesis.lesions.lesion import LesionParameters, PlacedLesions
from strokelabel.synthesis.lesions.mass_effect import SwellingParameters, sample_swelling, swell
from strokelabel.synthesis.lesions.stage import StageParameters, sample_stage, stage_weights
from strokelabel.synthesis.sampling import derived_sampler


@dataclass(frozen=True)
class RealismParameters:
    """Stage and swelling of the lesions, and the distractors, of one head."""

    stage: StageParameters
    distractors: DistractorParameters
    swelling: SwellingParameters


@dataclass(frozen=True)
class RealismMaps:
    """Maps that realism adds to a batch.

    Attributes:
        weights: of each further component that occurs, by its name in `lesion.COMPONENTS`: (batch, 1, *region) for
            those inside lesions, (batch, 1, x, y, z) for others.
        gain: (batch, 1, x, y, z) factor on the image, or None for one everywhere.
    """

    weights: dict[str, Tensor]
    gain: Tensor | None


def arranges(config: LesionConfig) -> bool:
    """Return whether a switch changes the choice or the positions of lesions."""
    return bool(config.volume_balance or config.spatial_prior.probability or config.embolic.probability)


def dresses(config: LesionConfig) -> bool:
    """Return whether a switch changes the appearance of lesions or of healthy tissue."""
    distractors = config.distractors
    return bool(
        config.stages.probability
        or distractors.hyperintensity_probability
        or distractors.basal_ganglia_probability
        or distractors.susceptibility_probability
        or distractors.cortex_probability
        or distractors.white_matter_probability
    )


class Realism:
    """Sampling and application of the switches of a recipe.

    Args:
        bank: lesion masks.
        table: label table of the heads.
        config: of the generator.
    """

    def __init__(self, bank: LesionBank, table: LabelTable, config: SynthesisConfig) -> None:
        self.table = table
        self.config = config
        self._arranger = LesionArranger(bank, config.lesion)

    def sample(
        self, seed: int, contrast: ContrastParameters, lesions: LesionParameters
    ) -> tuple[ContrastParameters, LesionParameters, RealismParameters | None]:
        """Change what was drawn as the switches say; with all of them off, nothing.

        Args:
            seed: of the image.
            contrast: drawn without regard to stages.
            lesions: drawn without regard to the switches.
        """
        config = self.config.lesion
        if arranges(config):
            lesions = self._arranger.arrange(derived_sampler(seed, "arrange"), lesions)
        if not dresses(config):
            return self._each_lesion(seed, contrast, lesions, None), lesions, None
        sampler = derived_sampler(seed, "dress")
        stage = sample_stage(sampler, config.stages)
        distractors = sample_distractors(sampler, config.distractors, contrast.family)
        if contrast.scan is None:
            contrast = component_contrast(
                sampler, contrast, self.config.contrast, config, stage.stage, self.table
            )
            contrast = alter_basal_ganglia(sampler, config.distractors, contrast, self.table)
        swelling = sample_swelling(sampler, config.mass_effect, stage.stage)
        contrast = self._each_lesion(seed, contrast, lesions, stage.stage)
        return contrast, lesions, RealismParameters(stage, distractors, swelling)

    def _each_lesion(
        self, seed: int, contrast: ContrastParameters, lesions: LesionParameters, stage: str | None
    ) -> ContrastParameters:
        """Draw separate means for all lesions of a head; quantitative values are drawn elsewhere."""
        if contrast.scan is not None or lesions.count < 2:
            return contrast
        config, sampler = self.config, derived_sampler(seed, "each lesion")
        return each_lesion(
            sampler, contrast, config.contrast, config.lesion, stage, self.table, lesions.count
        )

    def swollen(
        self, parameters: list[RealismParameters | None], soft: Tensor, coordinates_mm: Tensor, head: Head
    ) -> Tensor:
        """Return the source positions of the anatomy: pushed away from lesions that swell, unchanged if none does.

        Args:
            parameters: one per batch item.
            soft: (batch, 1, x, y, z) soft mask of the lesions.
            coordinates_mm: (batch, x, y, z, 3) position of each voxel in the head's own space.
            head: the batch's heads.
        """
        swelling = [p.swelling for p in parameters if p is not None]
        if not any(p.displacement_mm for p in swelling):
            return coordinates_mm
        grid = CoarseGrid(self.config.shape, self.config.spacing_mm, soft.device)
        points = grid.points(coordinates_mm).permute(0, 2, 3, 4, 1)
        brain = sample_volume(head.brain[:, None].float() / 255, points, head.matrix, head.offset)
        return swell(swelling, soft, coordinates_mm, brain, grid)

    def maps(
        self,
        parameters: list[RealismParameters],
        lesions: PlacedLesions,
        tissues: Tensor,
        brain: Tensor,
        allowed: Tensor,
        coordinates_mm: Tensor,
        to_icbm: Tensor,
    ) -> RealismMaps:
        """Return the weights of the further components and the gain.

        Args:
            parameters: one per batch item.
            lesions: on the image grid.
            tissues: (batch, 4, x, y, z) gray matter, partial volume, white matter, CSF.
            brain, allowed: (batch, 1, x, y, z): the brain, and it without its ventricles.
            coordinates_mm: (batch, x, y, z, 3) position of each voxel in the head's own space.
            to_icbm: (batch, 4, 4) from the head's mm to ICBM mm.
        """
        grid = CoarseGrid(self.config.shape, self.config.spacing_mm, brain.device)
        coarse_mm = _icbm_on_grid(coordinates_mm, to_icbm, grid)
        distractors = [p.distractors for p in parameters]
        ventricle = (brain - allowed).clamp_min(0)
        hyperintensity = hyperintensity_weight(
            distractors, ventricle, tissues[:, 2:3], coarse_mm[:, 2:3], grid
        )
        weights = stage_weights([p.stage for p in parameters], lesions.soft, tissues, grid, lesions.region)
        if hyperintensity is not None:
            weights["hyperintensity"] = hyperintensity * (1 - lesions.soft)
        return RealismMaps(
            weights=weights,
            gain=signal_gain(distractors, tissues[:, 0:1], tissues[:, 2:3], brain, coarse_mm, grid),
        )


def _icbm_on_grid(coordinates_mm: Tensor, to_icbm: Tensor, grid: CoarseGrid) -> Tensor:
    """Return the ICBM position of the coarse grid's points, (batch, 3, *coarse)."""
    moved = torch.einsum("bij,bjxyz->bixyz", to_icbm[:, :3, :3], grid.points(coordinates_mm))
    return moved + to_icbm[:, :3, 3].view(-1, 3, 1, 1, 1)
