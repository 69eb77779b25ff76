"""Files of the real validation set, in the layout of `shared/data`.

    slices/soop-flair-validation_{axial,coronal,sagittal}.npz    one slice each of patients with an acute stroke
    scans/chronic-stroke_T2w.nii.gz, ..._rough-lesion.nii.gz
    scans/acute-stroke_{dwi,adc,lesion}.nii.gz
    scans/validation/*.nii.gz                                    without a stroke, seen by no training
    scans/lesion-free/*.nii.gz                                   without a stroke, which trainings may have seen

Validation are the axial slices, the chronic stroke and `scans/validation`: nothing is chosen by them. Development are
the other slices (of the same patients), the acute stroke and `scans/lesion-free`: thresholds are chosen by them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from strokelabel.errors import DataError
from strokelabel.io.bids import image_stem
from strokelabel.io.slice_files import View

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
