"""Array aliases that carry shapes.

Axis order is i, j, k of the image's own grid for numpy arrays read from files, and right-anterior-superior
(x to the right, y to the front, z to the top) once an image is canonical. Tensors are batch, channel, x, y, z.
All but paths are for type checkers alone: neither NumPy nor torch is imported for them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Bool, Float, Integer, UInt8
    from torch import Tensor

Affine: TypeAlias = "Float[np.ndarray, '4 4']"
"""Voxel index (i, j, k, 1) to world coordinates in mm, RAS+ (as nibabel)."""

Volume: TypeAlias = "Float[np.ndarray, 'i j k']"
ChannelVolume: TypeAlias = "Float[np.ndarray, 'channels i j k']"
Mask: TypeAlias = "Bool[np.ndarray, 'i j k']"
LabelVolume: TypeAlias = "UInt8[np.ndarray, 'i j k']"
PathLike: TypeAlias = str | Path

ImageBatch: TypeAlias = "Float[Tensor, 'batch 1 x y z']"
LogitsBatch: TypeAlias = "Float[Tensor, 'batch classes x y z']"
ClassBatch: TypeAlias = "Integer[Tensor, 'batch x y z']"
MaskBatch: TypeAlias = "Bool[Tensor, 'batch x y z']"
ChannelBatch: TypeAlias = "Float[Tensor, 'batch channels x y z']"
MapsBatch: TypeAlias = "Float[Tensor, 'batch maps x y z']"
"""Quantitative maps, or images of several kinds, of each item."""

ItemValues: TypeAlias = "Float[Tensor, ' batch']"
"""One number for each item of a batch."""

Scalar: TypeAlias = "Float[Tensor, '']"
