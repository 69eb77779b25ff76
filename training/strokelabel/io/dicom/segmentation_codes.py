"""Meaning of the segments of a DICOM SEG: coded concepts, names and display colours.

SNOMED CT (SCT) codes follow DICOM PS3.16, CID 7150 and 7151. CID 7151 can be extended; it has no infarct, so the
SNOMED code of the morphologic abnormality is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from pydicom.sr.coding import Code

from strokelabel.labels import CLASS_COLORS, CLASS_NAMES, TissueClass

LESION_NAME = CLASS_NAMES[TissueClass.LESION]

INFARCT = Code("55641003", "SCT", "Infarct")
BRAIN = Code("12738006", "SCT", "Brain")
TISSUE = Code("85756007", "SCT", "Tissue")
MORPHOLOGICALLY_ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
ANATOMICAL_STRUCTURE = Code("123037004", "SCT", "Anatomical Structure")
BODY_SUBSTANCE = Code("91720002", "SCT", "Body Substance")
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")

_LESION_WORDS = ("lesion", "infarct", "stroke")
_UNKNOWN_COLOR = (220, 180, 60)

_CODES: dict[str, tuple[Code, Code]] = {
    "lesion": (MORPHOLOGICALLY_ABNORMAL, INFARCT),
    "gray matter": (ANATOMICAL_STRUCTURE, Code("389081007", "SCT", "Gray Matter")),
    "gray and white matter": (ANATOMICAL_STRUCTURE, BRAIN),
    "white matter": (ANATOMICAL_STRUCTURE, Code("389080008", "SCT", "White Matter")),
    "cerebrospinal fluid": (BODY_SUBSTANCE, Code("65216001", "SCT", "Cerebrospinal Fluid")),
}


@dataclass(frozen=True)
class SegmentMeaning:
    """One segment.

    Attributes:
        label: its name.
        category, type: coded concepts of the segmented property.
        color: 8-bit RGB.
    """

    label: str
    category: Code
    type: Code
    color: tuple[int, int, int]


def meaning_of(name: str) -> SegmentMeaning:
    """Return the meaning of a class by its name; a name that is not StrokeLabel's is coded as tissue, as 3D Slicer
    does.
    """
    category, type_ = _CODES.get(name.lower(), (TISSUE, TISSUE))
    return SegmentMeaning(name, category, type_, CLASS_COLORS.get(name.lower(), _UNKNOWN_COLOR))


LESION_SEGMENT: Mapping[int, SegmentMeaning] = {1: meaning_of(LESION_NAME)}
"""One segment of a lesion mask."""

TISSUE_SEGMENTS: Mapping[int, SegmentMeaning] = {
    value: meaning_of(name) for value, name in enumerate(CLASS_NAMES) if value != TissueClass.BACKGROUND
}
"""Segments of all classes, by their values."""


def means_lesion(type_code: Code | None, label: str) -> bool:
    """Return whether a segment of any program is the lesion: by its code, else by a word of its name."""
    if type_code is not None and type_code == INFARCT:
        return True
    return any(word in label.lower() for word in _LESION_WORDS)


def cielab(color: tuple[int, int, int]) -> tuple[float, float, float]:
    """Return L*, a* and b* of an sRGB colour under D65, as dcmqi and OHIF convert them.

    Args:
        color: 8-bit RGB.
    """
    channels = np.array(color) / 255
    linear = np.where(channels > 0.04045, ((channels + 0.055) / 1.055) ** 2.4, channels / 12.92)
    to_xyz = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    relative = to_xyz @ linear / np.array([0.95047, 1.0, 1.08883])
    x, y, z = np.where(relative > 216 / 24389, np.cbrt(relative), (24389 / 27 * relative + 16) / 116)
    return float(116 * y - 16), float(500 * (x - y)), float(200 * (y - z))
