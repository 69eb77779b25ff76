"""Label tables: the six classes a model predicts, and the anatomical labels it is trained from.

The class order is that of SynthStroke's training code (Chalcroft et al. 2025): partial volume is class 2, not 3.
Anatomical ids follow FreeSurfer's colour table, with the extra-cerebral 500-series that SAMSEG and SynthSeg use.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from importlib import resources
from pathlib import Path

from strokelabel.errors import LabelMapError


class TissueClass(IntEnum):
    """Classes of a StrokeLabel model, in the order of its output channels."""

    BACKGROUND = 0
    GRAY_MATTER = 1
    PARTIAL_VOLUME = 2
    WHITE_MATTER = 3
    CSF = 4
    LESION = 5


CLASS_NAMES: tuple[str, ...] = (
    "background",
    "gray matter",
    "gray and white matter",
    "white matter",
    "cerebrospinal fluid",
    "lesion",
)
"""Human-readable class names; stored with every set of weights."""

PARENCHYMA_NAMES: tuple[str, ...] = CLASS_NAMES[TissueClass.GRAY_MATTER : TissueClass.CSF]
"""Classes of brain tissue proper."""

CLASS_COLORS: dict[str, tuple[int, int, int]] = {
    "gray matter": (128, 174, 128),
    "gray and white matter": (183, 196, 160),
    "white matter": (238, 228, 190),
    "cerebrospinal fluid": (100, 160, 220),
    "lesion": (230, 60, 50),
}
"""Display colours (8-bit RGB)."""

TISSUE_GROUPS: tuple[str, ...] = (
    "background",
    "gray",
    "white",
    "ventricle",
    "csf",
    "vessel",
    "bone",
    "marrow",
    "soft",
    "skin",
    "eye",
)
"""Groups of anatomical labels with similar magnetic resonance properties."""

BRAIN_GROUPS: frozenset[str] = frozenset({"gray", "white", "ventricle"})
"""Groups inside the brain itself; sulcal CSF ("csf") lies around it."""


@dataclass(frozen=True)
class AnatomicalLabel:
    """One value of a label map.

    Attributes:
        id: value in the label map (FreeSurfer numbering).
        name: FreeSurfer's name.
        side: "left", "right" or "midline".
        group: one of `TISSUE_GROUPS`.
        mirror: the id of the same structure on the other side (itself when on the midline).
    """

    id: int
    name: str
    side: str
    group: str
    mirror: int


@dataclass(frozen=True)
class LabelTable:
    """Table of the values of a label map, for synthesis.

    Attributes:
        labels: in the order of the indices that prepared label maps store.
        parents: where labels are intensity clusters of structures (`strokelabel prepare --em`), the id of the structure
            by the id of the label, 0 for the background; empty where each label is a structure.
    """

    labels: tuple[AnatomicalLabel, ...]
    parents: Mapping[int, int] = field(default_factory=dict, hash=False)

    @property
    def has_clusters(self) -> bool:
        """True if labels are intensity clusters of structures."""
        return bool(self.parents)

    def parent(self, label: AnatomicalLabel) -> int:
        """Return the id of the structure that a label is a cluster of; its own id where labels are not clusters."""
        return self.parents.get(label.id, label.id)

    def __getitem__(self, label_id: int) -> AnatomicalLabel:
        """Return the label with this id.

        Raises:
            LabelMapError: no such label.
        """
        try:
            return self._by_id()[label_id]
        except KeyError:
            raise LabelMapError(f"Label {label_id} is not in the label table; {self._hint()}") from None

    def index(self, label_id: int) -> int:
        """Return the position of a label in the table: the compact index that prepared label maps store."""
        return self.labels.index(self[label_id])

    def check(self, ids: set[int], source: str) -> None:
        """Refuse label maps with unknown values.

        Raises:
            LabelMapError: naming the unknown values and the file.
        """
        unknown = sorted(ids - set(self._by_id()))
        if unknown:
            raise LabelMapError(
                f"{source}: expected FreeSurfer-style labels, found unknown {unknown[:10]}; {self._hint()}"
            )

    def _by_id(self) -> dict[int, AnatomicalLabel]:
        return {label.id: label for label in self.labels}

    @staticmethod
    def _hint() -> str:
        return "add a row for it to a label table (id, name, side, group, mirror) and pass that table"


def read_label_table(path: Path) -> LabelTable:
    """Read a label table: tab-separated, columns id, name, side, group, mirror.

    Raises:
        LabelMapError: a column is missing, a group is unknown, or a mirror label does not exist.
    """
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    try:
        labels = tuple(
            AnatomicalLabel(int(r["id"]), r["name"], r["side"], r["group"], int(r["mirror"])) for r in rows
        )
    except (KeyError, TypeError, ValueError) as error:
        raise LabelMapError(
            f"{path}: expected tab-separated columns id, name, side, group, mirror ({error})"
        ) from error
    ids = {label.id for label in labels}
    for label in labels:
        if label.group not in TISSUE_GROUPS or label.side not in ("left", "right", "midline"):
            raise LabelMapError(
                f"{path}: label {label.id} has group {label.group!r}, side {label.side!r}; "
                f"expected a group of {TISSUE_GROUPS} and left, right or midline"
            )
        if label.mirror not in ids:
            raise LabelMapError(f"{path}: label {label.id} mirrors {label.mirror}, which is not in the table")
    return LabelTable(labels)


@lru_cache(maxsize=1)
def default_label_table() -> LabelTable:
    """Return the table that ships with StrokeLabel: FreeSurfer aseg plus the extra-cerebral 500-series."""
    with resources.as_file(resources.files("strokelabel").joinpath("label_table.tsv")) as path:
        return read_label_table(path)
