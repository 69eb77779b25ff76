"""Sessions of several sequences of one head, each on a grid of its own, in files with BIDS names."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from support.bright_network import centred_affine, phantom, rotation

LESION_MM = (9.0, -12.0, 5.0)
AXIAL, SAGITTAL = np.eye(3), np.array([[0, 0, -1], [-1, 0, 0], [0, 1, 0]])
GRIDS = {
    "T1w": ((38, 46, 40), rotation((0, 0, 0)) @ AXIAL @ np.diag([-1.8, 1.7, 1.5])),
    "T2w": ((42, 41, 20), rotation((-6, 4, 3)) @ AXIAL @ np.diag([1.5, 1.9, 3.1])),
    "FLAIR": ((34, 45, 18), rotation((11, 0, 4)) @ SAGITTAL @ np.diag([1.9, 1.6, 3.4])),
}
"""Shape, and axes in mm, of each sequence: unequal axes, oblique, in different orders and directions."""


def affine_of(suffix: str) -> np.ndarray:
    shape, axes = GRIDS[suffix]
    return centred_affine(axes, shape)


def lesion_of(suffix: str) -> np.ndarray:
    """The true lesion on the grid of a sequence."""
    return phantom(GRIDS[suffix][0], affine_of(suffix), LESION_MM)[1]


def write_session(
    folder: Path, name: str = "sub-01_ses-1", suffixes: tuple[str, ...] = tuple(GRIDS)
) -> list[Path]:
    """Write the sequences of a session; the lesion is the less bright, the later its name."""
    paths = []
    for number, suffix in enumerate(sorted(suffixes)):
        image, lesion = phantom(GRIDS[suffix][0], affine_of(suffix), LESION_MM)
        data = np.where(lesion, image.data - 35 * number, image.data).astype(np.float32)
        path = folder.joinpath(*name.split("_"), "anat", f"{name}_{suffix}.nii.gz")
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(data, affine_of(suffix)), path)
        paths.append(path)
    return paths
