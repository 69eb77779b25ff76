"""Real scans with lesions painted in: a training stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from strokelabel.errors import DataError
from strokelabel.fit.data.annotated_scans.stream import as_partial_batch
from strokelabel.fit.data.real_images.appearance import Appearance, add_noise, expose, sample_appearance
from strokelabel.fit.data.real_images.config import PaintedScanConfig
from strokelabel.fit.data.real_images.painting import PaintedLesion, paint, sample_painting
from strokelabel.fit.data.real_images.recolouring import recolour
from strokelabel.fit.data.real_images.scans import SPACING_MM, PreparedScan
from strokelabel.fit.data.stream import Batch
from strokelabel.fit.data.synthetic_stream import stream_seed
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
