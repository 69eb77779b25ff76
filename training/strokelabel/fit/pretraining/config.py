"""Settings of pre-training: how two views of a subject differ, and the loss."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from strokelabel.synthesis.config import DeformationConfig
from strokelabel.synthesis.config_sections import Range, Section

Arm = Literal["base", "seq-augmented", "seq-invariant"]
"""Contrasts of the two views: the same fixed MPRAGE always, one random contrast for both, or two different ones."""


class PretrainingConfig(Section):
    """Settings of the pairs and of the loss.

    `synthesis` of the recipe makes the subjects: its deformation turns the prepared heads into other heads, its
    artefacts and skull-stripping are drawn for each view.
    """

    arm: Arm = "seq-invariant"
    deformation: DeformationConfig = DeformationConfig(
        rotation_degrees=(-10, 10),
        shear=(0, 0),
        zoom=(0.98, 1.02),
        translation_mm=(-6, 6),
        elastic_fraction=(0, 0.01),
        flip_probability=(0, 0, 0),
    )
    """Of each view by itself; milder than what tells subjects apart."""
    real_fraction: float = Field(0.0, ge=0, lt=1)
    """Share of subjects that are real scans (`strokelabel prepare --scans`), without labels, in their own contrast."""
    mirror_probability: float = Field(0.5, ge=0, le=1)
    """Probability that both views of a subject are mirrored, left and right."""
    holes: tuple[int, int] = (0, 5)
    """Boxes of each view that are zero, which the reconstruction fills (the paper's coarse dropout)."""
    hole_mm: Range = (10.0, 45.0)
    """Their sides."""
    reuse: int = Field(1, ge=1)
    """Uses of each pair: with other subjects, other holes, and mirrored or not."""
    pool: int = Field(64, ge=1)
    """Pairs that are used in turn, `reuse` times each, before new ones are made; they are kept in memory."""
    contrastive: Literal["nt-xent", "barlow-twins"] = "nt-xent"
    temperature: float = Field(0.5, gt=0)
    """Of NT-Xent."""
    redundancy_weight: float = Field(0.005, ge=0)
    """Weight of the correlations between different features, in Barlow twins."""
    reconstruction_weight: float = Field(1.0, ge=0)
    """Weight of the mean absolute difference from the view without artefacts; 0 leaves it out."""
