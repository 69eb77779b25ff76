"""The two transforms of a NIfTI header, sform and qform: when they disagree, and where they stand."""

from __future__ import annotations

import nibabel as nib
import numpy as np

DISAGREEMENT_MM = 0.1
"""Distance between a corner's two positions above which sform and qform count as different."""


def orientation_notes(header: nib.Nifti1Header, shape: tuple[int, int, int]) -> tuple[str, ...]:
    """What a user should know about the header's two transforms; empty when they agree.

    nibabel, and so StrokeLabel, takes the sform when its code is positive. ITK, and so 3D Slicer, takes it only
    when its code is 1 and otherwise prefers the qform.
    """
    sform_code, qform_code = int(header["sform_code"]), int(header["qform_code"])
    if sform_code <= 0 and qform_code <= 0:
        return ("neither sform nor qform is set: the orientation, left and right included, is only assumed",)
    if sform_code <= 0 or qform_code <= 0:
        return ()
    distance = corner_distance_mm(header.get_sform(), header.get_qform(), shape)
    if distance <= DISAGREEMENT_MM:
        return ()
    return (
        f"sform (code {sform_code}) and qform (code {qform_code}) disagree by up to {distance:.1f} mm at the corners: "
        "the sform is used, as nibabel does; ITK and 3D Slicer may use the qform",
    )


def corner_distance_mm(first: np.ndarray, second: np.ndarray, shape: tuple[int, int, int]) -> float:
    """Largest distance in mm between the positions that two affines give to the corners of a volume."""
    indices = np.stack(np.meshgrid(*[(0, size - 1) for size in shape], indexing="ij"), axis=-1).reshape(-1, 3)
    homogeneous = np.c_[indices, np.ones(len(indices))]
    difference = homogeneous @ (np.asarray(first) - np.asarray(second)).T
    return float(np.linalg.norm(difference[:, :3], axis=1).max())
