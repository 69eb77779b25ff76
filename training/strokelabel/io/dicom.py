"""Reading one DICOM series from a folder, with an affine computed from the slices themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from strokelabel.errors import DimensionError, UnreadableImageError
from strokelabel.io.checks import check_grid, check_shape
from strokelabel.io.dicom_mark import is_dicom_file
from strokelabel.io.dicom_slices import Slice, read_frames, read_slice, stack_affine
from strokelabel.types import Affine, Volume

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_NOT_IMAGES = {"SEG", "SR", "PR", "KO", "RTSTRUCT", "RWV", "REG"}
"""Modalities of objects about images, which may lie beside them."""


class DicomVolume(NamedTuple):
    """Data float32 (i, j, k), affine (4, 4) to RAS mm, and notes for the user."""

    data: Volume
    affine: Affine
    notes: tuple[str, ...]


class DicomStack(NamedTuple):
    """Slices of one series as a volume, before their pixels are read.

    Attributes:
        files: one file for each k, in that order; or the one multi-frame file.
        frames: the frame (from 0) of the multi-frame file for each k; None when each slice has a file of its own.
        shape: voxels along i, j and k.
        affine: (4, 4) voxel index to RAS mm.
        notes: what a user should know.
    """

    files: tuple[Path, ...]
    frames: tuple[int, ...] | None
    shape: tuple[int, int, int]
    affine: Affine
    notes: tuple[str, ...]


def read_dicom_series(folder: Path) -> DicomVolume:
    """Read the one DICOM series of a folder (its subfolders are not searched).

    Rescale slope and intercept are applied. The axes are i along a row's columns, j down the rows, k through
    the slices in the direction of the slice normal; a tilted gantry gives a sheared affine.

    Raises:
        UnreadableImageError: no series, several series, or missing and unevenly spaced slices.
        DimensionError: a single slice, several volumes in one series, or colour.
        HeaderError: impossible geometry.
    """
    stack = find_dicom_stack(folder)
    if stack.frames is None:
        series = sitk.ImageSeriesReader()
        series.SetFileNames([str(file) for file in stack.files])
        return DicomVolume(_pixels(series, folder), stack.affine, stack.notes)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(stack.files[0]))
    data = np.ascontiguousarray(_pixels(reader, folder)[:, :, list(stack.frames)])
    return DicomVolume(data, stack.affine, stack.notes)


def find_dicom_stack(folder: Path) -> DicomStack:
    """Find the slices of the one DICOM series of a folder and the grid they make, from their headers.

    Raises:
        UnreadableImageError, DimensionError, HeaderError: as `read_dicom_series`.
    """
    with _silent_itk():
        series = _series(folder)
    if not series:
        raise UnreadableImageError(
            "expected the DICOM files of one series, found no DICOM image; pass the folder that "
            "holds the files, or a NIfTI file.",
            source=folder,
        )
    if len(series) > 1:
        raise UnreadableImageError(
            f"expected the DICOM files of one series, found {len(series)}: {_list(series)}; "
            "move each series to a folder of its own and pass the one to segment.",
            source=folder,
        )
    slices = next(iter(series.values()))
    if len(slices) == 1:
        return _stack_of_frames(slices[0], folder)
    return _stack_of_files(slices, folder)


def _series(folder: Path) -> dict[str, list[Slice]]:
    """Return the slices by series instance, without objects that are not images."""
    found: dict[str, list[Slice]] = {}
    try:
        files = sorted(folder.iterdir())
    except OSError as error:
        raise UnreadableImageError(
            f"expected a readable folder, but {error.strerror}; check its permissions.", source=folder
        ) from error
    for file in files:
        if file.is_file() and is_dicom_file(file):
            slice_ = read_slice(file)
            if slice_ is not None and slice_.modality not in _NOT_IMAGES:
                found.setdefault(slice_.series, []).append(slice_)
    return found


def _list(series: dict[str, list[Slice]]) -> str:
    names = [f"{s[0].description or 'unnamed'} ({len(s)} files, series {uid})" for uid, s in series.items()]
    return "; ".join(names)


def _stack_of_files(slices: list[Slice], folder: Path) -> DicomStack:
    """Stack single-slice files as one volume."""
    if any(slice_.size[2] != 1 for slice_ in slices):
        raise DimensionError(
            f"expected one volume, found {len(slices)} multi-frame files in one series; "
            "choose one and move it to a folder of its own.",
            source=folder,
        )
    if len({slice_.size for slice_ in slices}) > 1:
        sizes = sorted({slice_.size[:2] for slice_ in slices})
        raise DimensionError(f"expected slices of one size, found {sizes}; remove the others.", source=folder)
    order, lps, notes = stack_affine(slices, str(folder))
    shape = (*slices[0].size[:2], len(slices))
    files = tuple(slices[number].path for number in order)
    return DicomStack(files, None, shape, _check(shape, lps, folder), notes)


def _stack_of_frames(file: Slice, folder: Path) -> DicomStack:
    """Read one multi-frame file; if its frames have no geometry, SimpleITK's is used."""
    check_shape(file.size, f"{folder} (one DICOM file)")
    frames = read_frames(file)
    if frames is None:
        order, lps, notes = list(range(file.size[2])), np.eye(4), tuple[str, ...]()
        lps[:3, :3] = file.directions * file.spacing
        lps[:3, 3] = file.origin
    else:
        order, lps, notes = stack_affine(frames, str(folder))
    return DicomStack((file.path,), tuple(order), file.size, _check(file.size, lps, folder), notes)


def _check(shape: tuple[int, ...], lps: Affine, folder: Path) -> Affine:
    """Return the RAS affine of a LPS one, after checking shape and affine."""
    with np.errstate(invalid="ignore"):  # infinities are reported by the check
        affine = _LPS_TO_RAS @ lps
    check_grid(check_shape(shape, str(folder)), affine, str(folder))
    return affine


def _pixels(reader: sitk.ImageFileReader | sitk.ImageSeriesReader, folder: Path) -> Volume:
    """Return the voxels as float32 (i, j, k); SimpleITK gives (k, j, i)."""
    reader.SetImageIO("GDCMImageIO")
    reader.SetOutputPixelType(sitk.sitkFloat32)
    try:
        with _silent_itk():
            image = reader.Execute()
    except RuntimeError as error:
        raise UnreadableImageError(
            f"expected readable DICOM files, but {_reason(error, folder)}; export the series again.",
            source=folder,
        ) from error
    return np.ascontiguousarray(sitk.GetArrayViewFromImage(image).transpose(2, 1, 0))


def _reason(error: RuntimeError, folder: Path) -> str:
    """Return the last line of what SimpleITK says, in which files go by their names alone."""
    return str(error).splitlines()[-1].replace(f"{folder}/", "")


@contextmanager
def _silent_itk() -> Iterator[None]:
    """Keep ITK from printing warnings: uneven slices and odd headers are judged here, with better messages."""
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)
