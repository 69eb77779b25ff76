"""A label is kept only if its lesion can be told: nothing that is kept is left out of training without a word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from fastapi import HTTPException

from lib.studies.datastore import StudiesDatastore
from lib.studies.label_meaning import classes_of
from lib.training.fine_tune_task import submitted_labels
from strokelabel.fit.fine_tuning.cases import prepare_cases, read_submitted
from strokelabel.labels import CLASS_NAMES
from support.app_scans import head, lesion, oblique_affine, save
from support.label_data import write_segmentation


@pytest.fixture
def store(tmp_path: Path) -> StudiesDatastore:
    save(tmp_path / "studies/a.nii.gz", head(1))
    return StudiesDatastore(str(tmp_path / "studies"))


def halves(*values: int) -> np.ndarray:
    """The lesion of the scan, cut along i into parts of these values."""
    labels = np.zeros(lesion(1).shape, np.int16)
    parts = np.array_split(np.argwhere(lesion(1)), len(values))
    for part, value in zip(parts, values, strict=True):
        labels[tuple(part.T)] = value
    return labels


def named(*names: str, first: int = 1) -> list[dict[str, Any]]:
    return [{"name": name, "idx": value} for value, name in enumerate(names, start=first)]


def submit(store: StudiesDatastore, file: Path, **info: Any) -> None:
    store.save_label("a", str(file), "final", {"client_id": "zoe", **info})


def assert_lesion_is(store: StudiesDatastore, expected: np.ndarray) -> None:
    """The derivative and training see the same lesion."""
    (path,) = (Path(store._datastore_path) / "derivatives").rglob("*_mask.nii.gz")
    assert np.array_equal(np.asarray(nib.load(path).dataobj) > 0, expected)
    (label,) = submitted_labels(store)
    assert np.array_equal(read_submitted(label)[1], expected)


@pytest.mark.parametrize("values", [(1, 2), (2, 3, 4), (1, 5), (1, 2, 3, 4, 5), (7, 200)])
def test_several_values_without_names_are_refused_with_what_was_found_and_how_to_say(
    store: StudiesDatastore, tmp_path: Path, values: tuple[int, ...]
) -> None:
    with pytest.raises(HTTPException) as refused:
        submit(store, save(tmp_path / "x.nii.gz", halves(*values)))
    assert refused.value.status_code == 400
    assert f"found the values {', '.join(map(str, values))}" in refused.value.detail
    assert 'label_info in params, such as [{"name": "lesion", "idx": 1}' in refused.value.detail
    assert store.get_labeled_images() == [] and not list(tmp_path.rglob("labels/final/*"))


@pytest.mark.parametrize(
    "names",
    [
        ("Segment_1", "Segment_2"),
        ("Läsion", "Infarkt links"),
        ("лезия", "отёк"),
        ("left", "right", "core"),
        CLASS_NAMES[1:5],
        ("gray matter",),
    ],
)
@pytest.mark.parametrize("kind", ["nii.gz", "seg.nrrd"])
def test_classes_of_which_none_is_the_lesion_are_refused_by_name(
    store: StudiesDatastore, tmp_path: Path, names: tuple[str, ...], kind: str
) -> None:
    labels = halves(*range(1, 1 + len(names)))
    if kind == "seg.nrrd":
        masks = {f"<{value}>": labels == value for value in range(1, 1 + len(names))}
        file, info = write_segmentation(tmp_path / "x.seg.nrrd", masks, oblique_affine()), {}
        content = file.read_bytes()
        for value, name in enumerate(names, start=1):  # Slicer writes UTF-8, pynrrd only ASCII
            content = content.replace(f"<{value}>".encode(), name.encode())
        file.write_bytes(content)
    else:
        file, info = save(tmp_path / "x.nii.gz", labels), {"label_info": named(*names)}
    with pytest.raises(HTTPException) as refused:
        submit(store, file, **info)
    assert refused.value.status_code == 400 and "named 'lesion'" in refused.value.detail
    assert all(
        f"{value} {name}".lower() in refused.value.detail.lower() for value, name in enumerate(names, 1)
    )
    assert ("several may have that name" if kind == "seg.nrrd" else "label_info") in refused.value.detail


def test_a_client_cannot_name_a_lesion_that_is_no_segment_of_its_file(
    store: StudiesDatastore, tmp_path: Path
) -> None:
    masks = {"Segment_1": halves(1, 2) == 1, "Segment_2": halves(1, 2) == 2}
    file = write_segmentation(tmp_path / "x.seg.nrrd", masks, oblique_affine())
    with pytest.raises(HTTPException, match="1 segment_1, 2 segment_2"):
        submit(store, file, label_info=named("lesion", first=7))


@pytest.mark.parametrize("kind", ["nii.gz", "seg.nrrd"])
def test_several_values_that_are_named_lesion_are_one_lesion(
    store: StudiesDatastore, tmp_path: Path, kind: str
) -> None:
    labels = halves(2, 3, 9)
    file = save(tmp_path / "x.nii.gz", labels)
    info = {"label_info": [*named("edema", "lesion", "lesion", first=1)[1:], {"name": "Lesion", "idx": "9"}]}
    if kind == "seg.nrrd":
        file = write_segmentation(
            tmp_path / "x.seg.nrrd", {"lesion": labels == 2, "Lesion": labels > 2}, oblique_affine()
        )
        info = {}
    submit(store, file, **info)
    assert_lesion_is(store, lesion(1))
    assert [entry["name"].lower() for entry in store.get_label_info("a", "final")["label_info"]] == ["lesion"]


@pytest.mark.parametrize("name", ["Segment_1", "Läsion", "a-label", "lesion"])
def test_a_single_class_is_the_lesion_whatever_its_name_and_its_info_says_so(
    store: StudiesDatastore, tmp_path: Path, name: str
) -> None:
    submit(store, save(tmp_path / "x.nii.gz", halves(3)), label_info=named(name, first=3))
    assert_lesion_is(store, lesion(1))
    notes = store.get_label_info("a", "final").get("notes", [])
    assert notes == ([] if name == "lesion" else [f"the only class, named {name!r}, is taken for the lesion"])


def test_numbers_of_values_may_come_as_text_or_decimals(store: StudiesDatastore, tmp_path: Path) -> None:
    entries = [{"name": "edema", "idx": "1"}, {"name": "lesion", "id": 2.0}]
    submit(store, save(tmp_path / "x.nii.gz", halves(1, 2)), label_info=entries)
    assert_lesion_is(store, halves(1, 2) == 2)


@pytest.mark.parametrize(
    "info",
    [
        {"label_info": {"lesion": 1}},
        {"label_info": ["lesion"]},
        {"label_info": [{"name": "lesion"}]},
        {"label_info": [{"name": "lesion", "idx": 1.5}]},
        {"label_info": [{"name": "lesion", "idx": "one"}]},
        {"label_info": [{"name": "lesion", "idx": True}]},
        {"label_info": [{"name": "", "idx": 1}]},
        {"label_info": [{"name": None, "idx": 1}]},
        {"label_info": named("lesion") + named("edema")},
        {"params": {"label_names": {"lesion": None}}},
        {"params": {"label_names": {"lesion": 10**400}}},
    ],
)
def test_names_that_cannot_be_understood_are_refused_instead_of_passed_over(
    store: StudiesDatastore, tmp_path: Path, info: dict[str, Any]
) -> None:
    with pytest.raises(HTTPException, match=r"label_info: expected .* found") as refused:
        submit(store, save(tmp_path / "x.nii.gz", halves(1)), **info)
    assert refused.value.status_code == 400


def test_several_values_without_names_put_there_by_hand_are_left_out_of_training_by_name(
    store: StudiesDatastore, tmp_path: Path
) -> None:
    save(tmp_path / "studies/b.nii.gz", head(1))
    save(tmp_path / "studies/labels/final/a.nii.gz", halves(1, 2).astype(np.uint8))
    save(tmp_path / "studies/labels/final/b.nii.gz", halves(3).astype(np.uint8))
    store.refresh()
    cases, refused = prepare_cases(submitted_labels(store), 6.0, tmp_path / "cache")
    assert [case.submitted.name for case in cases] == ["b"]
    assert "found 1, 2 without names; submit it with label_info" in refused["a"]


def test_a_label_put_there_by_hand_for_no_scan_is_named(store: StudiesDatastore, tmp_path: Path) -> None:
    save(tmp_path / "studies/labels/final/ghost.nii.gz", halves(1, 2).astype(np.uint8))
    store.refresh()
    (sentence,) = [text for text in store.status()["left_out"] if "ghost" in text]
    assert (
        sentence == "labels/final/ghost.nii.gz: no scan in the studies folder has this name; it is not used"
    )


def test_an_empty_or_missing_list_of_names_is_none() -> None:
    assert (
        classes_of({})
        == classes_of({"label_info": []})
        == classes_of({"params": "x", "label_info": None})
        == {}
    )
