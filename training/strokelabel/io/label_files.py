"""Label files as annotators' programs write them, and what the values in them mean."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from strokelabel.errors import ImageError, LabelMapError
from strokelabel.geometry import LPS_TO_RAS
from strokelabel.io.nifti import is_nifti_name, read_nifti
from strokelabel.labels import CLASS_NAMES, TissueClass
from strokelabel.types import Affine

_LESION = CLASS_NAMES[TissueClass.LESION]


def read_label_values(path: Path) -> tuple[np.ndarray, Affine]:
    """Return the values (i, j, k) of a NIfTI or NRRD file, and voxel index to RAS mm.

    Raises:
        ImageError: it cannot be read.
        LabelMapError: it holds several layers.
    """
    if is_nifti_name(path):
        volume = read_nifti(path, np.int32)
        return volume.data, volume.affine
    import SimpleITK  # training from label maps does without it

    try:
        read = SimpleITK.ReadImage(str(path))
        values = np.asarray(SimpleITK.GetArrayFromImage(read)).T
    except RuntimeError as error:
        raise ImageError(
            "expected a label as NIfTI or NRRD, which could not be read", source=path.name
        ) from error
    if values.ndim != 3:
        raise LabelMapError(
            f"expected one label map, found {values.ndim} axes; save segments without overlap",
            source=path.name,
        )
    affine = np.eye(4)
    affine[:3, :3] = np.array(read.GetDirection()).reshape(3, 3) * read.GetSpacing()
    affine[:3, 3] = read.GetOrigin()
    return values, LPS_TO_RAS @ affine


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
    if _LESION not in values and len(values) > 1:
        raise LabelMapError(f"expected a class named {_LESION!r}, found {', '.join(sorted(values))}")
    return values.get(_LESION)
