"""Real validation set as a BIDS data set with lesion masks."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from strokelabel.io import Image, atomic_path, atomic_write_json, atomic_write_text, read_image, write_nifti
from strokelabel.io.bids import dataset_description, derivative_name, session_folders
from strokelabel.io.slice_files import PLANES, SliceFile, View, read_slices
from strokelabel.reports.evaluation.slabs import SLAB_MM
from strokelabel.reports.real_validation.material import (
    RealGroup,
    RealScan,
    find_scans,
    find_slice_files,
)

MASKS: Final = Path("derivatives/lesion_masks")
CASES: Final = MASKS / "cases.tsv"
"""A table of all cases with their groups, for `strokelabel evaluate --pairs`."""

_NAME = "Real validation set of StrokeLabel"
_MADE_BY = "strokelabel validate --real"
_FORMAT: Final = 1
"""Raised when the same material would be written differently."""

_MNI_ORIGIN_MM: Final[dict[View, tuple[float, float, float]]] = {
    "axial": (-78.0, -112.0, 18.0),
    "coronal": (-78.0, -18.0, -50.0),
    "sagittal": (-39.0, -112.0, -50.0),
}
"""First pixel of a slice in MNI space: x to the right, y to the front, z to the top."""


@dataclass(frozen=True)
class _Row:
    """A case of the table, its paths relative to the data set."""

    image: Path
    reference: Path
    group: RealGroup


def write_real_validation(material: Path, folder: Path) -> Path:
    """Write the set, unless it is there already.

    A slice becomes a slab: it is repeated along its normal to `SLAB_MM`. A scan without a lesion gets an empty mask.

    Args:
        material: in the layout that `material` documents.
        folder: receives a BIDS data set.

    Returns:
        The table of its cases.

    Raises:
        DataError, ImageError: the material is incomplete or damaged.
        OutputError: a file cannot be written.
    """
    slice_files, scans = find_slice_files(material), find_scans(material)
    sources = [path for _, path in slice_files]
    sources += [path for scan in scans for path in (scan.image, scan.mask) if path is not None]
    digest = _digest(material, sources)
    if _digest_of(folder) != digest:
        rows = [row for group, path in slice_files for row in _write_slices(read_slices(path), group, folder)]
        rows += [_write_scan(scan, folder) for scan in scans]
        atomic_write_text(folder / CASES, _table(rows))
        atomic_write_json(folder / MASKS / "dataset_description.json", dataset_description(_NAME, _MADE_BY))
        atomic_write_json(
            folder / "dataset_description.json",
            dataset_description(_NAME, _MADE_BY, kind="raw", MaterialDigest=digest),
        )
    return folder / CASES


def _digest(material: Path, sources: list[Path]) -> str:
    """Return the digest of the names and sizes of the files, and of the format."""
    known = [(str(path.relative_to(material)), path.stat().st_size) for path in sources]
    return hashlib.sha256(json.dumps([_FORMAT, SLAB_MM, known]).encode()).hexdigest()[:16]


def _digest_of(folder: Path) -> str | None:
    try:
        content = json.loads((folder / "dataset_description.json").read_text(encoding="utf-8"))
        return str(content["MaterialDigest"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_slices(slices: SliceFile, group: RealGroup, folder: Path) -> Iterator[_Row]:
    for subject, picture, lesion in zip(slices.subject, slices.image, slices.lesion, strict=True):
        slab = slab_of_slice(picture, slices.view)
        row = _row(f"sub-soop{subject:04d}_acq-{slices.view}slab_FLAIR", group)
        write_nifti(folder / row.image, slab.data, slab, np.uint8, "a real slice, repeated")
        mask = slab_of_slice(lesion.astype(np.uint8), slices.view)
        write_nifti(folder / row.reference, mask.data, slab, np.uint8)
        yield row


def slab_of_slice(picture: np.ndarray, view: View) -> Image:
    """Place a slice of 1 mm in MNI space, repeated along its normal to `SLAB_MM`.

    Args:
        picture: (rows, columns), along `PLANES[view]`.
        view: its plane.

    Returns:
        Axes x, y, z to the right, front and top.
    """
    normal = next(axis for axis in range(3) if axis not in PLANES[view])
    count = round(SLAB_MM)
    affine = np.eye(4)
    affine[:3, 3] = _MNI_ORIGIN_MM[view]
    affine[normal, 3] -= (count - 1) / 2
    data = np.repeat(np.expand_dims(picture, normal), count, axis=normal)
    return Image(data, affine, source=f"{view} slice")


def _write_scan(scan: RealScan, folder: Path) -> _Row:
    row = _row(scan.stem, scan.group)
    _copy(scan.image, folder / row.image)
    if scan.mask is not None:
        _copy(scan.mask, folder / row.reference)
        return row
    image = read_image(scan.image)
    write_nifti(folder / row.reference, np.zeros(image.data.shape, np.uint8), image, np.uint8, "no lesion")
    return row


def _copy(source: Path, target: Path) -> None:
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


def _row(stem: str, group: RealGroup) -> _Row:
    """Return the places of a scan and its mask, by the scan's BIDS name."""
    parts = session_folders(stem)
    parts.append("dwi" if stem.endswith(("_dwi", "_adc")) else "anat")
    place = Path(*parts)
    mask = derivative_name(stem, "mask.nii.gz", "lesion", label="L")
    return _Row(place / f"{stem}.nii.gz", MASKS / place / mask, group)


def _table(rows: list[_Row]) -> str:
    """Return tab-separated rows; paths are relative to the table."""
    text = io.StringIO()
    table = csv.writer(text, delimiter="\t", lineterminator="\n")
    table.writerow(["image", "reference", "group"])
    up = Path(*([".."] * len(MASKS.parts)))
    for row in rows:
        table.writerow([up / row.image, row.reference.relative_to(MASKS), row.group.name])
    return text.getvalue()
