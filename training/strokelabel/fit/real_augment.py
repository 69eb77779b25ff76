"""The paper's augmentation of real scans: deformed first, cropped after, then the intensities.

MONAI's transforms do the work; each is seeded for every item, so that an item is a pure function of its seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import (
    Compose,
    Rand3DElasticd,
    RandAdjustContrastd,
    RandFlipd,
    RandGaussianNoised,
    RandHistogramShiftd,
)
from torch import Tensor

from strokelabel.fit.real_bias import RandReceiveField
from strokelabel.fit.real_config import RealAugmentationConfig
from strokelabel.geometry import CropBox
from strokelabel.networks.normalization import normalize
from strokelabel.synthesis.config import DeformationConfig, Range

_CONTEXT = 1.5
"""Sides of the box that is deformed over those of the crop that is kept, so that no border of it comes into view."""

_SEEDS = 2**32

_AIR = 1e-4

_BRIGHTEST = 0.999
_SAMPLES = 200_000
"""The percentile comes from at most some such number of voxels."""

Triple = tuple[int, int, int]


class RealAugmentation:
    """Random deformation, crop and intensities of a real scan.

    Args:
        shape: voxels (x, y, z) of the crops.
        deformation: rotation, shear, zoom and flips.
        config: everything else.
        device: where the deformation is computed and the result lies.
    """

    def __init__(
        self,
        shape: Triple,
        deformation: DeformationConfig,
        config: RealAugmentationConfig,
        device: torch.device | str = "cpu",
    ) -> None:
        self.shape = shape
        self.device = torch.device(device)
        self._spatial = _spatial(shape, deformation, config, self.device)
        self._intensity = _intensity(config)
        self._flips = _flips(deformation)

    def __call__(self, image: Tensor, mask: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Augment one scan.

        Args:
            image: (x, y, z) float32, air zero.
            mask: (x, y, z) bool.
            seed: decides everything.

        Returns:
            (1, X, Y, Z) float32, normalised as for prediction, and (X, Y, Z) bool, of the crop's shape.
        """
        rng = np.random.default_rng(seed)
        box = context_box(_triple(image.shape), self.shape, rng)
        # MONAI computes where the image lies.
        item: Any = {
            "image": _cut(scale_to_one(image)[None], box).to(self.device),
            "label": _cut(mask[None].float(), box).to(self.device),
        }
        for transforms in (self._spatial, self._flips, self._intensity):
            transforms.set_random_state(seed=int(rng.integers(_SEEDS)))
            item = transforms(item)
        plain = torch.as_tensor(item["image"].as_tensor(), device=self.device)
        label = torch.as_tensor(item["label"].as_tensor(), device=self.device)
        # Interpolation leaves air not quite zero; normalisation would take it for tissue.
        return normalize(plain.masked_fill(plain < _AIR, 0.0)[None])[0], label[0] > 0.5


def scale_to_one(image: Tensor) -> Tensor:
    """Divide a scan by its 99.9th percentile, air left out, and cut what is brighter.

    Gamma, histogram shift and noise are made for intensities from 0 to 1; `normalize` would cut those brightest anyway.
    """
    tissue = image[image > 0]
    sample = tissue[:: max(1, len(tissue) // _SAMPLES)]
    brightest = float(torch.quantile(sample, _BRIGHTEST)) if len(sample) else 1.0
    return (image / brightest).clamp_max(1.0)


def context_box(full_shape: Triple, shape: Triple, rng: np.random.Generator) -> CropBox:
    """A box around a random crop, so much larger that the crop can be turned in it.

    Where the volume is larger than the crop, the crop lies anywhere inside it; where smaller, around its middle.

    Args:
        full_shape: of the volume.
        shape: of the crop; the middle of the box is the crop's.
        rng: draws the crop's place.
    """
    start, stop = [], []
    for size, side in zip(full_shape, shape, strict=True):
        first = int(rng.integers(0, size - side + 1)) if size > side else (size - side) // 2
        margin = math.ceil((_CONTEXT - 1) / 2 * side)
        start.append(first - margin)
        stop.append(first + side + margin)
    return CropBox(full_shape, _triple(start), _triple(stop))


def _cut(volume: Tensor, box: CropBox) -> Tensor:
    """(1, x, y, z) inside the box, zero beyond the volume."""
    return torch.from_numpy(box.crop(volume.numpy()))


def _spatial(
    shape: Triple, deformation: DeformationConfig, config: RealAugmentationConfig, device: torch.device
) -> Compose:
    elastic = Rand3DElasticd(
        keys=("image", "label"),
        sigma_range=config.elastic_sigma_voxels,
        magnitude_range=config.elastic_magnitude_voxels,
        spatial_size=shape,
        prob=config.probability,
        rotate_range=[_radians(deformation.rotation_degrees)] * 3,
        shear_range=[deformation.shear] * 6,
        scale_range=[_around_zero(deformation.zoom)] * 3,
        mode="bilinear",
        padding_mode="zeros",
        device=device,
    )
    return Compose([elastic])


def _flips(deformation: DeformationConfig) -> Compose:
    return Compose(
        [
            RandFlipd(keys=("image", "label"), prob=probability, spatial_axis=axis)
            for axis, probability in enumerate(deformation.flip_probability)
        ]
    )


def _intensity(config: RealAugmentationConfig) -> Compose:
    keys, prob = "image", config.probability
    changes: list[Any] = [
        RandHistogramShiftd(keys, num_control_points=config.histogram_control_points, prob=prob),
        RandReceiveField(keys, config.bias_coefficients, prob),
        RandAdjustContrastd(keys, gamma=config.gamma, prob=prob),
    ]
    if config.noise_deviation > 0:
        changes.append(RandGaussianNoised(keys, std=config.noise_deviation, prob=prob))
    return Compose(changes)


def _radians(degrees: Range) -> Range:
    """MONAI takes radians; a range of 15 meant as degrees would turn heads anywhere."""
    return math.radians(degrees[0]), math.radians(degrees[1])


def _around_zero(zoom: Range) -> Range:
    """MONAI adds one to what it draws."""
    return zoom[0] - 1, zoom[1] - 1


def _triple(values: Sequence[int]) -> Triple:
    x, y, z = (int(value) for value in values)
    return x, y, z
