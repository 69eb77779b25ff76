"""Structures of a parcellation, and the labels of a label map that belong to each of them.

They are those of SynthSeg 2.0: the structures of Billot et al. 2023 (supplement 3) and the cerebrospinal fluid around
the brain, 33 classes with the background. Numbers and colours are FreeSurfer's. Other organs have a table of their own,
which comes with the data: `read_structure_table`.
"""

from __future__ import annotations

import colorsys
import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path

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


def structures_of(ids: Sequence[int], table: object = None) -> tuple[Structure, ...]:
    """Return the structures with these ids, in the order given.

    Args:
        ids: of the structures.
        table: rows of `structure_rows`, such as a recipe keeps of other organs; anything else stands for SynthSeg's.

    Raises:
        LabelMapError: an id is of no structure, or the table is damaged.
    """
    own = structures_from_rows(table, "structure table") if isinstance(table, list | tuple) else None
    known = {structure.id: structure for structure in own or parcellation_structures(lesion=True)}
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
        One class index per row of the table; clusters of a structure have the class of that structure. None where a
        label belongs to no structure, as the corpus callosum's do: they have no side, and the white matter does.
    """
    known = {source: index for index, structure in enumerate(structures) for source in structure.sources}
    return tuple(known.get(table.parent(label)) for label in table.labels)


QUALITY_GROUPS: Mapping[str, frozenset[int]] = {
    "general white matter": frozenset({2, 41}),
    "general gray matter": frozenset({3, 42, 11, 50, 26, 58, 28, 60}),
    "general CSF": frozenset({4, 43, 5, 44, 14, 15, CSF_ID}),
    "cerebellum": frozenset({7, 46, 8, 47}),
    "brainstem": frozenset({16}),
    "thalamus": frozenset({10, 49}),
    "putamen+pallidum": frozenset({12, 51, 13, 52}),
    "hippocampus+amygdala": frozenset({17, 53, 18, 54}),
}
"""Ids of the structures whose quality is judged together, both sides; the groups are those of SynthSeg 2.0."""


TISSUE_GROUPS: Mapping[str, frozenset[int]] = {
    "white matter": frozenset({2, 41, 16, 28, 60}),
    "gray matter": frozenset({3, 42, 10, 49, 11, 50, 12, 51, 13, 52, 17, 53, 18, 54, 26, 58}),
    "cerebrospinal fluid": frozenset({4, 43, 5, 44, 14, 15, CSF_ID}),
    "cerebellum": frozenset({7, 46, 8, 47}),
}
"""Ids of the structures of each tissue, both sides: the groups that SynthSeg's robust mode corrects first."""


def quality_classes(structures: Sequence[Structure]) -> tuple[int, ...]:
    """Return for each structure the class of its group in `QUALITY_GROUPS`; see `group_classes`."""
    return group_classes(structures, QUALITY_GROUPS)


def group_classes(structures: Sequence[Structure], groups: Mapping[str, frozenset[int]]) -> tuple[int, ...]:
    """Return for each structure the class of its group, counted from 1; 0 for the background.

    Raises:
        LabelMapError: a structure belongs to no group.
    """
    known = {BACKGROUND.id: 0} | {
        id_: number for number, ids in enumerate(groups.values(), start=1) for id_ in ids
    }
    if others := [structure.name for structure in structures if structure.id not in known]:
        raise LabelMapError(f"expected structures of SynthSeg alone, found {', '.join(others)}")
    return tuple(known[structure.id] for structure in structures)


BACKGROUND = Structure(0, "background", "midline", 0, "#000000", frozenset({0}))
"""First class of every parcellation."""

TISSUE_CLASSES = (BACKGROUND.name, *TISSUE_GROUPS)
"""Names of the classes of a denoiser of tissue groups."""

_SIDES = ("left", "right", "midline")
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")
LARGEST_ID = 65_535
"""Of structures that are not SynthSeg's: what two bytes hold."""

_HUE_STEP = 0.618034
"""Golden section: hues of any number of structures differ."""


def read_structure_table(path: Path) -> tuple[Structure, ...]:
    """Read the structures of a label map: tab-separated, with columns index and name (BIDS's `dseg.tsv`).

    Further columns may be side (left, right or midline; midline if empty), mirror (index of the same structure on the
    other side; found by the name, "left kidney" and "right kidney", if empty) and color (#rrggbb).

    Returns:
        The structures by their index, the background first, which needs no row.

    Raises:
        LabelMapError: not such a table; says which row is wrong.
    """
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines(), delimiter="\t"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LabelMapError(
            f"expected a tab-separated table of structures, it could not be read ({error})", source=path
        ) from error
    if not rows or not {"index", "name"} <= rows[0].keys():
        raise LabelMapError(
            "expected a tab-separated table of structures with the columns index and name; add them",
            source=path,
        )
    return structures_from_rows(rows, str(path))


def structures_from_values(values: Iterable[int]) -> tuple[Structure, ...]:
    """Return structures for the values of a label map of which no table says the names."""
    rows = [{"index": value, "name": f"label {value}"} for value in sorted(values) if value]
    return structures_from_rows(rows, "label maps")


def structure_rows(structures: Sequence[Structure]) -> list[dict[str, int | str]]:
    """Return structures as rows of a table, which `structures_from_rows` reads; without the background."""
    return [
        {"index": one.id, "name": one.name, "side": one.side, "mirror": one.mirror, "color": one.color}
        for one in structures
        if one.id
    ]


def structure_table(structures: Sequence[Structure]) -> str:
    """Return BIDS's table of a segmentation's values: tab-separated index, name and colour."""
    rows = [f"{structure.id}\t{structure.name}\t{structure.color}" for structure in structures]
    return "\n".join(["index\tname\tcolor", *rows]) + "\n"


def structures_from_rows(rows: Sequence[Mapping[str, object]], source: str) -> tuple[Structure, ...]:
    """Return the structures of a table's rows by their index, the background first.

    Args:
        rows: see `read_structure_table` for the keys.
        source: of the rows, for messages.

    Raises:
        LabelMapError: an index that is no number from 1 to 65535 or occurs twice, a name that is missing or occurs
            twice, or a side without its other side.
    """
    named: dict[int, Structure] = {}
    for number, row in enumerate(rows):
        structure = _structure(row, number, source)
        if structure.id in named or structure.name in {other.name for other in named.values()}:
            raise LabelMapError(
                f"expected each index and name once, found {structure.id} ({structure.name}) again",
                source=source,
            )
        if structure.id:
            named[structure.id] = structure
    if not named:
        raise LabelMapError("expected structures beside the background, found none", source=source)
    found = [_with_mirror(named[index], named, source) for index in sorted(named)]
    return (BACKGROUND, *found)


def _structure(row: Mapping[str, object], number: int, source: str) -> Structure:
    """Return the structure of one row; its mirror is -1 where the row does not say it."""
    texts = {key: str(value).strip() for key, value in row.items() if value is not None}
    index, name = texts.get("index", ""), texts.get("name", "")
    side, mirror = texts.get("side", "").lower() or "midline", texts.get("mirror") or "-1"
    color = texts.get("color", "")
    if not index.isdecimal() or int(index) > LARGEST_ID or not name or side not in _SIDES:
        raise LabelMapError(
            f"expected an index from 1 to {LARGEST_ID}, a name and a side of {', '.join(_SIDES)} in each row, "
            f"found index {index!r}, name {name!r}, side {side!r} in row {number + 1}",
            source=source,
        )
    if not mirror.removeprefix("-").isdecimal():
        raise LabelMapError(f"expected an index as mirror of {name}, found {mirror!r}", source=source)
    color = color if _COLOR.fullmatch(color) else _color(number)
    return Structure(int(index), name, side, int(mirror), color, frozenset({int(index)}))


def _with_mirror(structure: Structure, named: Mapping[int, Structure], source: str) -> Structure:
    """Return a structure with the id of its mirror image, which its name tells where the table does not."""
    if structure.side == "midline":
        mirror = structure.id
    elif structure.mirror in named:
        mirror = structure.mirror
    else:
        wanted = _other_side(structure.name)
        mirror = next((one.id for one in named.values() if one.name.lower() == wanted.lower()), -1)
    sides = {structure.side, named[mirror].side} if mirror in named else set()
    if sides not in ({"midline"}, {"left", "right"}):
        raise LabelMapError(
            f"expected the same structure on the other side for {structure.id} ({structure.name}, {structure.side}), "
            "found none; name it with left and right exchanged, give its index in the column mirror, or leave the side "
            "out",
            source=source,
        )
    return Structure(structure.id, structure.name, structure.side, mirror, structure.color, structure.sources)


def _other_side(name: str) -> str:
    """Return a name with the words left and right exchanged."""
    exchanged = {"left": "right", "right": "left"}
    return re.sub(r"left|right", lambda match: exchanged[match[0].lower()], name, flags=re.IGNORECASE)


def _color(number: int) -> str:
    """Return a display colour, different for each row of a table."""
    channels = colorsys.hsv_to_rgb((0.05 + number * _HUE_STEP) % 1, 0.65, 0.9)
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in channels)
