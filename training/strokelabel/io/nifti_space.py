"""Two transforms of a NIfTI header, sform and qform: whether to trust them, and where they differ."""

from __future__ import annotations

import nibabel as nib
import numpy as np

from strokelabel.errors import HeaderError
from strokelabel.geometry import Grid
from strokelabel.geometry.same_grid import corner_distance_mm, rounding_mm


def check_voxel_sizes(header: nib.Nifti1Header, source: str) -> None:
    """Refuse a header as it stands in the file whose affine would be built from voxel sizes of zero.

    nibabel would take 1 mm for them. With an sform, voxel sizes play no role.

    Raises:
        HeaderError: naming the sizes.
    """
    sizes = header["pixdim"][1:4]
    if header["sform_code"] <= 0 and not (np.isfinite(sizes).all() and sizes.all()):
        raise HeaderError(
            f"expected voxel sizes in mm (pixdim) as there is no sform, found {sizes.tolist()}; "
            "write the true sizes into the header, or convert the scan from DICOM again.",
            source=source,
        )


def orientation_notes(header: nib.Nifti1Header, shape: tuple[int, int, int]) -> tuple[str, ...]:
    """Return notes about the header's two transforms; empty when they agree.

    nibabel, and so StrokeLabel, takes the sform when its code is positive. ITK, and so 3D Slicer, takes it
    only when its code is 1 and otherwise prefers the qform.
    """
    sform_code, qform_code = int(header["sform_code"]), int(header["qform_code"])
    if sform_code <= 0 and qform_code <= 0:
        return ("neither sform nor qform is set: the orientation, left and right included, is only assumed",)
    if sform_code <= 0 or qform_code <= 0:
        return ()
    try:
        qform = header.get_qform()
        sform = Grid(shape, header.get_sform())
        distance = corner_distance_mm(sform, Grid(shape, qform))
    except (ValueError, HeaderError):
        return (f"the qform (code {qform_code}) is not a valid transform: the sform is used",)
    if distance <= rounding_mm(sform):
        return ()
    others = "as ITK and 3D Slicer do" if sform_code == 1 else "but ITK and 3D Slicer will use the qform"
    return (
        f"sform (code {sform_code}) and qform (code {qform_code}) disagree by up to {distance:.1f} mm at the "
        f"corners: the sform is used, {others}",
    )
