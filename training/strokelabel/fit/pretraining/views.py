"""Pairs of views: two scans of one subject, each moved and disturbed by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from strokelabel.errors import RecipeError
from strokelabel.fit.pretraining.config import PretrainingConfig
from strokelabel.physics.mprage import Mprage
from strokelabel.synthesis.anatomy.deformation import sample_deformation
from strokelabel.synthesis.anatomy.skull_strip import sample_skull_strip
from strokelabel.synthesis.contrast.tissue_properties import scanned_again, with_acquisition
from strokelabel.synthesis.generator import SampleParameters, Synthesizer
from strokelabel.synthesis.sampling import Sampler, derived_sampler
from strokelabel.synthesis.scanner import sample_artefacts

VIEWS = 2
"""Of each subject."""

_BASE_PROTOCOL = "pretraining/mprage"

Box = tuple[slice, slice, slice]
"""Voxels along x, y and z."""


@dataclass(frozen=True)
class PairBatch:
    """Two views of each subject.

    Attributes:
        image: (2 * pairs, 1, x, y, z) float32, z-scored: the first views of all subjects, then their second ones.
        target: the same shape: the views without artefacts and holes, z-scored.
    """

    image: Tensor
    target: Tensor

    def to(self, device: torch.device) -> Self:
        """Move the batch to a device."""
        return type(self)(self.image.to(device, non_blocking=True), self.target.to(device, non_blocking=True))


class ContrastPairs:
    """Maker of pairs.

    Args:
        synthesizer: draws subjects, whose contrast must be that of the physics.
        config: how two views of a subject differ.

    Raises:
        RecipeError: the synthesizer draws intensities, not quantitative values.
    """

    def __init__(self, synthesizer: Synthesizer, config: PretrainingConfig) -> None:
        if synthesizer.config.contrast.model != "physics":
            raise RecipeError("synthesis.contrast.model: expected physics for views in several contrasts")
        self.synthesizer, self.config = synthesizer, config

    def sample(self, seed: int) -> tuple[SampleParameters, SampleParameters]:
        """Draw the two views of one subject; the same seed gives the same views."""
        subject = self.subject(seed)
        first = self.view(subject, seed, 0)
        return first, self.view(subject, seed, 1)

    def subject(self, seed: int) -> SampleParameters:
        """Draw a subject in the contrast of the first view: what its deformation makes is another head."""
        drawn = self.synthesizer.sample(seed)
        if self.config.arm == "base":
            table = self.synthesizer.table
            drawn = replace(drawn, contrast=with_acquisition(drawn.contrast, table, _BASE_PROTOCOL, Mprage()))
        return drawn

    def view(self, subject: SampleParameters, seed: int, number: int) -> SampleParameters:
        """Draw a view of a subject.

        Args:
            subject: see `subject`.
            seed: decides all views of the subject.
            number: 0 for a view in the subject's own contrast, from 1 on in the others of a sequence-invariant pair.
        """
        own = derived_sampler(seed, f"view {number}")
        config = self.synthesizer.config
        contrast = replace(subject.contrast, texture_seed=own.seed())
        if number and self.config.arm == "seq-invariant":
            physics = config.contrast.physics
            contrast = scanned_again(own, physics, subject.contrast, self.synthesizer.table)
        sample = replace(
            subject,
            seed=own.seed(),
            subject=subject.deformation,
            deformation=sample_deformation(own, self.config.deformation, config.field_of_view_mm),
            contrast=contrast,
            skull_strip=sample_skull_strip(own, config.skull_strip),
            artefacts=sample_artefacts(own, config.artefacts),
        )
        return self.synthesizer.sample_scanner(sample)

    def apply(self, views: Sequence[SampleParameters]) -> PairBatch:
        """Compute views, in the order given; nothing is taken out of them."""
        made = self.synthesizer.apply(list(views), keep_clean=True)
        assert made.clean is not None
        return PairBatch(made.image, made.clean)

    def generate(self, seed: int) -> PairBatch:
        """Draw and compute the pair of one subject."""
        return self.apply(self.sample(seed))

    def shown(self, pair: PairBatch, seed: int) -> PairBatch:
        """Return a pair of one subject as training sees it once: with holes, and mirrored or not.

        Args:
            pair: left as it is.
            seed: decides what is done.
        """
        own = derived_sampler(seed, "use")
        image, target = pair.image.clone(), pair.target
        for view in image:
            for box in self._holes(own):
                view[(0, *box)] = 0
        if own.flip(self.config.mirror_probability):
            image, target = image.flip(2), target.flip(2)
        return PairBatch(image, target)

    def _holes(self, sampler: Sampler) -> list[Box]:
        """Draw boxes that lie within the image."""
        shape, spacing_mm = self.synthesizer.config.shape, self.synthesizer.config.spacing_mm
        boxes = []
        for _ in range(sampler.integer(*self.config.holes)):
            x, y, z = (_interval(sampler, whole, self.config.hole_mm, spacing_mm) for whole in shape)
            boxes.append((x, y, z))
        return boxes


def _interval(sampler: Sampler, whole: int, length_mm: tuple[float, float], spacing_mm: float) -> slice:
    """Draw a part of an axis of so many voxels."""
    side = min(whole, max(1, round(sampler.uniform(length_mm) / spacing_mm)))
    start = sampler.integer(0, whole - side)
    return slice(start, start + side)


def joined(pairs: Sequence[PairBatch]) -> PairBatch:
    """Return pairs as one batch: all first views, then all second ones."""
    return PairBatch(
        torch.stack([pair.image for pair in pairs], dim=1).flatten(0, 1),
        torch.stack([pair.target for pair in pairs], dim=1).flatten(0, 1),
    )
