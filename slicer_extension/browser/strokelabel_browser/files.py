"""Reading what is dropped on the page: NIfTI, other volumes, and folders of DICOM files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from StrokeLabelLib.errors import FileFormatError
from StrokeLabelLib.nifti import NiftiFiles
from StrokeLabelLib.volume import Volume

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


class PageFiles(NiftiFiles):
    """NIfTI by the library; NRRD, MetaImage and DICOM by SimpleITK."""

    def read(self, path: Path) -> Volume:
        """Read a file, or the largest series in a folder of DICOM files.

        Raises:
            FileFormatError: no 3-D image.
        """
        if path.name.lower().endswith((".nii", ".nii.gz")):
            return super().read(path)
        names = [str(path)] if path.is_file() else list(_largest_series(path))
        try:
            image = sitk.ReadImage(names if len(names) > 1 else names[0])
        except RuntimeError as error:
            raise FileFormatError(
                f"{path.name} cannot be read as an image; expected NIfTI (.nii, .nii.gz), NRRD, or a folder of DICOM "
                "files."
            ) from error
        return _volume(image, path.name)


def _largest_series(folder: Path) -> tuple[str, ...]:
    reader = sitk.ImageSeriesReader
    best: tuple[str, ...] = ()
    for place in [folder, *sorted(p for p in folder.rglob("*") if p.is_dir())]:
        for series in reader.GetGDCMSeriesIDs(str(place)) or ():
            names = reader.GetGDCMSeriesFileNames(str(place), series)
            best = names if len(names) > len(best) else best
    if not best:
        raise FileFormatError(f"{folder.name} holds no DICOM images; drop the folder of one series.")
    return best


def _volume(image: sitk.Image, name: str) -> Volume:
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise FileFormatError(
            f"{name} is not one gray 3-D image (found {image.GetDimension()} dimensions); split it first."
        )
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) @ np.diag(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return Volume(np.ascontiguousarray(sitk.GetArrayFromImage(image).T), LPS_TO_RAS @ affine)
