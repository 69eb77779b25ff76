"""Two transforms of a NIfTI header, sform and qform: whether to trust them, and where they differ."""

from __future__ import annotations

import nibabel as nib
import numpy as np

from strokelabel.errors import HeaderError
from strokelabel.geometry import Grid
from strokelabel.geometry.same_grid import corner_distance_mm, rounding_mm
from strokelabel.io.checks import check_grid
from strokelabel.types import Affine

_ROUNDED_QUATERNION = 1e-3
"""Excess of a quaternion's squares over 1 up to which it is rounded; nibabel refuses it from 4e-7 on."""
_OTHER_VOLUME = 0.02
"""Part by which the voxel volumes of sform and pixdim may differ."""
_RIGHT_ANGLE = 0.01
"""Cosine below which an angle is a right one."""
_LARGEST_TILT = 0.51
"""Sine of a gantry's largest tilt, 30 degrees."""
_UNITS_IN_MM = {1: ("metres", 1000.0), 3: ("microns", 0.001)}
"""Unit and its length in mm, by the last three bits of xyzt_units; 2 is mm, 0 does not say."""


def repair_transforms(header: nib.Nifti1Header, shape: tuple[int, int, int]) -> tuple[str, ...]:
    """Repair a header where its meaning is beyond doubt: a rounded quaternion, and an invalid sform beside a good
    qform.

    Args:
        header: changed in place.
        shape: of the volume.

    Returns:
        A note for each repair.
    """
    return _repair_codes(header) + _repair_quaternion(header) + _repair_sform(header, shape)


def affine_in_mm(
    header: nib.Nifti1Header, affine: Affine, shape: tuple[int, int, int], source: str
) -> tuple[Affine, tuple[str, ...]]:
    """Return an affine in mm, whatever the header's unit is, and a note when it was another.

    Raises:
        HeaderError: its voxel sizes are impossible.
    """
    unit, factor = _UNITS_IN_MM.get(int(header["xyzt_units"]) & 7, ("", 1.0))
    in_mm = np.array(affine, dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # the check reports what is not finite
        in_mm[:3] *= factor
    try:
        check_grid(shape, in_mm, source)
    except HeaderError as error:
        if not unit:
            raise
        raise HeaderError(f"{error} The header says that its numbers are {unit} (xyzt_units).") from error
    return in_mm, (f"the header's unit is {unit}: sizes were converted to mm",) if unit else ()


def check_agreement(header: nib.Nifti1Header, source: str) -> None:
    """Refuse a header whose sform makes voxels of another size than its voxel sizes (pixdim) say.

    Either may be what was left behind when the image was resampled, and volumes depend on it. Voxel sizes that are
    no sizes (0, NaN) contradict nothing.

    Raises:
        HeaderError: with both sizes.
    """
    if header["sform_code"] <= 0:
        return
    said = np.abs(header["pixdim"][1:4].astype(np.float64))
    meant = np.linalg.norm(header.get_sform()[:3, :3], axis=0)
    if not (np.isfinite(said).all() and said.all()):
        return
    if abs(said.prod() - meant.prod()) > _OTHER_VOLUME * meant.prod():
        sizes = [" x ".join(f"{size:.4g}" for size in values) for values in (meant, said)]
        raise HeaderError(
            f"expected one voxel size, found {sizes[0]} in the sform and {sizes[1]} in pixdim; write the "
            "true sizes into both, or convert the scan from DICOM again.",
            source=source,
        )
    if header["qform_code"] > 0 and _is_sheared(header.get_sform()[:3, :3] / meant):
        raise HeaderError(
            "expected sform and qform with voxels of one size, found a sheared sform beside a qform, which cannot "
            "represent shear; set the code of the wrong one to 0, or convert the scan from DICOM again.",
            source=source,
        )


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
    if header["sform_code"] <= 0 < header["qform_code"] and header["pixdim"][0] not in (-1, 0, 1):
        raise HeaderError(
            f"expected 1 or -1 in pixdim[0], by which the qform tells left from right, found "
            f"{header['pixdim'][0]:g}; repair it, or convert the scan from DICOM again.",
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


def _is_sheared(directions: np.ndarray) -> bool:
    """Return whether unit axes (columns) are slanted so that voxels become smaller, and not by a tilted gantry.

    A gantry slants the slices (k) against one of the two axes within them. Converters write the qform without it.
    """
    if abs(np.linalg.det(directions)) > 1 - _OTHER_VOLUME:
        return False
    within, *through = (abs(float(directions[:, a] @ directions[:, b])) for a, b in ((0, 1), (0, 2), (1, 2)))
    is_tilt = max(within, min(through)) < _RIGHT_ANGLE and max(through) <= _LARGEST_TILT
    return not is_tilt


def _repair_codes(header: nib.Nifti1Header) -> tuple[str, ...]:
    """Keep a transform whose code is unknown: any code above 0 says that there is one (nifti1.h)."""
    notes = []
    for name in ("qform_code", "sform_code"):
        code = int(header[name])
        if code > 0 and code not in nib.nifti1.xform_codes.code:
            header[name] = nib.nifti1.xform_codes["aligned"]
            notes.append(f"header repaired: {name} {code} is unknown; the transform is used as it stands")
    return tuple(notes)


def _repair_quaternion(header: nib.Nifti1Header) -> tuple[str, ...]:
    names = ("quatern_b", "quatern_c", "quatern_d")
    values = np.array([float(header[name]) for name in names])
    excess = float(values @ values) - 1
    if header["qform_code"] <= 0 or not 0 < excess <= _ROUNDED_QUATERNION:
        return ()
    for name, value in zip(names, values / np.sqrt(1 + excess), strict=True):
        header[name] = value
    if excess <= 3 * np.finfo(np.float32).eps:  # nibabel takes it as it stands
        return ()
    return (f"header repaired: the qform's quaternion was longer than 1 by rounding ({excess / 2:.1g})",)


def _repair_sform(header: nib.Nifti1Header, shape: tuple[int, int, int]) -> tuple[str, ...]:
    code = int(header["sform_code"])
    if code <= 0 or header["qform_code"] <= 0 or _is_transform(header.get_sform(), shape):
        return ()
    try:
        usable = _is_transform(header.get_qform(), shape) and bool(header["pixdim"][1:4].all())
    except (ValueError, nib.spatialimages.HeaderDataError):
        usable = False
    if not usable:
        return ()
    header["sform_code"] = 0
    return (f"the sform (code {code}) is no transform (zero, singular or not finite): the qform is used",)


def _is_transform(affine: Affine, shape: tuple[int, int, int]) -> bool:
    try:
        return Grid(shape, affine) is not None
    except HeaderError:
        return False
