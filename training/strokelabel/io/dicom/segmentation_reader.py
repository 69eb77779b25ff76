"""Reading a DICOM SEG of any program onto the grid of the series that it segments.

Read with pydicom alone: SEGs of viewers often miss what stricter readers ask for.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.sr.coding import Code

from strokelabel.errors import HeaderError, LabelMapError, UnreadableImageError
from strokelabel.geometry import LPS_TO_RAS, Grid
from strokelabel.geometry.same_grid import describe_grid, rounding_mm
from strokelabel.io.dicom.segmentation_attributes import LESION_NAME, means_lesion
from strokelabel.types import LabelVolume, PathLike

_UNEVEN = 0.3
"""Share of the slices' distance by which a frame may lie before or behind its slice, where these are unevenly spaced.
Within the slice the rule of `geometry.same_grid` holds."""


@dataclass(frozen=True)
class Segment:
    """A segment of a SEG: number, name, coded type (None when it has none), and whether it is the lesion."""

    number: int
    label: str
    type: Code | None
    is_lesion: bool


@dataclass(frozen=True, eq=False)
class DicomSeg:
    """A SEG on a grid.

    Attributes:
        labels: (i, j, k) uint16, the number of the segment at each voxel; where segments overlap the lesion's,
            else the highest.
        segments: by their numbers.
    """

    labels: LabelVolume
    segments: tuple[Segment, ...]

    def lesion_mask(self) -> LabelVolume:
        """Return 1 inside the lesion, (i, j, k) uint8.

        Raises:
            LabelMapError: no segment is the lesion.
        """
        numbers = [segment.number for segment in self.segments if segment.is_lesion]
        if not numbers:
            names = ", ".join(repr(segment.label) for segment in self.segments)
            raise LabelMapError(
                f"expected a segment of type Infarct (SCT 55641003), or named {LESION_NAME!r}, found {names}."
            )
        return np.isin(self.labels, numbers).astype(np.uint8)


def read_dicom_seg(path: PathLike, grid: Grid) -> DicomSeg:
    """Read a SEG of type BINARY, FRACTIONAL (inside from one half on) or LABELMAP.

    Args:
        path: the file.
        grid: of the series, as `read_image` gives it. Frames may have its axes in any order and direction, and
            cover a part of it.

    Raises:
        UnreadableImageError: not a readable SEG.
        HeaderError: its pixels are not on the grid.
    """
    dataset = _read(Path(path))
    segments = segments_of(dataset)
    labels = np.zeros(grid.shape, np.uint16)
    try:
        frames = list(_frames(dataset))
    except Exception as error:  # a parser of files from anywhere fails in any way
        raise _unreadable(path) from error
    # painted last is what stays
    last = {segment.number: (segment.is_lesion, segment.number) for segment in segments}
    for number, pixels, affine in sorted(frames, key=lambda frame: last.get(frame[0] or 0, (False, 0))):
        _paint(labels, number, pixels, affine, grid, str(path))
    return DicomSeg(labels, segments)


def segments_of(dataset: Dataset) -> tuple[Segment, ...]:
    """Return the segments that a SEG describes; its pixels are not needed."""
    found = []
    for item in dataset.get("SegmentSequence") or []:
        types = item.get("SegmentedPropertyTypeCodeSequence")
        type_ = _code(types[0]) if types else None
        label = str(item.get("SegmentLabel", ""))
        found.append(Segment(int(item.SegmentNumber), label, type_, means_lesion(type_, label)))
    return tuple(found)


def _code(item: Dataset) -> Code:
    designator = str(item.get("CodingSchemeDesignator", ""))
    return Code(str(item.get("CodeValue", "")), designator, str(item.get("CodeMeaning", "")))


def _read(path: Path) -> Dataset:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = dcmread(path)
            if dataset.get("Modality") == "SEG" and dataset.get("SegmentSequence"):
                return dataset
    except Exception as error:  # pydicom has no common error for corrupt files
        raise _unreadable(path) from error
    raise UnreadableImageError(
        "expected a DICOM SEG, found another object; pass the SEG's file.", source=path
    )


def _unreadable(path: PathLike) -> UnreadableImageError:
    return UnreadableImageError(
        "expected a readable DICOM SEG, found a corrupt or unknown one; export it again.", source=path
    )


def _frames(dataset: Dataset) -> Iterator[tuple[int | None, np.ndarray, np.ndarray]]:
    """Yield the segment (None in a label map), pixels (row, column) and position of each frame.

    The last is a (4, 4) affine from column, row and 0 to RAS mm.
    """
    pixels = dataset.pixel_array
    pixels = pixels.reshape(-1, *pixels.shape[-2:])
    kind = str(dataset.SegmentationType)
    if kind == "FRACTIONAL":
        pixels = pixels >= int(dataset.get("MaximumFractionalValue", 255)) / 2
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    for groups, plane in zip(dataset.PerFrameFunctionalGroupsSequence, pixels, strict=True):
        if not plane.any():
            continue
        identification = (
            _group(groups, shared, "SegmentIdentificationSequence") if kind != "LABELMAP" else None
        )
        number = int(identification.ReferencedSegmentNumber) if identification else None
        yield number, plane, _affine(groups, shared)


def _affine(groups: Dataset, shared: Dataset) -> np.ndarray:
    position = np.array(_group(groups, shared, "PlanePositionSequence").ImagePositionPatient, float)
    orientation = np.array(_group(groups, shared, "PlaneOrientationSequence").ImageOrientationPatient, float)
    between_rows, between_columns = _group(groups, shared, "PixelMeasuresSequence").PixelSpacing
    affine = np.eye(4)
    affine[:3, 0] = orientation[:3] * float(between_columns)
    affine[:3, 1] = orientation[3:] * float(between_rows)
    affine[:3, 2] = np.cross(orientation[:3], orientation[3:])
    affine[:3, 3] = position
    affine = LPS_TO_RAS @ affine
    return affine


def _group(groups: Dataset, shared: Dataset, name: str) -> Dataset:
    return (groups if name in groups else shared)[name][0]


def _paint(
    labels: np.ndarray, number: int | None, pixels: np.ndarray, affine: np.ndarray, grid: Grid, source: str
) -> None:
    """Set the voxels of a frame's pixels, whose places in RAS mm an affine tells."""
    to_grid = np.linalg.inv(grid.affine) @ affine
    steps = np.rint(to_grid[:3, :2])
    rows, columns = np.nonzero(pixels)
    exact = np.stack([columns, rows, np.zeros_like(rows)], axis=1) @ to_grid[:3, :3].T + to_grid[:3, 3]
    voxels = np.rint(exact).astype(int)
    one_voxel_each = (np.abs(steps).sum(axis=0) == 1).all() and np.abs(steps).sum(axis=1).max() == 1
    beside = exact - voxels
    across = steps.any(axis=1)  # the grid's axes that run within the frame
    beside_mm = np.linalg.norm((beside * across) @ grid.affine[:3, :3].T, axis=1).max()
    if not one_voxel_each or beside_mm > rounding_mm(grid) or np.abs(beside[:, ~across]).max() > _UNEVEN:
        frame = Grid((pixels.shape[1], pixels.shape[0], 1), affine)
        raise HeaderError(
            f"expected a DICOM SEG on the grid of its series ({describe_grid(grid)}), found a frame on "
            f"another grid ({describe_grid(frame)}); export it with the series as reference geometry.",
            source=source,
        )
    if (voxels < 0).any() or (voxels >= labels.shape).any():
        raise HeaderError(
            "expected a DICOM SEG within its series, found pixels outside of it.", source=source
        )
    labels[tuple(voxels.T)] = pixels[rows, columns] if number is None else number
