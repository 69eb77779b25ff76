"""Real validation set as a BIDS data set with lesion masks."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np

from strokelabel.errors import DataError
from strokelabel.io import Image, atomic_path, atomic_write_json, atomic_write_text, read_image, write_nifti
from strokelabel.io.bids import dataset_description, derivative_name, image_stem, session_folders
from strokelabel.io.slice_files import PLANES, SliceFile, View, read_slices
from strokelabel.reports.evaluation.slabs import SLAB_MM

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


Part = Literal["validation", "development"]

LESION_FREE: Final = "lesion-free"
SLICES: Final = "slices"

_PART_OF_VIEW: Final[dict[View, Part]] = {
    "axial": "validation",
    "coronal": "development",
    "sagittal": "development",
}
_SCANS_WITH_LESION: Final[tuple[tuple[Part, str, str, str], ...]] = (
    ("validation", "chronic stroke", "chronic-stroke_T2w", "chronic-stroke_T2w_rough-lesion"),
    ("development", "acute stroke", "acute-stroke_dwi", "acute-stroke_lesion"),
    ("development", "acute stroke", "acute-stroke_adc", "acute-stroke_lesion"),
)
_FOLDERS_WITHOUT: Final[tuple[tuple[Part, str], ...]] = (
    ("validation", "validation"),
    ("development", "lesion-free"),
)


@dataclass(frozen=True)
class RealGroup:
    """A group of cases that a table has a row for.

    Attributes:
        part: whether anything is chosen by them.
        kind: such as "axial slices", "acute stroke" or "lesion-free".
    """

    part: Part
    kind: str

    @property
    def name(self) -> str:
        """Group as one text, which `parse` reads."""
        return f"{self.part}: {self.kind}"

    @property
    def is_slices(self) -> bool:
        """True if its cases are single slices."""
        return self.kind.endswith(SLICES)

    @classmethod
    def parse(cls, name: str) -> RealGroup:
        """Read what `name` gave.

        Raises:
            DataError: it is no such text.
        """
        part, _, kind = name.partition(": ")
        for known in get_args(Part):
            if part == known and kind:
                return cls(known, kind)
        raise DataError(f"expected a group such as 'validation: axial slices', found {name!r}")


@dataclass(frozen=True)
class RealScan:
    """A scan of the set.

    Attributes:
        stem: its BIDS name.
        group: what it is.
        image: its file.
        mask: of its lesion; None where it has none.
    """

    stem: str
    group: RealGroup
    image: Path
    mask: Path | None


def find_slice_files(material: Path) -> list[tuple[RealGroup, Path]]:
    """Return the files of slices, and the group of each.

    Raises:
        DataError: one is missing.
    """
    folder = material / "slices"
    return [
        (RealGroup(part, f"{view} {SLICES}"), _existing(folder / f"soop-flair-validation_{view}.npz"))
        for view, part in _PART_OF_VIEW.items()
    ]


def find_scans(material: Path) -> list[RealScan]:
    """Return the scans of whole heads.

    Raises:
        DataError: one is missing, or a folder of them is empty.
    """
    folder = material / "scans"
    return [
        RealScan(
            _bids_stem(f"sub-{scan.replace('-', '')}"),
            RealGroup(part, kind),
            _existing(folder / f"{scan}.nii.gz"),
            _existing(folder / f"{mask}.nii.gz"),
        )
        for part, kind, scan, mask in _SCANS_WITH_LESION
    ] + [
        RealScan(_bids_stem(image_stem(path)), RealGroup(part, LESION_FREE), path, None)
        for part, name in _FOLDERS_WITHOUT
        for path in _scans_in(folder / name)
    ]


def _scans_in(folder: Path) -> Iterator[Path]:
    paths = sorted(folder.glob("sub-*.nii.gz"))
    if not paths:
        raise DataError(f"{folder}: expected scans without a lesion (sub-*.nii.gz), found none")
    yield from paths


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise DataError(f"{path}: expected a file of the real validation set, found none; check the folder")
    return path


def _bids_stem(stem: str) -> str:
    """Return a stem of the material with entities that BIDS has for raw scans."""
    return re.sub(r"_desc-", "_acq-", re.sub(r"_study-", "_ses-", stem))
