"""Settings of real training data: the part of a recipe that is about annotated scans.

"Paper" is Chalcroft et al. 2025 (SynthStroke), section 2: real images get random affine and elastic deformation, random
cropping, histogram shift, field inhomogeneity, gamma, flips and noise. Its histogram equalisation is left out, because
prediction does not equalise either. Rotation, shear, zoom and flips are those of `synthesis.deformation`, so that both
kinds of images turn by the same angles; the crop is `synthesis.shape`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from strokelabel.synthesis.config import Range


class RealAugmentationConfig(BaseModel):
    """Random changes of a real scan, each made with the same probability.

    Attributes:
        probability: of each change.
        elastic_sigma_voxels: smoothness of the elastic displacement, standard deviation of a Gaussian.
        elastic_magnitude_voxels: factor of the smoothed U(-1, 1) noise; with a smoothness of 6 voxels, 100 moves
            a voxel by about half a voxel (standard deviation per axis).
        histogram_control_points: points at which the histogram is moved up or down.
        bias_coefficients: Legendre coefficients of the logarithm of the receive field, degree 3.
        gamma: exponent of the intensities on [0, 1], uniform.
        noise_deviation: largest standard deviation of Gaussian noise on [0, 1].
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    probability: float = Field(default=0.8, ge=0, le=1)
    elastic_sigma_voxels: Range = (5.0, 7.0)
    elastic_magnitude_voxels: Range = (50.0, 150.0)
    histogram_control_points: int = Field(default=10, ge=3)
    bias_coefficients: Range = (0.0, 0.1)
    gamma: Range = (0.5, 4.5)
    noise_deviation: float = Field(default=0.1, ge=0)


class RealConfig(BaseModel):
    """Annotated scans of a recipe.

    Attributes:
        folder: BIDS data set (or folder) of scans with lesion masks; a shipped recipe leaves it to the command.
        masks: folder of the masks, if there are several in the data set.
        suffixes: BIDS suffixes of the scans to use, such as "T1w"; all if empty.
        fraction: of the items of the training stream that are real; 1 trains on real scans alone. The paper has
            419 real to 2579 synthetic images, 0.14.
        train: subjects to train on, names or patterns; if empty, the stable split decides.
        validation: subjects to validate on, likewise; both or none must be given.
        augmentation: random changes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path | None = None
    masks: Path | None = None
    suffixes: tuple[str, ...] = ()
    fraction: float = Field(default=1.0, gt=0, le=1)
    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    augmentation: RealAugmentationConfig = RealAugmentationConfig()

    @model_validator(mode="after")
    def _both_parts_or_none(self) -> Self:
        if bool(self.train) != bool(self.validation):
            raise ValueError("expected subjects for train and for validation, or for neither")
        return self


class PseudoLabelConfig(BaseModel):
    """Masks that a model drew on an unlabelled cohort, used as lesions of synthetic images.

    Attributes:
        folder: written by `strokelabel pseudo-label`; a shipped recipe leaves it to the command.
        gate: take only the masks that the command's quality gate accepted; without it, all that could be mapped to
            ICBM space. Masks that an annotator accepted or corrected are taken, rejected ones are not, in any case.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path | None = None
    gate: bool = True
