"""Files of scans, by Slicer's own readers: what is uploaded need not be NIfTI."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer

from ..errors import FileFormatError
from ..nifti import SUFFIXES, NiftiFiles
from ..volume import Volume
from .volumes import add_volume, volume_of

UNEVEN_MM = 0.05
"""Largest distance of a slice from its place with even spacing."""


class MrmlFiles:
    """Reader of NIfTI, NRRD, MetaImage and DICOM series; writer of all formats of Slicer.

    NIfTI is read by `NiftiFiles`: where the sform's code is not 1, Slicer prefers the qform, which would put a scan
    elsewhere than on the server.
    """

    def read(self, path: Path) -> Volume:
        """Read a file, or a folder with one DICOM series.

        Raises:
            FileFormatError: no single 3-D volume.
        """
        if path.name.lower().endswith(SUFFIXES):
            return NiftiFiles().read(path)
        if path.is_dir():
            return _read_series(path)
        volume = _read_one(path)
        if volume is None:
            raise FileFormatError(f"{path.name}: expected a 3-D image that Slicer can read, found none.")
        if min(volume.data.shape) < 2:
            raise FileFormatError(
                f"{path.name}: expected several slices, found one; choose the series' folder."
            )
        return volume

    def write(self, path: Path, volume: Volume) -> None:
        """Write a file in the format that its suffix names, atomically.

        Raises:
            FileFormatError: it cannot be written.
        """
        scene = slicer.vtkMRMLScene()
        node = add_volume(scene, volume, path.name)
        storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
        stem, _, suffix = path.name.partition(".")
        temporary = path.with_name(f".{stem}-part.{suffix}")
        storage.SetFileName(str(temporary))
        if not storage.WriteData(node):
            temporary.unlink(missing_ok=True)
            raise FileFormatError(f"{path.name} could not be written; check the folder, and the suffix.")
        temporary.replace(path)


def _read_one(path: Path) -> Volume | None:
    """Read a single file; None if Slicer cannot read it."""
    scene, node = slicer.vtkMRMLScene(), slicer.vtkMRMLScalarVolumeNode()
    scene.AddNode(node)
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(path))
    storage.SetSingleFile(1)
    if not storage.ReadData(node) or node.GetImageData() is None:
        return None
    return volume_of(node)


def _read_series(folder: Path) -> Volume:
    """Read the DICOM series in a folder, its slices ordered by position: file names and numbers do not matter."""
    files = sorted(f for f in folder.rglob("*") if f.is_file() and not f.name.startswith("."))
    if not files:
        raise FileFormatError(f"{folder.name}: expected a folder with a DICOM series, found no file.")
    slices = [volume for file in files if file.name != "DICOMDIR" and (volume := _read_one(file)) is not None]
    if len(slices) == 1 and min(slices[0].data.shape) > 1:
        return slices[0]  # a multi-frame file
    if len(slices) < 2:
        raise FileFormatError(
            f"{folder.name}: expected a DICOM series of several slices, found {len(slices)}."
        )
    return _stacked(slices, folder.name)


def _stacked(slices: list[Volume], name: str) -> Volume:
    first = slices[0]
    for other in slices:
        if other.data.shape != first.data.shape or not np.allclose(
            other.affine[:3, :2], first.affine[:3, :2], atol=1e-3
        ):
            raise FileFormatError(
                f"{name}: expected the slices of one series, found several; choose one series."
            )
    normal = first.affine[:3, 2] / np.linalg.norm(first.affine[:3, 2])
    ordered = sorted(slices, key=lambda s: float(normal @ s.affine[:3, 3]))
    origins = np.array([s.affine[:3, 3] for s in ordered])
    step = (origins[-1] - origins[0]) / (len(ordered) - 1)
    if np.linalg.norm(step) < UNEVEN_MM:
        raise FileFormatError(
            f"{name}: expected slices at different places, found several images at one place."
        )
    expected = origins[0] + np.arange(len(ordered))[:, None] * step
    worst = float(np.linalg.norm(origins - expected, axis=1).max())
    if worst > UNEVEN_MM:
        raise FileFormatError(
            f"{name}: expected evenly spaced slices, found one {worst:.2f} mm off; a slice is missing or duplicated."
        )
    affine = first.affine.copy()
    affine[:3, 2], affine[:3, 3] = step, origins[0]
    return Volume(np.concatenate([s.data for s in ordered], axis=2), affine)
