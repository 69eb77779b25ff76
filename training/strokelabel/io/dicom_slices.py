"""Slices of a DICOM series: their positions, and the grid that they form."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from strokelabel.errors import DimensionError, UnreadableImageError
from strokelabel.io.dicom_header import announces_an_image, frame_geometry
from strokelabel.types import Affine

_SERIES_UID, _DESCRIPTION, _MODALITY = "0020|000e", "0008|103e", "0008|0060"
_SAME_PLACE_MM = 1e-2
_UNEVEN_NOTE = 0.02
"""Deviation from even spacing, as a part of it, above which a note is made."""
_UNEVEN_ERROR = 0.2
"""Deviation from even spacing, as a part of it, above which slices count as missing."""


@dataclass(frozen=True)
class Slice:
    """Header of one DICOM file.

    Attributes:
        path: the file.
        series, description, modality: identification.
        size: columns, rows, frames.
        spacing: mm between columns, rows, frames.
        origin: LPS position in mm of the first pixel's centre.
        directions: (3, 3), columns are the LPS directions of the three axes.
    """

    path: Path
    series: str
    description: str
    modality: str
    size: tuple[int, int, int]
    spacing: np.ndarray
    origin: np.ndarray
    directions: np.ndarray


def read_slice(path: Path) -> Slice | None:
    """Read a DICOM file's header; None when it holds no image (a report, a directory).

    Raises:
        DimensionError: colour pixels.
        UnreadableImageError: an image that is truncated or corrupt.
    """
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO("GDCMImageIO")
    try:
        reader.ReadImageInformation()
    except (RuntimeError, MemoryError) as error:
        if not announces_an_image(path):
            return None
        raise UnreadableImageError(
            f"expected readable DICOM images, found {path.name} truncated or corrupt; export the series again.",
            source=path.parent,
        ) from error
    if reader.GetNumberOfComponents() != 1:
        raise DimensionError(
            f"expected gray values, found colour (RGB) in {path.name}; pass the original series.",
            source=path.parent,
        )
    size = (*reader.GetSize(), 1)[:3]
    return Slice(
        path=path,
        series=_text(reader, _SERIES_UID) or "without identifier",
        description=_text(reader, _DESCRIPTION),
        modality=_text(reader, _MODALITY),
        size=(size[0], size[1], size[2]),
        spacing=np.array((*reader.GetSpacing(), 1.0)[:3]),
        origin=np.array((*reader.GetOrigin(), 0.0)[:3]),
        directions=np.array(reader.GetDirection()).reshape(len(reader.GetSize()), -1)[:3, :3],
    )


def read_frames(file: Slice) -> list[Slice] | None:
    """Return the position of each frame of an enhanced multi-frame file, in the order of the file; None if it is not
    given.

    Raises:
        UnreadableImageError: the positions are corrupt.
    """
    frames = frame_geometry(file.path)
    if frames is None or len(frames) != file.size[2]:
        return None
    return [
        replace(file, origin=frame.origin, directions=frame.directions, spacing=frame.spacing)
        for frame in frames
    ]


def stack_affine(slices: list[Slice], source: str) -> tuple[list[int], Affine, tuple[str, ...]]:
    """Order slices along their normal and find their grid.

    Returns:
        The slices' numbers in order, the (4, 4) voxel index to LPS mm affine, and notes for the user.

    Raises:
        DimensionError: slices of different angles, or several slices at one place (a time series).
        UnreadableImageError: missing or unevenly spaced slices.
    """
    directions = slices[0].directions
    if any(not np.allclose(s.directions, directions, atol=1e-3) for s in slices):
        raise DimensionError(
            "expected parallel slices, found several angles (a localizer?); pass one stack.", source=source
        )
    if any(not np.allclose(s.spacing[:2], slices[0].spacing[:2], rtol=1e-3) for s in slices):
        raise DimensionError(
            "expected one pixel size, found several; remove the slices that differ.", source=source
        )
    origins = np.array([s.origin for s in slices])
    order = np.argsort(origins @ directions[:, 2], kind="stable")
    origins = origins[order]
    notes = _check_even(origins, source)
    affine = np.eye(4)
    affine[:3, :2] = directions[:, :2] * slices[0].spacing[:2]
    affine[:3, 2] = (origins[-1] - origins[0]) / (len(origins) - 1)
    affine[:3, 3] = origins[0]
    return order.tolist(), affine, notes


def _check_even(origins: np.ndarray, source: str) -> tuple[str, ...]:
    steps = np.linalg.norm(np.diff(origins, axis=0), axis=1)
    if steps.min() < _SAME_PLACE_MM:
        places = 1 + int((steps >= _SAME_PLACE_MM).sum())
        raise DimensionError(
            f"expected one volume, found {len(origins)} slices at {places} places (a time series, "
            "several b-values or echoes); keep one volume's files in the folder.",
            source=source,
        )
    usual = float(np.median(steps))
    worst = float(np.abs(steps - usual).max())
    if worst > _UNEVEN_ERROR * usual:
        after = int(np.abs(steps - usual).argmax())
        raise UnreadableImageError(
            f"expected evenly spaced slices, {usual:.2f} mm apart, found {steps[after]:.2f} mm "
            f"between slices {after + 1} and {after + 2} of {len(origins)}, as if some were missing; "
            "export the whole series again.",
            source=source,
        )
    if worst > _UNEVEN_NOTE * usual:
        return (f"slices are unevenly spaced by up to {worst:.2f} mm; the mean spacing is used",)
    return ()


def _text(reader: sitk.ImageFileReader, key: str) -> str:
    return reader.GetMetaData(key).strip() if reader.HasMetaDataKey(key) else ""
