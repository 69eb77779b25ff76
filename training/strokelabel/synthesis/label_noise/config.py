"""Settings of the errors in label maps."""

from __future__ import annotations

from pydantic import Field

from strokelabel.synthesis.config_sections import Range, Section


class LabelNoiseConfig(Section):
    """Errors of label maps.

    The sides of the cubes, 9 to 21 mm at 3 mm, are about those of Karani et al. 2021 within a slice (2 to 15 mm).
    There, up to 200 of up to 21 x 21 x 21 voxels fall on 4 million voxels of 0.7 x 0.7 x 2.8 mm; the same numbers on
    the 226 thousand voxels of a head at 3 mm would replace three quarters of it by cubes as large as a lobe, whose
    inside looks right. Smaller and more of them lie in mostly right surroundings, from which a network learns.
    """

    variations: int = Field(1, ge=1)
    """Label maps with different errors of each anatomy in training; saves time in batches of several, since the anatomy
    takes most of it.
    """
    correct_probability: float = Field(0.15, ge=0, le=1)
    """Share of label maps without errors, so that correct ones are left as they are."""
    hard_probability: float = Field(0.5, ge=0, le=1)
    """Share of label maps with the most likely class alone in every voxel; the others have partial volumes."""
    jigsaw_probability: float = Field(0.8, ge=0, le=1)
    """Share of the label maps with errors in which cubes are replaced."""
    cubes: tuple[int, int] = (200, 4000)
    """Number of cubes."""
    half_side_voxels: tuple[int, int] = (1, 2)
    """Half the side of a cube, the voxel in its middle left out."""
    dropped_probability: float = Field(0.15, ge=0, le=1)
    """Probability that a lesion is missing."""
    moved_probability: float = Field(0.15, ge=0, le=1)
    """Probability that a lesion that is there lies at another place."""
    moved_mm: Range = (5.0, 40.0)
    """Distance by which it is moved, in a random direction."""
    resized_probability: float = Field(0.3, ge=0, le=1)
    """Probability that a lesion that is not moved is too large, or as often too small."""
    resized_mm: tuple[int, int] = (1, 5)
    """By how much, on each side."""
    invented_probability: float = Field(0.4, ge=0, le=1)
    """Share of the label maps with errors that have lesions where there are none."""
    invented_count: tuple[int, int] = (1, 6)
    """Number of invented lesions."""
    invented_ml: Range = (0.1, 40.0)
    """Volume of an invented lesion; its logarithm is uniform."""
