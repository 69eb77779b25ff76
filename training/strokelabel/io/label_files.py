"""Label files as annotators' programs write them (NIfTI, NRRD, .seg.nrrd), and the meaning of their values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from strokelabel.errors import LabelMapError
from strokelabel.geometry import LPS_TO_RAS, Grid
from strokelabel.io.checks import MAX_VOXELS
from strokelabel.io.images import read_label_image
from strokelabel.io.nifti import read_grid
from strokelabel.labels import CLASS_NAMES, TissueClass

LESION_NAME = CLASS_NAMES[TissueClass.LESION]

_ID = re.compile(r"Segment(\d+)_ID")


@dataclass(frozen=True)
class Segment:
    """Segment of a file: the voxels of a layer that have its value."""

    name: str
    layer: int
    value: int


def read_segments(header: Mapping[str, Any]) -> list[Segment]:
    """Return the segments that a NRRD header describes; none for a plain volume.

    Raises:
        ValueError: a layer or value that is no number.
    """
    numbers = sorted(int(match[1]) for key in header if (match := _ID.fullmatch(key)))
    return [
        Segment(
            name=str(header.get(f"Segment{number}_Name") or header[f"Segment{number}_ID"]),
            layer=int(header.get(f"Segment{number}_Layer", number)),
            value=int(header.get(f"Segment{number}_LabelValue", 1)),
        )
        for number in numbers
    ]


def paint(
    layers: np.ndarray, segments: Sequence[Segment], names: Mapping[str, int]
) -> tuple[np.ndarray, dict[str, int]]:
    """Paint one label map of all segments; where the lesion overlaps another one, it is lesion.

    Args:
        layers: (layer, i, j, k).
        segments: which are in it.
        names: name, in lower case -> value; a segment that is not named gets the lowest free one.

    Returns:
        The labels (i, j, k), and the value of each segment by its name in lower case.

    Raises:
        LabelMapError: a segment is in a layer that is not there.
    """
    labels = np.zeros(layers.shape[1:], np.int32)
    values: dict[str, int] = {}
    for segment in segments:
        name = segment.name.lower()
        free = (
            n
            for n in range(1, 2 + len(segments) + len(names))
            if n not in {*values.values(), *names.values()}
        )
        values.setdefault(name, names[name] if name in names else next(free))
    for segment in sorted(segments, key=lambda segment: segment.name.lower() == LESION_NAME):
        if not 0 <= segment.layer < len(layers):
            raise LabelMapError(
                f"expected the segment {segment.name!r} in one of {len(layers)} layers, "
                f"found it in layer {segment.layer}; save the segmentation again."
            )
        labels[layers[segment.layer] == segment.value] = values[segment.name.lower()]
    return labels, values


_UNREADABLE_NRRD = "expected a readable NRRD of labels, found something else; export it again."


@dataclass(frozen=True, eq=False)
class LabelFile:
    """Labels as a file holds them.

    Attributes:
        data: whole numbers, (i, j, k) of the file.
        affine: (4, 4) voxel index to RAS mm.
        names: name, in lower case -> value of a segmentation's segments; None for plain labels.
    """

    data: np.ndarray
    affine: np.ndarray
    names: dict[str, int] | None = None

    @property
    def grid(self) -> Grid:
        """Shape and affine together."""
        i, j, k = self.data.shape
        return Grid((i, j, k), self.affine)

    @property
    def may_be_cropped(self) -> bool:
        """True if it may cover a part of its scan only, which only Slicer's segmentations do."""
        return self.names is not None


def read_label_file(path: Path, names: Mapping[str, int] | None = None) -> LabelFile:
    """Read labels.

    Args:
        path: .nii, .nii.gz, .nrrd or .seg.nrrd.
        names: name, in lower case -> value that the segments of a segmentation shall get; others are numbered
            from the lowest free value on.

    Raises:
        ImageError: not readable.
        LabelMapError: not 3-D, or not whole numbers.
    """
    if path.suffix.lower() == ".nrrd":
        with _errors_of(path):
            return _read_nrrd(path, names or {})
    image = read_label_image(path)
    return LabelFile(image.data, image.affine)


def read_label_grid(path: Path) -> tuple[Grid, bool]:
    """Return the grid of a label file by its header alone, and whether it may cover a part of its scan only.

    Raises:
        ImageError: not readable.
        LabelMapError: not a label file, or not 3-D.
    """
    if path.suffix.lower() != ".nrrd":
        return read_grid(path), False
    with _errors_of(path):
        header = _checked_header(path)
        spatial, affine = _axes_in_space(header)
        i, j, k = (int(size) for size in np.asarray(header["sizes"])[spatial])
        return Grid((i, j, k), affine), bool(read_segments(header))


def read_label_segments(path: Path) -> list[Segment]:
    """Return the segments that a label file names, by its header alone; [] for other files than NRRD.

    Raises:
        LabelMapError: not a label file.
    """
    if path.suffix.lower() != ".nrrd":
        return []
    with _errors_of(path):
        return read_segments(_checked_header(path))


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    """Say of which file an error is; a parser of files from anywhere fails in any way."""
    try:
        yield
    except LabelMapError as error:
        raise LabelMapError(error.message, source=str(path)) from error
    except Exception as error:
        raise LabelMapError(_UNREADABLE_NRRD, source=str(path)) from error


def _read_nrrd(path: Path, names: Mapping[str, int]) -> LabelFile:
    header = _checked_header(path)
    data, _ = _nrrd().read(str(path), index_order="F")
    spatial, affine = _axes_in_space(header)
    segments = read_segments(header)
    layers = np.moveaxis(data, np.flatnonzero(~spatial), range(int((~spatial).sum())))
    if segments and layers.ndim in (3, 4):
        painted, found = paint(layers.reshape(-1, *layers.shape[-3:]), segments, names)
        return LabelFile(painted, affine, found)
    return LabelFile(_whole_numbers(layers), affine)


def _nrrd() -> ModuleType:
    """Return pynrrd; training from label maps does without it."""
    import nrrd

    return nrrd


def _axes_in_space(header: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return the axes of a NRRD that are those of space, and the affine from their indices to RAS mm."""
    directions = np.asarray(header["space directions"], dtype=float)
    spatial = np.isfinite(directions).all(axis=1)
    affine = np.eye(4)
    affine[:3, :3] = directions[spatial].T
    affine[:3, 3] = header["space origin"]
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < 1e-9:
        raise LabelMapError("expected three axes in space, found none; export it again.")
    is_ras = str(header.get("space", "left-posterior-superior")).lower().startswith(("right-anterior", "ras"))
    return spatial, affine if is_ras else LPS_TO_RAS @ affine


def _checked_header(path: Path) -> dict[str, Any]:
    """Return the header, if it describes voxels in this very file that fit into memory."""
    with path.open("rb") as file:  # Slicer writes UTF-8; pynrrd by itself leaves out what is not ASCII
        header = _nrrd().read_header(line.decode("utf-8", "backslashreplace") for line in file)
    if "data file" in header or "datafile" in header:  # it would open any file of the server
        raise LabelMapError(
            "expected a NRRD file that contains its voxels, found one with a detached data file."
        )
    sizes = [int(size) for size in header["sizes"]]
    if len(sizes) not in (3, 4) or min(sizes) < 1 or prod(sizes) > MAX_VOXELS:
        raise LabelMapError(f"expected labels along three axes, found an array of shape {tuple(sizes)}.")
    return dict(header)


def _whole_numbers(data: np.ndarray) -> np.ndarray:
    if data.ndim != 3 or data.dtype.kind not in "biuf":
        raise LabelMapError(
            f"expected whole numbers along three axes, found {data.dtype} of shape {data.shape}."
        )
    limit = np.iinfo(np.int32).max
    with np.errstate(invalid="ignore"):
        whole = np.isfinite(data) & (data == np.rint(data)) & (np.abs(data.astype(float)) < limit)
    if not whole.all():
        raise LabelMapError(
            f"expected labels, which are whole numbers, found values such as {data[~whole][0]:g}."
        )
    return data.astype(np.int32)


def named_values(info: object) -> dict[str, int]:
    """Return the name, in lower case, of each value above 0 that the info of a label names.

    Slicer sends [{"name": "lesion", "idx": 1}, ...] as `label_info` (or "id" for "idx"); infer tasks leave
    `params.label_names`.
    """
    names: dict[str, Any] = {}
    info = info if isinstance(info, Mapping) else {}
    params = info.get("params")
    if isinstance(params, Mapping) and isinstance(params.get("label_names"), Mapping):
        names.update(params["label_names"])
    listed = info.get("label_info")
    for entry in listed if isinstance(listed, list) else []:
        if isinstance(entry, Mapping):
            names[str(entry.get("name"))] = entry.get("idx", entry.get("id"))
    whole = {name: value for name, value in names.items() if isinstance(value, int)}
    return {name.lower(): value for name, value in whole.items() if value > 0}


def lesion_value(info: object) -> int | None:
    """Return the value of the lesion in a label, by its info; None: everything above zero.

    Raises:
        LabelMapError: several classes are named, and none is the lesion.
    """
    values = named_values(info)
    if LESION_NAME not in values and len(values) > 1:
        raise LabelMapError(f"expected a class named {LESION_NAME!r}, found {', '.join(sorted(values))}")
    return values.get(LESION_NAME)


def lesion_mask(labels: np.ndarray, info: object) -> np.ndarray | None:
    """Return the lesion of a label (i, j, k) as booleans; None where several classes are named without one."""
    try:
        value = lesion_value(info)
    except LabelMapError:
        return None
    return labels > 0 if value is None else labels == value
