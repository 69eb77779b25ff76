"""Which value of a label means what, by what its viewer or the infer task said."""

from __future__ import annotations

import numpy as np

from strokelabel.errors import LabelMapError
from strokelabel.io.label_files import lesion_value, named_values
from strokelabel.labels import CLASS_NAMES, TissueClass

__all__ = ["LESION_NAME", "TISSUE_INFO", "lesion_mask", "lesion_value", "named_values"]

LESION_NAME = CLASS_NAMES[TissueClass.LESION]

TISSUE_INFO = [{"name": name, "idx": value} for value, name in enumerate(CLASS_NAMES) if value > 0]
"""What a label of tissue classes would say about itself."""


def lesion_mask(labels: np.ndarray, info: object) -> np.ndarray | None:
    """The lesion of a label (i, j, k) as booleans; None where several classes are named without one."""
    try:
        value = lesion_value(info)
    except LabelMapError:
        return None
    return labels > 0 if value is None else labels == value
