"""Structures of a parcellation, and the labels of a label map that belong to each of them.

They are those of SynthSeg 2.0: the structures of Billot et al. 2023 (supplement 3) and the cerebrospinal fluid around
the brain, 33 classes with the background. Numbers and colours are FreeSurfer's.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

from strokelabel.errors import LabelMapError
from strokelabel.labels import LabelTable

CSF_ID = 24
"""FreeSurfer's number of the cerebrospinal fluid around the brain."""

EXTRACEREBRAL_IDS = frozenset({CSF_ID, 85, 502, 506, 507, 508, 509, 511, 512, 514, 515, 516, 530})
"""Labels that are not there once a skull has been stripped; CSF may be (Billot et al. 2023, table S2)."""


@dataclass(frozen=True)
class Structure:
    """One class of a parcellation.

    Attributes:
        id: FreeSurfer's number, which segmentation files hold.
        name: for users, with its side.
        side: "left", "right" or "midline".
        mirror: the id of the same structure on the other side (itself when on the midline).
        color: for display, as #rrggbb.
        sources: ids of the label map's labels that it is made of.
    """

    id: int
    name: str
    side: str
    mirror: int
    color: str
    sources: frozenset[int]


LESION = Structure(99, "lesion", "midline", 99, "#e63c32", frozenset())
"""An optional last class; 99 is FreeSurfer's number of a lesion without a side."""


@lru_cache(maxsize=1)
def _table() -> tuple[Structure, ...]:
    """Return the table that ships with StrokeLabel, in the order of its ids."""
    text = resources.files("strokelabel").joinpath("structure_table.tsv").read_text(encoding="utf-8")
    return tuple(
        Structure(
            int(row["id"]),
            row["name"],
            row["side"],
            int(row["mirror"]),
            row["color"],
            _ids(row["sources"]),
        )
        for row in csv.DictReader(text.splitlines(), delimiter="\t")
    )


def _ids(text: str) -> frozenset[int]:
    """Parse numbers and ranges of numbers, such as "3,1000-1035"."""
    ends = [part.split("-") for part in text.split(",")]
    return frozenset(number for end in ends for number in range(int(end[0]), int(end[-1]) + 1))


def parcellation_structures(*, lesion: bool = False) -> tuple[Structure, ...]:
    """Return the classes of a parcellation in the order of a network's output channels; background is first.

    Args:
        lesion: whether there is a class for lesions, after all others.
    """
    return (*_table(), LESION) if lesion else _table()


def structures_of(ids: Sequence[int]) -> tuple[Structure, ...]:
    """Return the structures with these ids, in the order given.

    Raises:
        LabelMapError: an id is of no structure.
    """
    known = {structure.id: structure for structure in parcellation_structures(lesion=True)}
    unknown = sorted(set(ids) - known.keys())
    if unknown:
        raise LabelMapError(f"expected ids of structures ({', '.join(map(str, known))}), found {unknown}")
    return tuple(known[structure_id] for structure_id in ids)


def mirrored_classes(structures: Sequence[Structure]) -> tuple[int, ...]:
    """Return for each class that of the same structure on the other side; of the midline, the class itself."""
    position = {structure.id: index for index, structure in enumerate(structures)}
    return tuple(position[structure.mirror] for structure in structures)


def classes_of_labels(table: LabelTable, structures: Sequence[Structure]) -> tuple[int | None, ...]:
    """Return the class of each label of a table.

    Args:
        table: the labels of label maps.
        structures: the classes.

    Returns:
        One class index per row of the table. None where a label belongs to no structure, as the corpus callosum's do:
        they have no side, and the white matter does.
    """
    known = {source: index for index, structure in enumerate(structures) for source in structure.sources}
    return tuple(known.get(label.id) for label in table.labels)
