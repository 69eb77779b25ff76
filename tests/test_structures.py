"""The structures of a parcellation: SynthSeg's, with FreeSurfer's numbers, each with its side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from strokelabel.errors import LabelMapError
from strokelabel.labels import LabelTable, default_label_table
from strokelabel.structures import (
    EXTRACEREBRAL_IDS,
    QUALITY_GROUPS,
    classes_of_labels,
    mirrored_classes,
    parcellation_structures,
    quality_classes,
    read_structure_table,
    structure_rows,
    structures_from_rows,
    structures_of,
)

STRUCTURES = parcellation_structures()
SYNTHSEG_2 = [0, 2, 3, 4, 5, 7, 8, 10, 11, 12, 13, 14, 15, 16, 17, 18, 24, 26, 28]
SYNTHSEG_2 += [41, 42, 43, 44, 46, 47, 49, 50, 51, 52, 53, 54, 58, 60]


def target_of(label_id: int) -> int | None:
    """The structure that a label of a label map belongs to."""
    table = default_label_table()
    index = classes_of_labels(table, STRUCTURES)[table.index(label_id)]
    return None if index is None else STRUCTURES[index].id


def test_there_are_the_33_classes_of_synthseg_2_and_the_lesion_is_a_34th():
    assert [structure.id for structure in STRUCTURES] == SYNTHSEG_2
    with_lesion = parcellation_structures(lesion=True)
    assert with_lesion[:-1] == STRUCTURES
    assert (with_lesion[-1].id, with_lesion[-1].name) == (99, "lesion")


def test_names_say_the_side_and_are_unique():
    assert len({structure.name for structure in STRUCTURES}) == 33
    for structure in STRUCTURES:
        assert structure.name.startswith(structure.side) == (structure.side != "midline")


@pytest.mark.parametrize(
    ("label", "structure"),
    [
        (25, 2), (57, 41), (136, 4), (137, 5), (163, 43), (164, 44), (30, 0), (62, 0), (24, 24), (72, 0), (85, 0),
        (516, 0), (1034, 3), (2000, 42), (48, 49), (17, 17),
    ],
)  # fmt: skip
def test_lesions_plexus_vessels_and_parcels_belong_where_synthseg_puts_them(label, structure):
    assert target_of(label) == structure


def test_what_is_around_the_brain_is_background_but_for_its_fluid():
    assert {target_of(label) for label in EXTRACEREBRAL_IDS} == {0, 24}


def test_labels_without_a_side_belong_nowhere():
    assert [target_of(label) for label in (77, 251)] == [None, None]


def test_a_label_and_its_mirror_belong_to_a_structure_and_its_mirror():
    table, mirrored = default_label_table(), mirrored_classes(STRUCTURES)
    classes = classes_of_labels(table, STRUCTURES)
    for label, index in zip(table.labels, classes, strict=True):
        other = classes[table.index(label.mirror)]
        assert (other is None) if index is None else (other == mirrored[index])


def test_mirroring_twice_changes_nothing_and_once_every_class_with_a_side():
    mirrored = mirrored_classes(parcellation_structures(lesion=True))
    assert [mirrored[index] for index in mirrored] == list(range(34))
    assert sum(index == other for index, other in enumerate(mirrored)) == 34 - 28


def test_a_label_of_somebody_elses_table_belongs_nowhere():
    label = replace(default_label_table()[2], id=9999, mirror=9999)
    assert classes_of_labels(LabelTable((label,)), STRUCTURES) == (None,)


def test_structures_are_found_by_their_ids_and_others_are_refused():
    assert [one.name for one in structures_of((0, 49, 99))] == ["background", "right thalamus", "lesion"]
    with pytest.raises(LabelMapError, match=r"found \[57, 123\]"):
        structures_of((2, 123, 57))


def write_table(folder: Path, text: str) -> Path:
    path = folder / "dseg.tsv"
    path.write_text(text)
    return path


def test_a_table_of_other_structures_needs_no_more_than_index_and_name(tmp_path: Path):
    table = "index\tname\n2\tpapillary muscle\n1\tmyocardium\n0\tbackground\n"
    background, first, second = read_structure_table(write_table(tmp_path, table))
    assert (background.id, first.id, second.id) == (0, 1, 2)
    assert (first.name, first.side, first.mirror, first.sources) == ("myocardium", "midline", 1, {1})
    assert first.color != second.color


def test_sides_of_other_structures_find_each_other_by_name_or_by_number(tmp_path: Path):
    table = (
        "index\tname\tside\tmirror\tcolor\n"
        "7\tKidney Left\tleft\t\t#102030\n9\tkidney right\tright\t\t\n"
        "11\tsinister\tleft\t12\t\n12\tdexter\tright\t11\t\n"
    )
    structures = read_structure_table(write_table(tmp_path, table))
    assert [one.mirror for one in structures] == [0, 9, 7, 12, 11]
    assert structures[1].color == "#102030"
    assert structures_from_rows(structure_rows(structures), "rows") == structures


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("id,name\n1,a\n", "expected a tab-separated table of structures with the columns index and name"),
        ("index\tname\n", "expected a tab-separated table"),
        ("index\tname\none\ta\n", "found index 'one', name 'a'"),
        ("index\tname\n70000\ta\n", "expected an index from 1 to 65535"),
        ("index\tname\n1\t\n", "name '', .* in row 1"),
        ("index\tname\n1\ta\n1\tb\n", r"expected each index and name once, found 1 \(b\)"),
        ("index\tname\n1\ta\n2\ta\n", r"found 2 \(a\) again"),
        ("index\tname\n0\tbackground\n", "expected structures beside the background"),
        ("index\tname\tside\n1\tleft lung\tleft\n", r"the other side for 1 \(left lung, left\), found none"),
        ("index\tname\tside\n1\ta\ttop\n", "side 'top'"),
        ("index\tname\tmirror\tside\n1\ta\tx\tleft\n", "expected an index as mirror of a"),
    ],
)
def test_a_damaged_table_of_structures_is_refused(tmp_path: Path, table: str, message: str):
    path = write_table(tmp_path, table)
    with pytest.raises(LabelMapError, match=message) as refused:
        read_structure_table(path)
    assert refused.value.source == str(path)


def test_the_groups_of_quality_control_have_every_structure_once_with_its_other_side():
    ids = [structure_id for group in QUALITY_GROUPS.values() for structure_id in group]
    assert sorted([0, *ids]) == SYNTHSEG_2
    classes = quality_classes(STRUCTURES)
    assert classes[0] == 0 and set(classes[1:]) == set(range(1, 9))
    assert all(classes[index] == classes[other] for index, other in enumerate(mirrored_classes(STRUCTURES)))


def test_structures_without_a_group_of_quality_control_are_refused_by_name():
    with pytest.raises(LabelMapError, match="found lesion"):
        quality_classes(parcellation_structures(lesion=True))
