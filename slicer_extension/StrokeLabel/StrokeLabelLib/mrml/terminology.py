"""Meaning of a segment, in SNOMED CT codes that .seg.nrrd and DICOM SEG keep."""

from __future__ import annotations

import slicer

CONTEXT = "StrokeLabel: stroke lesions"
"""Name of the terminology in Resources/StrokeLabel.term.json."""

CATEGORY = ("SCT", "49755003", "Morphologically Altered Structure")
INFARCT = ("SCT", "55641003", "Infarct")
BRAIN = ("SCT", "12738006", "Brain")
LESION_COLOR = (230, 60, 50)
"""8-bit RGB, as the server shows lesions."""


def infarct_entry() -> str:
    """Return the serialised entry "infarct in the brain".

    Its parts: context, category, type, modifier; regional context, region, modifier.
    """
    parts = (CONTEXT, "^".join(CATEGORY), "^".join(INFARCT), "^^", CONTEXT, "^".join(BRAIN), "^^")
    return "~".join(parts)


def describe_lesion(segment: slicer.vtkSegment) -> None:
    """Give a segment the name, the codes and the colour of a lesion."""
    segment.SetName("lesion")
    red, green, blue = (value / 255 for value in LESION_COLOR)
    segment.SetColor(red, green, blue)
    segment.SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), infarct_entry())
