"""The segments of a 3D Slicer segmentation, from the header of its .seg.nrrd.

https://apidocs.slicer.org/main/classvtkMRMLSegmentationStorageNode.html: several segments share a layer when
they do not overlap, and then differ by their value in it; before Slicer 4.11 each had a layer of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.labels.names import LESION_NAME
from strokelabel.errors import LabelMapError

_ID = re.compile(r"Segment(\d+)_ID")


@dataclass(frozen=True)
class Segment:
    """Where a segment is: the voxels of a layer that have its value."""

    name: str
    layer: int
    value: int


def read_segments(header: Mapping[str, Any]) -> list[Segment]:
    """The segments that a NRRD header describes; none for a plain volume.

    Raises:
        ValueError: a layer or value that is no number.
    """
    numbers = sorted(int(match[1]) for key in header if (match := _ID.fullmatch(key)))
    return [
        Segment(
            name=str(header.get(f"Segment{number}_Name", header[f"Segment{number}_ID"])),
            layer=int(header.get(f"Segment{number}_Layer", number)),
            value=int(header.get(f"Segment{number}_LabelValue", 1)),
        )
        for number in numbers
    ]


def paint(
    layers: np.ndarray, segments: Sequence[Segment], names: Mapping[str, int]
) -> tuple[np.ndarray, dict[str, int]]:
    """One label map of all segments; where the lesion overlaps another one, it is lesion.

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
