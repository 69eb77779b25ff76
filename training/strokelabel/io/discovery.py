"""Finding the scans that a user means by files, folders and patterns."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from strokelabel.io.dicom_mark import is_dicom_file
from strokelabel.io.nifti import is_nifti_name


def find_images(inputs: Sequence[str | Path]) -> list[Path]:
    """List the images that inputs stand for, each once, in the order given and sorted within a folder.

    Args:
        inputs: files; folders, searched recursively for NIfTI files and for folders that hold DICOM files
            (such a folder is one image; one of several series is an image for each, named by its first file);
            patterns with `*`, `?`, `[...]` or `**`. Hidden files and folders are passed over. A DICOM file stands
            for its series.

    Returns:
        Paths for `read_image`. An input that stands for nothing is returned as it is, so that reading it says
        what is wrong while the other images are still processed.
    """
    found: dict[str, Path] = {}
    for item in inputs:
        for path in _matches(item):
            images = list(_images_in(path)) if path.is_dir() else [path]
            for image in images or [path]:
                found.setdefault(_identity(image), image)
    return list(found.values())


def _matches(item: str | Path) -> list[Path]:
    """The paths of a pattern; a path that exists is itself, even with brackets in its name."""
    path = Path(item).expanduser()
    if path.exists() or not glob.has_magic(str(path)):
        return [path]
    matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207
    images = [match for match in matches if match.is_dir() or is_nifti_name(match) or _is_dicom_image(match)]
    return images or [path]


def _identity(image: Path) -> str:
    """A text that is the same for two paths to one image."""
    if image.is_dir() or is_nifti_name(image) or not is_dicom_file(image):
        return str(image.resolve())
    from strokelabel.io.dicom_series import series_key  # as below

    return series_key(image)


def _images_in(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files = [Path(root) / name for name in sorted(names) if not name.startswith(".")]
        yield from (file for file in files if is_nifti_name(file))
        dicom = [file for file in files if not is_nifti_name(file) and _is_dicom_image(file)]
        if dicom:
            from strokelabel.io.dicom_series import dicom_images  # as below

            yield from dicom_images(dicom)


def _is_dicom_image(path: Path) -> bool:
    """Whether a file is a DICOM image; results of earlier runs (SEG), reports and the like are none."""
    if not is_dicom_file(path):
        return False
    from strokelabel.io.dicom_header import announces_an_image  # pydicom is only needed where DICOM is

    return announces_an_image(path)
