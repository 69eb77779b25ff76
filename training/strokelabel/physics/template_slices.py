"""Slices of the ICBM template's brain with a lesion, as fractions of tissues, for simulations within milliseconds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np
import torch
from PIL import Image as PILImage
from torch import Tensor

TISSUES = ("gray", "white", "csf", "lesion")
"""Order of the fractions."""

LESION_MM = (-32.0, -20.0, 26.0)
"""Centre of the lesion in ICBM space, in the white matter beside the patient's left ventricle; all slices show it."""


@dataclass(frozen=True, eq=False)
class TissueSlice:
    """One slice of a head as fractions of its tissues.

    Attributes:
        name: "axial", "coronal" or "sagittal".
        position: of the slice on its axis, ICBM mm.
        fractions: (tissue, row, column) in the order of `TISSUES`, 1 mm apart, in display order: rows from the top or
            the front down, columns from the patient's right, or from the front.
    """

    name: str
    position: float
    fractions: Tensor

    def signal(self, by_tissue: Tensor) -> Tensor:
        """Return the image (row, column) of tissues with these signals; signals add up where they share a voxel."""
        return torch.tensordot(by_tissue, self.fractions, dims=1)


@lru_cache(maxsize=1)
def template_slices() -> tuple[TissueSlice, ...]:
    """Return an axial, a coronal and a sagittal slice through the lesion.

    They are read from `template_slices.png`, which `training/docs/make_template_slices.py` makes.
    """
    with resources.files("strokelabel.physics").joinpath("template_slices.png").open("rb") as file:
        picture = PILImage.open(file)
        sizes = json.loads(picture.info["planes"])
        values = np.asarray(picture, dtype=np.float32) / 255
    rows = values.reshape(len(TISSUES), -1, values.shape[1])
    slices, left = [], 0
    for (name, (height, width)), position in zip(sizes.items(), LESION_MM[::-1], strict=True):
        fractions = np.ascontiguousarray(rows[:, :height, left : left + width])
        slices.append(TissueSlice(name, position, torch.from_numpy(fractions)))
        left += width
    return tuple(slices)
