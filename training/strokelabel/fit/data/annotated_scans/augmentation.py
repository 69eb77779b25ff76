"""Augmentation of real scans as in the SynthStroke paper: deformation first, crop after, then the intensities."""

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
    RandomizableTransform,
)
from torch import Tensor

from strokelabel.fit.data.annotated_scans.scans import RealAugmentationConfig
from strokelabel.geometry import CropBox
from strokelabel.networks.normalization import normalize
from strokelabel.synthesis.config import DeformationConfig, Range

_CONTEXT = 1.5
"""Sides of the box that is deformed over those of the crop that is kept, so that no border of it comes into view."""

_SEEDS = 2**32

_AIR = 1e-4

_BRIGHTEST = 0.999
_SAMPLES = 200_000
"""Largest number of voxels that the percentile is computed from."""

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
    """Return a box around a random crop, so much larger that the crop can be turned in it.

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
    """Return the voxels (1, x, y, z) inside the box, zero beyond the volume."""
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
    """Convert degrees to the radians that MONAI takes."""
    return math.radians(degrees[0]), math.radians(degrees[1])


def _around_zero(zoom: Range) -> Range:
    """Shift a range by the one that MONAI adds to its draws."""
    return zoom[0] - 1, zoom[1] - 1


def _triple(values: Sequence[int]) -> Triple:
    x, y, z = (int(value) for value in values)
    return x, y, z


_DEGREE = 3


class RandReceiveField(RandomizableTransform):
    """Multiply an image by the exponential of a random Legendre polynomial of degree 3 in x, y and z.

    Args:
        key: of the image (1, x, y, z) in the items.
        coefficients: range of the polynomial's coefficients, uniform.
        prob: how often a field is applied.
    """

    def __init__(self, key: str, coefficients: Range, prob: float) -> None:
        RandomizableTransform.__init__(self, prob)
        self.key = key
        self.coefficients = coefficients

    def __call__(self, item: Any) -> Any:  # noqa: ANN401 - MONAI's dictionaries
        """Multiply the item's image by a field."""
        self.randomize(None)
        if not self._do_transform:
            return item
        drawn = torch.zeros(_DEGREE + 1, _DEGREE + 1, _DEGREE + 1)
        for i, j, k in _terms():
            drawn[i, j, k] = self.R.uniform(*self.coefficients)
        image = item[self.key]
        return {**item, self.key: image * legendre_field(drawn, tuple(image.shape[1:]), image.device).exp()}


def legendre_field(coefficients: Tensor, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Return the sum over i, j, k of c[i, j, k] P_i(x) P_j(y) P_k(z), each axis running from -1 to 1.

    Args:
        coefficients: (n, n, n) float32.
        shape: voxels (x, y, z).
        device: of the result.

    Returns:
        (x, y, z) float32.
    """
    x, y, z = (_legendre(len(coefficients), size, device) for size in shape)
    field = torch.einsum("ijk,kz->ijz", coefficients.to(device), z)
    field = torch.einsum("ijz,jy->iyz", field, y)
    return torch.einsum("iyz,ix->xyz", field, x)


def _legendre(count: int, size: int, device: torch.device) -> Tensor:
    """Return the first Legendre polynomials along an axis, (count, size), by Bonnet's recursion."""
    position = torch.linspace(-1, 1, size, device=device)
    rows = [torch.ones_like(position), position]
    for n in range(1, count - 1):
        rows.append(((2 * n + 1) * position * rows[n] - n * rows[n - 1]) / (n + 1))
    return torch.stack(rows[:count])


def _terms() -> list[tuple[int, int, int]]:
    """Return the exponents of the terms up to the degree."""
    powers = range(_DEGREE + 1)
    return [(i, j, k) for i in powers for j in powers for k in powers if i + j + k <= _DEGREE]
