"""Label files as annotators' programs write them (NIfTI, .seg.nrrd and others), and the meaning of their values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from strokelabel.errors import ImageError, LabelMapError
from strokelabel.geometry import Grid
from strokelabel.io.checks import as_whole_numbers
from strokelabel.io.file_kinds import is_image_name
from strokelabel.io.images import read_label_image
from strokelabel.io.nrrd import NrrdHeader, read_nrrd_header
from strokelabel.io.stored_volume import READ_ERRORS, unreadable
from strokelabel.io.volumes import files_of, read_grid
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
        path: a file of an image, or a .seg.nrrd.
        names: name, in lower case -> value that the segments of a segmentation shall get; others are numbered
            from the lowest free value on.

    Raises:
        ImageError: not readable.
        LabelMapError: not 3-D, or not whole numbers.
    """
    if _is_nrrd(path):
        with _errors_of(path):
            return _read_nrrd(path, names or {})
    if is_image_name(path) and len(files_of(path)) > 1:
        raise LabelMapError(_DETACHED, source=path)
    image = read_label_image(path)
    return LabelFile(image.data, image.affine)


def read_label_grid(path: Path) -> tuple[Grid, bool]:
    """Return the grid of a label file by its header alone, and whether it may cover a part of its scan only.

    Raises:
        ImageError: not readable.
        LabelMapError: not a label file, or not 3-D.
    """
    if not _is_nrrd(path):
        return read_grid(path), False
    with _errors_of(path):
        header = _checked_header(path)
        affine, _ = header.affine()
        i, j, k = (size for size, in_space in zip(header.sizes, header.spatial, strict=True) if in_space)
        return Grid((i, j, k), affine), bool(read_segments(header.texts))


def read_label_segments(path: Path) -> list[Segment]:
    """Return the segments that a label file names, by its header alone; [] for other files than NRRD.

    Raises:
        LabelMapError: not a label file.
    """
    if not _is_nrrd(path):
        return []
    with _errors_of(path):
        return read_segments(_checked_header(path).texts)


_DETACHED = "expected a file that contains its voxels, found one with a detached data file."


def _is_nrrd(path: Path) -> bool:
    return path.suffix.lower() in (".nrrd", ".nhdr")


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    """Say of which file an error is."""
    try:
        yield
    except LabelMapError as error:
        raise error.with_source(path) from error
    except ImageError as error:
        raise LabelMapError(error.message, source=path) from error
    except READ_ERRORS as error:
        raise LabelMapError(unreadable(path, error, "an NRRD file").message, source=path) from error


def _read_nrrd(path: Path, names: Mapping[str, int]) -> LabelFile:
    header = _checked_header(path)
    affine, _ = header.affine()
    segments = read_segments(header.texts)
    spatial = np.array(header.spatial)
    values = header.voxels().read()
    layers = np.moveaxis(values, np.flatnonzero(~spatial), range(int((~spatial).sum())))
    if segments and layers.ndim in (3, 4):
        painted, found = paint(layers.reshape(-1, *layers.shape[-3:]), segments, names)
        return LabelFile(painted, affine, found)
    return LabelFile(as_whole_numbers(layers.reshape(layers.shape[-3:]), str(path)), affine)


def _checked_header(path: Path) -> NrrdHeader:
    """Return the header, if it describes labels along three axes in space, in layers only for a segmentation.

    Labels come from clients: a header that names another file would open any file of the server.
    """
    header = read_nrrd_header(path)
    if header.is_detached:
        raise LabelMapError(_DETACHED)
    sizes, spatial = header.sizes, header.spatial
    layers = prod(size for size, in_space in zip(sizes, spatial, strict=True) if not in_space)
    if sum(spatial) != 3 or not all(sizes) or (layers > 1 and not read_segments(header.texts)):
        raise LabelMapError(f"expected labels along three axes in space, found an array of shape {sizes}.")
    return header


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
