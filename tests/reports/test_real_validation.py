"""The real validation set: a BIDS data set of slabs and scans, and the table of a model card."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from strokelabel.errors import DataError
from strokelabel.metrics.case import CaseMetrics
from strokelabel.reports.evaluation.cases import find_cases, read_pairs
from strokelabel.reports.evaluation.results import CaseResult
from strokelabel.reports.evaluation.slabs import SLAB_MM, slab_axis
from strokelabel.reports.real_validation.dataset import slab_of_slice, write_real_validation
from strokelabel.reports.real_validation.scores import card_table, real_scores
from support.real_material import SIDES, write_material

AREA = 10 / SLAB_MM
"""cm² of a slice for each ml of its slab."""


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_material(tmp_path_factory.mktemp("material"))


@pytest.fixture(scope="module")
def dataset(material: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    write_real_validation(material, folder)
    return folder


def test_every_scan_and_slice_has_a_mask_that_bids_readers_find(dataset: Path) -> None:
    found = find_cases(dataset)
    assert (len(found.cases), found.without_mask, found.problems) == (15, 0, ())
    assert {case.group for case in found.cases} == {"FLAIR", "T1w", "T2w", "dwi", "adc"}
    assert json.loads((dataset / "dataset_description.json").read_text())["DatasetType"] == "raw"


def test_the_table_of_cases_says_what_belongs_to_which_set(dataset: Path) -> None:
    cases = read_pairs(dataset / "derivatives/lesion_masks/cases.tsv")
    groups = {case.name: case.group for case in cases}
    assert len(groups) == 15
    assert groups["sub-soop0007_acq-axialslab_FLAIR"] == "validation: axial slices"
    assert groups["sub-soop0030_acq-sagittalslab_FLAIR"] == "development: sagittal slices"
    assert groups["sub-chronicstroke_T2w"] == "validation: chronic stroke"
    assert groups["sub-acutestroke_adc"] == "development: acute stroke"
    assert groups["sub-child1_T1w"] == "validation: lesion-free"
    assert groups["sub-ms04_ses-1_FLAIR"] == groups["sub-adult2_acq-brain_T1w"] == "development: lesion-free"
    assert all(case.image is not None and case.image.exists() and case.reference.exists() for case in cases)


def test_scans_without_a_lesion_have_empty_masks_on_their_grid(dataset: Path) -> None:
    (case,) = [c for c in find_cases(dataset).cases if c.name == "sub-child1_T1w"]
    image, mask = nib.load(case.image), nib.load(case.reference)
    assert not np.asanyarray(mask.dataobj).any()
    np.testing.assert_allclose(mask.affine, image.affine)


def test_a_slab_is_its_slice_repeated_about_its_place_in_mni_space(dataset: Path, material: Path) -> None:
    path = dataset / "sub-soop0030/anat/sub-soop0030_acq-coronalslab_FLAIR.nii.gz"
    slab = nib.load(path)
    with np.load(material / "slices/soop-flair-validation_coronal.npz") as stored:
        picture = stored["image"][1]
    data = np.asanyarray(slab.dataobj)
    assert data.shape == (SIDES[0], round(SLAB_MM), SIDES[2]) and slab_axis(data) == 1
    np.testing.assert_array_equal(data[:, 20], picture)
    middle = slab.affine @ [0, (SLAB_MM - 1) / 2, 0, 1]
    np.testing.assert_allclose(middle[:3], [-78, -18, -50])


@pytest.mark.parametrize(("view", "normal"), [("axial", 2), ("coronal", 1), ("sagittal", 0)])
def test_rows_and_columns_keep_their_directions(view: str, normal: int) -> None:
    picture = np.zeros((5, 4), np.uint8)
    picture[3, 1] = 1
    slab = slab_of_slice(picture, view)  # type: ignore[arg-type]
    (x, y, z), *_ = np.argwhere(slab.data)
    kept = [index for axis, index in enumerate((x, y, z)) if axis != normal]
    assert kept == [3, 1]


def test_a_set_that_is_there_is_left_alone_and_written_anew_for_other_material(
    material: Path, tmp_path: Path
) -> None:
    table = write_real_validation(material, tmp_path / "set")
    scan = tmp_path / "set/sub-child1/anat/sub-child1_T1w.nii.gz"
    scan.write_bytes(b"kept")
    assert write_real_validation(material, tmp_path / "set") == table
    assert scan.read_bytes() == b"kept"
    description = tmp_path / "set/dataset_description.json"
    description.write_text(json.dumps(json.loads(description.read_text()) | {"MaterialDigest": "other"}))
    write_real_validation(material, tmp_path / "set")
    assert scan.read_bytes() != b"kept"


def test_an_incomplete_folder_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    folder = write_material(tmp_path / "material")
    (folder / "scans/acute-stroke_adc.nii.gz").unlink()
    with pytest.raises(DataError, match="acute-stroke_adc"):
        write_real_validation(folder, tmp_path / "set")
    assert not (tmp_path / "set").exists()


METRICS = CaseMetrics(0.5, 10.0, 2.0, 1, 0.5, 0.6, 0.001, 12.0, 10.0, 1, 2)


def result(
    case: str, group: str, dice: float, reference_ml: float, predicted_ml: float, method: str = "base"
) -> CaseResult:
    metrics = replace(METRICS, dice=dice, reference_ml=reference_ml, prediction_ml=predicted_ml)
    return CaseResult(case, group, method, "done", metrics)


def test_slices_count_by_their_area_and_lesion_free_ones_by_what_is_found() -> None:
    rows = [
        result("a", "validation: axial slices", 0.2, 0.6 / AREA, 1),
        result("b", "validation: axial slices", 0.8, 5.5 / AREA, 1),
        result("c", "validation: axial slices", 0.9, 7.0 / AREA, 1),
        result("tiny", "validation: axial slices", 0.0, 0.4 / AREA, 1),
        result("none", "validation: axial slices", 0.0, 0.0, 1.5 / AREA),
        result("clean", "validation: axial slices", 1.0, 0.0, 0.0),
        result("chronic", "validation: chronic stroke", 0.61, 46, 40),
        result("child", "validation: lesion-free", 0.0, 0, 27.25),
        result("e", "development: coronal slices", 0.3, 2 / AREA, 1),
        result("f", "development: sagittal slices", 0.5, 2 / AREA, 1),
    ]
    rows += [replace(row, method="other") for row in rows[:1]]

    lines = card_table(real_scores(rows)).markdown().splitlines()

    assert lines[2] == "| Scans | Set | n | Measure | base | other |"
    assert lines[4:] == [
        "| axial FLAIR slices, lesion 0.5 cm² and more | validation | 3 | Dice: median (mean) | 0.800 (0.633) | 0.200 (0.200) |",  # noqa: E501
        "| axial FLAIR slices, lesion 5 cm² and more | validation | 2 | Dice: median (mean) | 0.850 (0.850) | – |",
        "| axial FLAIR slices, no lesion | validation | 2 | false area, cm²: median (mean) | 0.75 (0.75) | – |",
        "| chronic (chronic stroke) | validation | 1 | Dice | 0.610 | – |",
        "| child | validation | 1 | false lesion, ml | 27.25 | – |",
        "| coronal and sagittal FLAIR slices, lesion 0.5 cm² and more | development | 2 | Dice: median (mean) | 0.400 (0.400) | – |",  # noqa: E501
        "| coronal and sagittal FLAIR slices, lesion 5 cm² and more | development | 0 | Dice: median (mean) | – | – |",
        "| coronal and sagittal FLAIR slices, no lesion | development | 0 | false area, cm²: median (mean) | – | – |",
    ]


def test_what_failed_has_no_score() -> None:
    assert real_scores([CaseResult("a", "validation: axial slices", "base", "failed")]) == []
