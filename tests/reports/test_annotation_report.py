"""The annotation report is right about volumes, Dice, times and versions, whatever a studies folder holds."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from strokelabel.cli.main import app
from strokelabel.errors import DataError, GeometryError, LabelMapError
from strokelabel.io.label_files import lesion_value
from strokelabel.reports.annotations.page import report_page, write_report
from strokelabel.reports.annotations.report import LesionLabel, annotation_rows, compare, version_rows

SHAPE = (11, 14, 8)
VOXEL_ML = 1.5 * 2.0 * 4.0 / 1000
SERVED = 1_700_000_000


def affine() -> np.ndarray:
    """Oblique, with unequal sides of 1.5, 2 and 4 mm."""
    c, s = np.cos(0.2), np.sin(0.2)
    grid = np.eye(4)
    grid[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.diag([-1.5, 2.0, 4.0])
    grid[:3, 3] = (12, -31, 7)
    return grid


def box(*sides: slice) -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[sides] = 1
    return mask


PREDICTED, SUBMITTED = box(slice(2, 6), slice(3, 7), slice(2, 4)), box(slice(3, 7), slice(3, 7), slice(2, 4))


class Studies:
    """A studies folder as a server leaves it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.objects = folder, {}

    def add(self, image: str, labels: dict[str, tuple[np.ndarray, dict[str, Any]]], **info: Any) -> None:
        entry: dict[str, Any] = {"image": {"ext": ".nii.gz", "info": info}, "labels": {}}
        for tag, (mask, about) in labels.items():
            path = self.folder / "labels" / tag / f"{image}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.Nifti1Image(mask.astype(np.uint8), affine()).to_filename(path)
            entry["labels"][tag] = {"ext": ".nii.gz", "info": about}
        self.objects[image] = entry
        text = json.dumps({"name": "", "objects": self.objects})
        (self.folder / "datastore_v2.json").write_text(text)


@pytest.fixture
def studies(tmp_path: Path) -> Studies:
    made = Studies(tmp_path)
    offers = {"first": {"ts": SERVED, "client_id": "ann"}, "random": {"ts": SERVED + 9, "client_id": "ben"}}
    first = {"params": {"model": {"name": "base", "version": "0.2.0"}}}
    second = {"params": {"model": {"name": "base", "version": "0.2.0+0001"}}}
    submitted = {"ts": SERVED + 300, "client_id": "ann", "status": "corrected", "time_spent_s": 120.5}
    made.add("moved", {"original": (PREDICTED, first), "final": (SUBMITTED, submitted)}, strategy=offers)
    later = {"ts": SERVED + 900, "client_id": "ben"}
    made.add("kept", {"original": (SUBMITTED, second), "final": (SUBMITTED, later)})
    made.add("drawn", {"final": (SUBMITTED, {"ts": SERVED + 600})})
    made.add("waiting", {"original": (PREDICTED, first)})
    return made


def test_a_row_has_who_when_how_long_and_what_was_changed(studies: Studies) -> None:
    (row,) = [row for row in annotation_rows(studies.folder) if row.image == "moved"]
    assert (row.annotators, row.strategy, row.minutes, row.time_spent_s) == ("ann", "first", 5.0, 120.5)
    assert (row.served, row.submitted) == ("2023-11-14T22:13:20+00:00", "2023-11-14T22:18:20+00:00")
    assert (row.model_version, row.status, row.note) == ("0.2.0", "corrected", None)
    assert row.before_ml == row.after_ml == pytest.approx(32 * VOXEL_ML, abs=1e-4)
    assert row.added_ml == row.removed_ml == pytest.approx(8 * VOXEL_ML, abs=1e-4)
    assert row.dice == pytest.approx(0.75)


def test_labels_are_in_the_order_of_submission_and_unlabelled_scans_are_left_out(studies: Studies) -> None:
    rows = annotation_rows(studies.folder)
    assert [row.image for row in rows] == ["moved", "drawn", "kept"]
    assert rows[1].dice is None and rows[1].note == "no prediction was kept" and rows[1].after_ml > 0


def test_the_rounds_are_the_versions_with_their_median_dice(studies: Studies) -> None:
    versions = version_rows(annotation_rows(studies.folder))
    assert [(v.model_version, v.n, v.median_dice) for v in versions] == [
        ("0.2.0", 1, 0.75),
        ("0.2.0+0001", 1, 1.0),
    ]


@pytest.mark.parametrize("flips", [(0,), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
def test_a_label_whose_axes_were_turned_is_compared_where_it_lies(
    flips: tuple[int, ...], axes: tuple[int, ...]
) -> None:
    image = nib.Nifti1Image(PREDICTED, affine())
    orientation = np.array([[axes.index(axis), -1 if axis in flips else 1] for axis in range(3)])
    turned = image.as_reoriented(orientation)
    label = LesionLabel(np.asarray(turned.dataobj) > 0, turned.affine)
    assert compare(label, LesionLabel(PREDICTED > 0, affine())).dice == 1.0
    assert compare(label, LesionLabel(SUBMITTED > 0, affine())).added_ml == pytest.approx(8 * VOXEL_ML)


def test_a_label_of_another_shape_or_place_is_refused() -> None:
    label = LesionLabel(SUBMITTED > 0, affine())
    elsewhere = affine()
    elsewhere[0, 3] += 1.5
    for other in (LesionLabel(label.mask[1:], affine()), LesionLabel(label.mask, elsewhere)):
        with pytest.raises(GeometryError, match="prediction: expected the grid of the label"):
            compare(other, label)


@pytest.mark.parametrize(
    ("before", "after", "expected"), [(0, 0, 1.0), (0, 1, 0.0), (1, 0, 0.0)], ids=["both", "added", "removed"]
)
def test_empty_labels_score_by_the_rule_of_isles(before: int, after: int, expected: float) -> None:
    first, second = (LesionLabel((SUBMITTED * part) > 0, affine()) for part in (before, after))
    assert compare(first, second).dice == expected


def test_the_lesion_is_found_by_its_name_among_tissues() -> None:
    names = {"params": {"label_names": {"gray matter": 1, "lesion": 5}}}
    assert lesion_value(names) == 5
    assert lesion_value({"label_info": [{"name": "Lesion", "idx": 2}]}) == 2
    assert lesion_value({}) is None
    with pytest.raises(LabelMapError, match="lesion"):
        lesion_value({"params": {"label_names": {"gray matter": 1, "csf": 4}}})


@pytest.mark.parametrize("content", [b"not a label", b""])
def test_a_damaged_label_is_a_note_without_the_servers_path(studies: Studies, content: bytes) -> None:
    (studies.folder / "labels/final/moved.nii.gz").write_bytes(content)
    (studies.folder / "labels/original/kept.nii.gz").unlink()
    rows = {row.image: row for row in annotation_rows(studies.folder)}
    assert rows["moved"].dice is None and rows["moved"].note.startswith("submitted label:")
    assert rows["kept"].note.startswith("prediction:") and rows["kept"].after_ml > 0
    assert str(studies.folder) not in f"{rows['moved'].note} {rows['kept'].note}"


@pytest.mark.parametrize(
    "info", [{"strategy": 3}, {"strategy": {"x": {"ts": "soon"}}}, {"strategy": {"x": []}}]
)
def test_whatever_clients_wrote_is_no_obstacle(tmp_path: Path, info: dict[str, Any]) -> None:
    made = Studies(tmp_path)
    made.add("odd", {"final": (SUBMITTED, {"ts": "yesterday", "client_id": 5, "label_info": 7})}, **info)
    (row,) = annotation_rows(tmp_path)
    assert row.minutes is None and row.submitted is None and row.after_ml > 0


def test_the_command_writes_table_json_and_a_page_of_its_own(studies: Studies, tmp_path: Path) -> None:
    output = tmp_path / "report"
    done = CliRunner().invoke(app, ["report", "annotations", str(studies.folder), "-o", str(output)])
    assert done.exit_code == 0, done.output
    assert "3 submitted labels" in done.output and "0.875 (n = 2)" in done.output
    with (output / "annotations.tsv").open(newline="") as file:
        table = list(csv.DictReader(file, delimiter="\t"))
    assert [row["image"] for row in table] == ["moved", "drawn", "kept"] and table[1]["dice"] == "n/a"
    assert len(json.loads((output / "annotations.json").read_text())["versions"]) == 2
    page = (output / "annotations.html").read_text()
    assert "data:image/png;base64," in page and "http" not in page


def test_names_are_shown_as_text_and_never_run(tmp_path: Path) -> None:
    made = Studies(tmp_path)
    made.add("x", {"final": (SUBMITTED, {"ts": SERVED, "client_id": "<script>alert(1)</script>"})})
    page = report_page(annotation_rows(tmp_path))
    assert "<script>" not in page and "&lt;script&gt;" in page


def test_a_folder_that_was_never_served_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"datastore_v2\.json"):
        write_report(tmp_path, tmp_path / "out")
    (tmp_path / "datastore_v2.json").write_text("{")
    with pytest.raises(DataError, match="MONAI Label"):
        annotation_rows(tmp_path)


def test_a_report_without_labels_says_so(tmp_path: Path) -> None:
    Studies(tmp_path).add("waiting", {"original": (PREDICTED, {})})
    assert "No label has been submitted yet" in report_page(annotation_rows(tmp_path))
