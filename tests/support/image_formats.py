"""The same scan in every format that is read, by writers that are not ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import nrrd
import numpy as np
import SimpleITK as sitk

from support.label_data import RAS_TO_LPS, write_nrrd


def write_nifti(path: Path, data: np.ndarray, affine: np.ndarray) -> Path:
    """One file."""
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


def write_pair(path: Path, data: np.ndarray, affine: np.ndarray) -> Path:
    """.hdr and .img."""
    nib.save(nib.Nifti1Pair(data, affine), path)
    return path


def write_freesurfer(path: Path, data: np.ndarray, affine: np.ndarray) -> Path:
    """.mgz or .mgh."""
    nib.save(nib.MGHImage(data, affine), path)
    return path


def write_itk(path: Path, data: np.ndarray, affine: np.ndarray, compressed: bool = True) -> Path:
    """Any format that SimpleITK writes; the axes must be perpendicular."""
    lps = RAS_TO_LPS @ affine[:3, :3]
    spacing = np.linalg.norm(lps, axis=0)
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.T))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps / spacing).ravel().tolist())
    image.SetOrigin((RAS_TO_LPS @ affine[:3, 3]).tolist())
    sitk.WriteImage(image, str(path), useCompression=compressed)
    return path


def write_detached_nrrd(path: Path, data: np.ndarray, affine: np.ndarray) -> Path:
    """.nhdr with its voxels in a .raw.gz, as pynrrd writes it."""
    directions = (RAS_TO_LPS @ affine[:3, :3]).T
    header: dict[str, Any] = {
        "space": "left-posterior-superior",
        "space directions": directions,
        "space origin": RAS_TO_LPS @ affine[:3, 3],
        "encoding": "gzip",
    }
    nrrd.write(str(path), data, header, detached_header=True, index_order="F")
    return path


WRITERS: dict[str, Callable[[Path, np.ndarray, np.ndarray], Path]] = {
    ".nii": write_nifti,
    ".nii.gz": write_nifti,
    ".nrrd": write_nrrd,
    ".nhdr": write_detached_nrrd,
    ".mha": write_itk,
    ".mhd": write_itk,
    ".mgz": write_freesurfer,
    ".mgh": write_freesurfer,
    ".hdr": write_pair,
    ".img": write_pair,
}
"""By ending."""


def rigid_affine(spacing: tuple[float, float, float] = (0.9, 1.3, 3.9)) -> np.ndarray:
    """Oblique, with perpendicular axes of unequal steps."""
    turned, _ = np.linalg.qr(np.random.default_rng(7).normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turned * np.array(spacing)
    affine[:3, 3] = (31.5, -12.25, 40)
    return affine
