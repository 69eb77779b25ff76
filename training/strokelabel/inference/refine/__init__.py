"""Correcting a lesion mask by what an annotator points at: locally, at once, and never against the annotator."""

from strokelabel.inference.refine.prompts import (
    LESION,
    NOT_LESION,
    AddRegion,
    Click,
    Prompt,
    Prompts,
    RefineOptions,
    RemoveIsland,
    Scribbles,
    painted_labels,
)
from strokelabel.inference.refine.update import refine

__all__ = [
    "LESION",
    "NOT_LESION",
    "AddRegion",
    "Click",
    "Prompt",
    "Prompts",
    "RefineOptions",
    "RemoveIsland",
    "Scribbles",
    "painted_labels",
    "refine",
]
