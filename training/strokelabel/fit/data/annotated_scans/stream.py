"""Stream of annotated scans, and its settings in a recipe.

"Paper" is Chalcroft et al. 2025 (SynthStroke), section 2: real images get random affine and elastic deformation, random
cropping, histogram shift, field inhomogeneity, gamma, flips and noise. Its histogram equalisation is left out, because
prediction does not equalise either. Rotation, shear, zoom and flips are those of `synthesis.deformation`, so that both
kinds of images turn by the same angles; the crop is `synthesis.shape`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from strokelabel.errors import DataError
from strokelabel.fit.data.stream import Batch
from strokelabel.fit.data.synthetic_streams import stream_seed
from strokelabel.geometry import CropBox
from strokelabel.networks.normalization import normalize
from strokelabel.synthesis.config import Range

if TYPE_CHECKING:
    from strokelabel.fit.data.annotated_scans.augmentation import RealAugmentation
    from strokelabel.fit.data.annotated_scans.scans import RealScan


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


_ORDER, _CHANGES = "order", "augmentation"
"""Apart, so that the order of scans and their augmentation are not drawn with the same numbers."""


class RealStream:
    """An endless stream of augmented scans, each seen once before any is seen again.

    Args:
        scans: at least one.
        augmentation: random changes, and the crop.
        lesion: class index of the lesion; the rest is background.
        batch_size: items per batch.
        seed: decides order and augmentation.

    Raises:
        DataError: there are no scans.
    """

    def __init__(
        self,
        scans: Sequence[RealScan],
        augmentation: RealAugmentation,
        lesion: int,
        batch_size: int,
        seed: int,
    ) -> None:
        if not scans:
            raise DataError("expected at least one scan with a lesion mask to train on, got none")
        self.scans = tuple(scans)
        self.augmentation = augmentation
        self.lesion = lesion
        self.batch_size = batch_size
        self.seed = seed

    def batch(self, step: int) -> Batch:
        """Return the batch of a step; a pure function of the step and the stream's seed."""
        first = step * self.batch_size
        return self.items(range(first, first + self.batch_size))

    def items(self, indices: Sequence[int]) -> Batch:
        """Return the items at these positions of the stream, as a batch; each depends on its own position alone."""
        pairs = [self._item(index) for index in indices]
        return as_partial_batch([image for image, _ in pairs], [mask for _, mask in pairs], self.lesion)

    def scan(self, index: int) -> RealScan:
        """Return the scan at a position: every round through the scans has its own order."""
        turn, position = divmod(index, len(self.scans))
        generator = torch.Generator().manual_seed(stream_seed(self.seed, turn, _ORDER))
        order = torch.randperm(len(self.scans), generator=generator)
        return self.scans[int(order[position])]

    def _item(self, index: int) -> tuple[Tensor, Tensor]:
        image, mask = self.scan(index).load()
        return self.augmentation(image, mask, stream_seed(self.seed, index, _CHANGES))


class RealValidation:
    """Scans as they are, one to a batch, the whole head padded to what the network takes.

    Args:
        scans: which scans.
        multiple: sides become multiples of it, and at least twice it.
        lesion: class index of the lesion.
        device: where batches lie.
    """

    def __init__(
        self, scans: Sequence[RealScan], multiple: int, lesion: int, device: torch.device | str = "cpu"
    ) -> None:
        self.scans = tuple(scans)
        self.multiple = multiple
        self.lesion = lesion
        self.device = torch.device(device)

    def __len__(self) -> int:
        return len(self.scans)

    def batch(self, index: int) -> Batch:
        """Return the scan at this position, without augmentation."""
        image, mask = self.scans[index].load()
        x, y, z = (max(ceil(side / self.multiple), 2) * self.multiple for side in image.shape)
        box = _centred((x, y, z), image)
        padded = torch.from_numpy(box.crop(image.numpy())).to(self.device)
        label = torch.from_numpy(box.crop(mask.numpy())).to(self.device)
        return as_partial_batch([normalize(padded[None, None])[0]], [label], self.lesion)


def as_partial_batch(images: Sequence[Tensor], masks: Sequence[Tensor], lesion: int) -> Batch:
    """Return the scans as a batch in which only the lesion is known.

    Args:
        images: (1, x, y, z) each.
        masks: (x, y, z) bool each.
        lesion: class index of the lesion.
    """
    target = torch.stack([mask.to(torch.uint8) * lesion for mask in masks])
    return Batch(torch.stack(list(images)), target, torch.ones(len(images), dtype=torch.bool))


def _centred(shape: tuple[int, int, int], volume: Tensor) -> CropBox:
    x, y, z = (int(size) for size in volume.shape)
    start = tuple((size - side) // 2 for size, side in zip((x, y, z), shape, strict=True))
    stop = tuple(first + side for first, side in zip(start, shape, strict=True))
    return CropBox((x, y, z), (start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
