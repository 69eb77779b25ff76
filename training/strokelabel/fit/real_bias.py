"""A random receive field for real scans, computed where the image lies.

MONAI's `RandBiasField` draws the same field but evaluates it with numpy, which costs more than the whole rest of an
item's augmentation on a GPU.
"""

from __future__ import annotations

from typing import Any

import torch
from monai.transforms import RandomizableTransform
from torch import Tensor

from strokelabel.synthesis.config import Range

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
        """The item with its image multiplied by a field."""
        self.randomize(None)
        if not self._do_transform:
            return item
        drawn = torch.zeros(_DEGREE + 1, _DEGREE + 1, _DEGREE + 1)
        for i, j, k in _terms():
            drawn[i, j, k] = self.R.uniform(*self.coefficients)
        image = item[self.key]
        return {**item, self.key: image * legendre_field(drawn, tuple(image.shape[1:]), image.device).exp()}


def legendre_field(coefficients: Tensor, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """The sum over i, j, k of c[i, j, k] P_i(x) P_j(y) P_k(z), each axis running from -1 to 1.

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
    """The first Legendre polynomials along an axis, (count, size), by Bonnet's recursion."""
    position = torch.linspace(-1, 1, size, device=device)
    rows = [torch.ones_like(position), position]
    for n in range(1, count - 1):
        rows.append(((2 * n + 1) * position * rows[n] - n * rows[n - 1]) / (n + 1))
    return torch.stack(rows[:count])


def _terms() -> list[tuple[int, int, int]]:
    """Exponents of the terms up to the degree."""
    powers = range(_DEGREE + 1)
    return [(i, j, k) for i in powers for j in powers for k in powers if i + j + k <= _DEGREE]
