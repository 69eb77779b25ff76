"""Lesions of the bank, painted into real scans at their place in ICBM space, as a stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from strokelabel.errors import DataError
from strokelabel.fit.data.annotated_scans.stream import as_partial_batch
from strokelabel.fit.data.real_images.appearance import (
    Appearance,
    add_noise,
    expose,
    recolour,
    sample_appearance,
)
from strokelabel.fit.data.real_images.config import PaintedScanConfig, PaintingConfig
from strokelabel.fit.data.real_images.scans import SPACING_MM, PreparedScan
from strokelabel.fit.data.real_images.slices import box_mean, masked_mean
from strokelabel.fit.data.stream import Batch
from strokelabel.fit.data.synthetic_streams import stream_seed
from strokelabel.networks.normalization import normalize
from strokelabel.synthesis.anatomy.deformation import (
    DeformationParameters,
    head_coordinates,
    sample_deformation,
    sample_volume,
)
from strokelabel.synthesis.config import SynthesisConfig
from strokelabel.synthesis.lesions.bank import LesionBank
from strokelabel.synthesis.sampling import Sampler, on_device
from strokelabel.types import Affine

_TRIES = 4
_SIZE_POWER = 0.35
_SMALLEST_ML = 0.5
_BRIGHTEST = 1.2


@dataclass(frozen=True)
class PaintedLesion:
    """One lesion.

    Attributes:
        index: of the mask in the bank.
        mirror: whether it moves to the other hemisphere.
        shift_mm: in ICBM space.
        soften: whether its edge is averaged over 3 voxels.
        contrast: its mean minus the brain's, in standard deviations of the brain.
        texture: how much of what lay there shows through.
        opacity: weight of the lesion where its mask is 1.
    """

    index: int
    mirror: bool
    shift_mm: tuple[float, float, float]
    soften: bool
    contrast: float
    texture: float
    opacity: float


def sample_painting(
    sampler: Sampler, config: PaintingConfig, volumes_ml: NDArray[np.float64]
) -> tuple[PaintedLesion, ...]:
    """Draw the lesions of a scan; none in some.

    Args:
        sampler: source of randomness.
        config: ranges.
        volumes_ml: of the bank's masks.
    """
    if not sampler.flip(config.probability):
        return ()
    counts = list(config.count_weights)
    count = counts[sampler.choice([config.count_weights[c] for c in counts])]
    return tuple(_sample_lesion(sampler, config, volumes_ml) for _ in range(count))


def _sample_lesion(
    sampler: Sampler, config: PaintingConfig, volumes_ml: NDArray[np.float64]
) -> PaintedLesion:
    contrast = sampler.uniform(config.contrast)
    x, y, z = (sampler.uniform(config.shift_mm) for _ in range(3))
    return PaintedLesion(
        index=_draw_mask(sampler, config.preferred_ml, volumes_ml),
        mirror=sampler.flip(config.mirror_probability),
        shift_mm=(x, y, z),
        soften=sampler.flip(config.softening_probability),
        contrast=contrast if sampler.flip(0.5) else -contrast,
        texture=sampler.uniform(config.texture),
        opacity=sampler.uniform(config.opacity),
    )


def _draw_mask(sampler: Sampler, preferred_ml: float, volumes_ml: NDArray[np.float64]) -> int:
    """Draw a mask of the bank; large ones are often drawn again."""
    for _ in range(_TRIES):
        index = sampler.integer(0, len(volumes_ml) - 1)
        acceptance = (preferred_ml / max(float(volumes_ml[index]), _SMALLEST_ML)) ** _SIZE_POWER
        if sampler.flip(min(1.0, acceptance)):
            break
    return index


def paint(
    image: Tensor,
    inside: Tensor,
    lesions: tuple[PaintedLesion, ...],
    bank: LesionBank,
    coordinates_mm: Tensor,
    to_icbm: Affine,
) -> tuple[Tensor, Tensor]:
    """Paint lesions into a scan, one after another.

    Args:
        image: (x, y, z), brain tissue up to about 0.8.
        inside: (x, y, z) where lesions may lie, {0, 1}.
        lesions: see `sample_painting`.
        bank: lesion masks on the ICBM grid.
        coordinates_mm: (x, y, z, 3) position of each voxel in the scan.
        to_icbm: (4, 4) from there to ICBM mm.

    Returns:
        The image, and the lesions' masks together, soft, (x, y, z).
    """
    together = torch.zeros_like(image)
    for lesion in lesions:
        weight = place_mask(lesion, bank, coordinates_mm, to_icbm)
        weight = (box_mean(weight) if lesion.soften else weight) * inside
        together = torch.maximum(together, weight)
        mean = masked_mean(image, inside)
        deviation = masked_mean((image - mean).square(), inside).sqrt()
        own = (mean + lesion.contrast * deviation).clamp(0, _BRIGHTEST)
        weight = weight * lesion.opacity
        image = image * (1 - weight) + weight * (own + lesion.texture * (image - mean))
    return image, together


def place_mask(lesion: PaintedLesion, bank: LesionBank, coordinates_mm: Tensor, to_icbm: Affine) -> Tensor:
    """Return a mask of the bank on the grid of a scan, linear at its edge, (x, y, z).

    Args as `paint`.
    """
    device = coordinates_mm.device
    crop = F.pad(torch.from_numpy(bank.crop(lesion.index)).float(), (1,) * 6)
    move = np.eye(4)
    move[:3, 3] = -np.array(lesion.shift_mm)
    mirror = np.diag([-1.0 if lesion.mirror else 1.0, 1, 1, 1])
    to_crop = np.linalg.inv(bank.affine)
    to_crop[:3, 3] -= np.array(bank.offset(lesion.index)) - 1
    matrix = torch.from_numpy((to_crop @ mirror @ move @ to_icbm).astype(np.float32))
    return sample_volume(
        on_device(crop, device)[None, None],
        coordinates_mm[None],
        on_device(matrix[None, :3, :3].contiguous(), device),
        on_device(matrix[None, :3, 3].contiguous(), device),
    )[0, 0]


_ITEM = "painted scan"


@dataclass(frozen=True)
class PaintedScanParameters:
    """Parameters of one image.

    Attributes:
        scan: index of the scan.
        deformation: of the head.
        lesions: painted in; none where the scan has its own.
        strip: whether everything but the brain is removed.
        appearance: changes of intensities.
    """

    scan: int
    deformation: DeformationParameters
    lesions: tuple[PaintedLesion, ...]
    strip: bool
    appearance: Appearance


class PaintedScanStream:
    """An endless stream of real scans, deformed and recoloured, many of them with lesions painted in.

    Args:
        scans: at least one.
        bank: lesions to paint; those of the training part alone.
        config: see `PaintedScanConfig`.
        synthesis: voxels, voxel size and deformation, which are those of the synthetic images beside them.
        lesion: class index of the lesion.
        seed: decides every image.
        device: where images are computed.

    Raises:
        DataError: there are no scans.
    """

    def __init__(
        self,
        scans: Sequence[PreparedScan],
        bank: LesionBank,
        config: PaintedScanConfig,
        synthesis: SynthesisConfig,
        lesion: int,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        if not scans:
            raise DataError("expected prepared scans, found none; run `strokelabel prepare` with --scans")
        self.scans, self.bank, self.config, self.synthesis = tuple(scans), bank, config, synthesis
        self.lesion, self.seed = lesion, seed
        self.device = torch.device(device)
        self._volumes = [
            torch.stack([scan.image, scan.brain.to(torch.uint8) * 255, scan.lesion.to(torch.uint8) * 255]).to(
                self.device
            )
            for scan in scans
        ]

    def batch(self, step: int) -> Batch:
        """Return the batch of a step; a pure function of the step and the stream's seed."""
        first = step * self.config.count
        return self.items(range(first, first + self.config.count))

    def items(self, indices: Sequence[int]) -> Batch:
        """Return the items at these positions of the stream, as a batch; each depends on its own position alone."""
        made = [self.render(self.sample(index)) for index in indices]
        return as_partial_batch([image[None] for image, _ in made], [mask for _, mask in made], self.lesion)

    def sample(self, index: int) -> PaintedScanParameters:
        """Draw the item at a position."""
        sampler = Sampler(stream_seed(self.seed, index, _ITEM))
        scan = sampler.integer(0, len(self.scans) - 1)
        lesions = sample_painting(sampler, self.config.painting, self.bank.volumes_ml)
        return PaintedScanParameters(
            scan=scan,
            deformation=sample_deformation(
                sampler, self.synthesis.deformation, self.synthesis.field_of_view_mm
            ),
            lesions=() if self.scans[scan].has_lesion else lesions,
            strip=sampler.flip(self.config.strip_probability),
            appearance=sample_appearance(sampler, self.config.appearance, axes=3),
        )

    def render(self, parameters: PaintedScanParameters) -> tuple[Tensor, Tensor]:
        """Make an image.

        Returns:
            (x, y, z) float32, normalised as for prediction, and the lesion, (x, y, z) bool.
        """
        scan = self.scans[parameters.scan]
        coordinates = head_coordinates(
            [parameters.deformation],
            torch.zeros(1, 3, device=self.device),
            self.synthesis.shape,
            self.synthesis.spacing_mm,
        )
        image, brain, lesion = self._resample(self._volumes[parameters.scan], coordinates)
        if parameters.strip:
            image = image * (brain > 0.5)
        known = (lesion > 0.5).float() if scan.has_lesion else None
        image = recolour(image.clamp(0, 1), known, parameters.appearance.recolouring)
        # After recolouring, or a curve with few steps would hide what has just been painted.
        if parameters.lesions:
            inside = (_erode(brain) > 0.5).float()
            image, lesion = paint(image, inside, parameters.lesions, self.bank, coordinates[0], scan.to_icbm)
        image = add_noise(expose(image, parameters.appearance), parameters.appearance)
        return normalize(image[None, None])[0, 0], lesion > 0.5

    def _resample(self, volumes: Tensor, coordinates: Tensor) -> Tensor:
        """Return the image, brain and lesion (3, x, y, z) where the deformation takes them from, in [0, 1]."""
        sizes = torch.tensor(volumes.shape[1:], dtype=torch.float32)
        matrix = torch.eye(3)[None] / SPACING_MM
        offset = (sizes[None] - 1) / 2
        return sample_volume(
            volumes[None].float() / 255,
            coordinates,
            on_device(matrix, self.device),
            on_device(offset, self.device),
        )[0]


def _erode(volume: Tensor) -> Tensor:
    """Return the smallest value within one voxel, (x, y, z)."""
    return -F.max_pool3d(-volume[None, None], 3, 1, 1)[0, 0]
