"""Attributes and codes of a DICOM SEG: those that it takes over from its source, and those of its segments."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from pydicom import Dataset
from pydicom.datadict import keyword_for_tag
from pydicom.sr.coding import Code
from pydicom.tag import BaseTag

from strokelabel.io.dicom.header import as_written, has_value, parse_numbers, tag_name, text
from strokelabel.labels import CLASS_COLORS, CLASS_NAMES, TissueClass

MAY_BE_UNKNOWN = (
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
"""Type 2 of the standard: written empty where the source does not tell."""

_GROUPS = (0x0008, 0x0010, 0x0012, 0x0020, 0x0032, 0x0038, 0x0040)
"""Groups about patient, study, trial and visit."""
_SEXES = {"M": "M", "F": "F", "O": "O", "MALE": "M", "FEMALE": "F", "OTHER": "O"}
_DATE = re.compile(r"(\d{4})[./-]?(\d{2})[./-]?(\d{2})")
_TIME = re.compile(r"([01]\d|2[0-3])(?::?([0-5]\d)(?::?([0-5]\d|60)(\.\d{1,6})?)?)?")


def take_over(header: Dataset) -> tuple[str, ...]:
    """Bring a header's values about patient and study into the standard's form, in memory.

    Dates and times in the form of old scanners (2020.01.01, 12:00:00) keep their meaning. A value without one in the
    standard (sex U, the 0th of a month, a weight with a comma) becomes unknown.

    Args:
        header: changed in place; type 2 elements that it lacks are added empty.

    Returns:
        A note for each value that became unknown.
    """
    notes = []
    for tag in [tag for tag in header.keys() if tag.group in _GROUPS]:  # noqa: SIM118 - data sets are not mappings
        keyword = keyword_for_tag(tag)
        found = text(header, keyword) if keyword and has_value(header, keyword) else ""
        if not _in_standard_form(header, tag, keyword, found):
            del header[tag]
            notes.append(
                f"{tag_name(keyword)} {found[:40]!r} is not a valid DICOM value; it is left empty in the DICOM SEG"
            )
    for keyword in MAY_BE_UNKNOWN:
        if keyword not in header:
            setattr(header, keyword, "")
    return tuple(notes)


def _in_standard_form(header: Dataset, tag: BaseTag, keyword: str, found: str) -> bool:
    """Return whether an element can be taken over; its value is rewritten where the standard has another
    form for it.
    """
    try:
        element = header[tag]
    except Exception:  # pydicom has no common error for values that are none
        return False
    if not keyword or not found:
        return True
    value: str | None
    if element.VR in ("DS", "IS"):
        return parse_numbers(as_written(header, keyword)) is not None
    if keyword == "PatientSex":
        value = _SEXES.get(found.upper())
    elif element.VR == "DA":
        value = _date(found)
    elif element.VR == "TM":
        value = _time(found)
    else:
        return True
    if value is not None:
        element.value = value
    return value is not None


def _date(found: str) -> str | None:
    match = _DATE.fullmatch(found)
    try:
        return datetime.strptime("".join(match.groups()), "%Y%m%d").strftime("%Y%m%d") if match else None
    except ValueError:  # no day of the calendar
        return None


def _time(found: str) -> str | None:
    match = _TIME.fullmatch(found)
    return None if match is None else "".join(part or "" for part in match.groups())


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
