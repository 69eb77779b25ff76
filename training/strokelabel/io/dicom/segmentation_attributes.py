"""Attributes of patient and study that a DICOM SEG takes over from its source, in the form of the standard."""

from __future__ import annotations

import re
from datetime import datetime

from pydicom import Dataset
from pydicom.datadict import keyword_for_tag
from pydicom.tag import BaseTag

from strokelabel.io.dicom.header import as_written, has_value, parse_numbers, tag_name, text

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
                f"{tag_name(keyword)} {found[:40]!r} is nothing that DICOM allows: unknown in the DICOM SEG"
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
