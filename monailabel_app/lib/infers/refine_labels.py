"""Painted labels as viewers send them: one file with the lesion and the strokes, on the scan's grid in any order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.labels.grid import read_on_grid
from lib.labels.names import LESION_NAME, named_values
from lib.refusals import InvalidRequestError
from strokelabel.inference.refine import LESION, NOT_LESION
from strokelabel.io.images import Image

_STROKES = {"foreground_scribbles": LESION, "background_scribbles": NOT_LESION}
"""Names that MONAI Label's viewers give to strokes."""

_KEPT = {"painted_lesion": LESION, "painted_not_lesion": NOT_LESION}
"""Names under which a client may send what was painted in earlier rounds."""

_STOCK_VALUES = {1: LESION_NAME, 2: "background_scribbles", 3: "foreground_scribbles"}
"""What MONAI Label's scribbles tasks take values for when the request does not say."""


@dataclass(frozen=True, eq=False)
class PaintedFile:
    """What a label file says, each (i, j, k) on the scan's grid or None.

    Attributes:
        mask: boolean, the current lesion.
        strokes: 0, 1 (lesion) or 2 (not lesion), to be acted on.
        kept: likewise, from earlier rounds.
    """

    mask: np.ndarray | None
    strokes: np.ndarray | None
    kept: np.ndarray | None


def read_painted(path: Path, scan: Image, label_info: object, selected: object) -> PaintedFile:
    """Read a label file.

    Args:
        path: NIfTI or NRRD.
        scan: the scan, whose grid the file must be on, with its axes in any order and direction.
        label_info: a list of {"name", "id"} that says what the values are; MONAI Label's own values without it.
        selected: name of the segment that is being corrected; "lesion" without it.

    Raises:
        InvalidRequestError: not a label file, not on the scan's grid, or a `label_info` that cannot be used.
    """
    labels = read_on_grid(path, scan, named_values({"label_info": label_info}))
    names = _names(label_info)
    wanted = {LESION_NAME, str(selected)} if selected else {LESION_NAME}
    values = [value for value, name in names.items() if name in wanted]
    mask = np.isin(labels, values) if values and (label_info or (labels == 1).any()) else None
    return PaintedFile(mask, _painted(labels, names, _STROKES), _painted(labels, names, _KEPT))


def _names(label_info: object) -> dict[int, str]:
    """Name of each value."""
    if not label_info:
        return _STOCK_VALUES
    try:
        return {int(entry["id"]): str(entry["name"]) for entry in label_info}  # type: ignore[attr-defined]
    except (TypeError, KeyError, ValueError) as error:
        raise InvalidRequestError(
            f"label_info: expected a list of objects with a name and an id, found {label_info!r}."
        ) from error


def _painted(labels: np.ndarray, names: Mapping[int, str], meaning: Mapping[str, int]) -> np.ndarray | None:
    """Labels 0, 1 and 2 of the values whose names have a meaning; None if none was drawn."""
    painted = np.zeros(labels.shape, np.uint8)
    for value, name in names.items():
        if name in meaning:
            painted[labels == value] = meaning[name]
    return painted if painted.any() else None


def request_label_info(request: Mapping[str, Any]) -> object:
    """The request's `label_info`, if it is a list."""
    info = request.get("label_info")
    return info if isinstance(info, list) else None
