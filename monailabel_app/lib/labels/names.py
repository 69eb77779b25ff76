"""Which value of a label means what, by what its viewer or the infer task said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from strokelabel.labels import CLASS_NAMES, TissueClass

LESION_NAME = CLASS_NAMES[TissueClass.LESION]

TISSUE_INFO = [{"name": name, "idx": value} for value, name in enumerate(CLASS_NAMES) if value > 0]
"""What a label of tissue classes would say about itself."""


def named_values(info: object) -> dict[str, int]:
    """Name, in lower case, of each value above 0 that an info names.

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
    """Value of the lesion in a label; None: everything above zero.

    Raises:
        LookupError: several classes are named, and none is the lesion.
    """
    values = named_values(info)
    if LESION_NAME in values:
        return values[LESION_NAME]
    if len(values) > 1:
        raise LookupError(LESION_NAME)
    return None


def lesion_mask(labels: np.ndarray, info: object) -> np.ndarray | None:
    """The lesion of a label (i, j, k) as booleans; None where several classes are named without one."""
    try:
        value = lesion_value(info)
    except LookupError:
        return None
    return labels > 0 if value is None else labels == value
