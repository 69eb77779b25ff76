"""A phantom scan stored in the ways that scans are stored."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from support.bright_network import centred_affine, phantom, rotation

REPOSITORY = Path(__file__).parents[2]

SHAPE = (30, 37, 26)
SPACING = np.diag([2.1, 1.9, 2.4])
LESION_MM = (9.0, -6.0, 4.0)


def stored_as(axes: str) -> np.ndarray:
    """The affine of an image with anisotropic voxels whose axes point to these directions."""
    directions = nib.orientations.inv_ornt_aff(nib.orientations.axcodes2ornt(axes), SHAPE)[:3, :3]
    return centred_affine(directions @ SPACING, SHAPE)


AFFINES = {axes: stored_as(axes) for axes in ("RAS", "LAS", "LPI", "LIA")}
AFFINES["oblique"] = centred_affine(rotation((11, -7, 5)) @ stored_as("PSL")[:3, :3], SHAPE)


def scan_and_lesion(affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scan (float32) and lesion (booleans), (i, j, k)."""
    image, lesion = phantom(SHAPE, affine, LESION_MM)
    return image.data, lesion


def beside_lesion(x: float, y: float, z: float) -> np.ndarray:
    """The point so many mm (RAS) from the middle of the lesion."""
    return np.add(LESION_MM, (x, y, z))
