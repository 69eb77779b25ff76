"""A cohort is labelled scan by scan: what is done is kept, what fails is said, and the gate can change its mind."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from strokelabel.errors import OptionError
from strokelabel.fit.pseudo_labels.cohort import TABLE_NAME, PseudoLabeler
from strokelabel.fit.pseudo_labels.lesions import align_with_icbm
from strokelabel.fit.pseudo_labels.record import KEY, QualityGate, read_pseudo_labels, write_review
from strokelabel.geometry import Grid
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.segment.predictor import Predictor
from support.bright_network import BrightNetwork, centred_affine, make_spec, phantom

NAMES = ("sub-1_ses-2_T2w", "sub-2_T1w", "plain")
MASKS = (
    "sub-1/ses-2/anat/sub-1_ses-2_space-orig_label-L_desc-T2wlesion_mask.nii.gz",
    "sub-2/dwi/sub-2_space-orig_label-L_desc-T1wlesion_mask.nii.gz",
    "plain_lesion_mask.nii.gz",
)
FOLDERS = ("anat", "dwi", "anywhere")
LENIENT = QualityGate(minimum_confidence=0.1, minimum_ml=0.1)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    shape = (40, 46, 38)
    affine = centred_affine(np.diag([-2.0, 2.0, 2.0]), shape)
    for name, place, radius in zip(NAMES, FOLDERS, (8.0, 9.0, 0.1), strict=True):
        image, _ = phantom(shape, affine, (-6.0, 9.0, 3.0), radius)
        (folder / place).mkdir(exist_ok=True)
        nib.Nifti1Image(image.data, affine).to_filename(folder / place / f"{name}.nii.gz")
    return folder


@pytest.fixture
def scans(cohort) -> list[Path]:
    return [cohort / place / f"{name}.nii.gz" for place, name in zip(FOLDERS, NAMES, strict=True)]


def labeler(model: Path, folder: Path, gate: QualityGate = LENIENT, **arguments) -> PseudoLabeler:
    predictor = Predictor.from_model(model, "cpu", PredictionOptions(keep_probabilities=False))
    return PseudoLabeler(predictor, folder, gate, **arguments)


@pytest.fixture(scope="module")
def labelled(bright_model, cohort, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("labelled")
    paths = [cohort / place / f"{name}.nii.gz" for place, name in zip(FOLDERS, NAMES, strict=True)]
    assert [row.status for row in labeler(bright_model, folder).label_scans(paths)] == ["done"] * 3
    return folder


@pytest.fixture
def again(labelled, tmp_path) -> Path:
    return shutil.copytree(labelled, tmp_path / "again")


def test_masks_are_bids_derivatives_on_the_scan_s_grid_with_all_that_made_them(labelled, scans, bright_model):
    for scan, mask in zip(scans, MASKS, strict=True):
        image, drawn = nib.load(scan), nib.load(labelled / mask)
        assert drawn.shape == image.shape and np.allclose(drawn.affine, image.affine)
        record = json.loads((labelled / mask.replace(".nii.gz", ".json")).read_text())
        assert record["Sources"] == [str(scan.resolve())]
        assert record["weights_sha256"] == Predictor.from_model(bright_model, "cpu").spec.sha256
        assert record["options"]["tta"] is False
        assert record[KEY]["volume_ml"] == pytest.approx(np.asarray(drawn.dataobj).sum() * 8 / 1000)
        assert record[KEY]["gate"]["minimum_ml"] == 0.1
    assert json.loads((labelled / "dataset_description.json").read_text())["DatasetType"] == "derivative"


def test_the_confidence_is_the_mean_lesion_probability_inside_the_mask(labelled, scans, bright_model):
    from strokelabel.io import read_image

    prediction = Predictor.from_model(bright_model, "cpu").predict(read_image(scans[0]))
    expected = prediction.lesion_probability[prediction.lesion_mask > 0].mean()
    label = next(label for label in read_pseudo_labels(labelled) if "sub-1" in label.mask)
    assert label.measures.mean_confidence == pytest.approx(expected, abs=1e-4)


def test_a_mask_that_cannot_be_placed_in_icbm_space_is_rejected_and_says_so(labelled):
    reasons = {label.mask: label.reasons for label in read_pseudo_labels(labelled)}
    assert [reasons[mask] for mask in MASKS] == [
        ("no brain was recognised to align with ICBM space",),
        ("no brain was recognised to align with ICBM space",),
        ("no lesion was found",),
    ]
    with (labelled / TABLE_NAME).open() as file:
        rows = list(csv.DictReader(file))
    assert {row["mask"] for row in rows} == set(MASKS)
    assert {row["accepted"] for row in rows} == {"no"}
    assert rows[0]["similarity"] == "" and float(rows[0]["volume_ml"]) > 1


def test_a_second_run_keeps_what_is_there(bright_model, again, scans):
    before = {path: path.stat().st_mtime_ns for path in again.rglob("*_mask.*")}
    rows = list(labeler(bright_model, again).label_scans(scans))
    assert [row.status for row in rows] == ["kept"] * 3
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_an_interrupted_run_goes_on_with_the_rest(bright_model, again, scans):
    (again / MASKS[1]).unlink()
    statuses = [row.status for row in labeler(bright_model, again).label_scans(scans)]
    assert statuses == ["kept", "done", "kept"]
    statuses = [row.status for row in labeler(bright_model, again, overwrite=True).label_scans(scans)]
    assert statuses == ["done"] * 3


def test_another_gate_judges_anew_without_predicting(bright_model, again, scans):
    strict = QualityGate(minimum_ml=50.0)
    rows = list(labeler(bright_model, again, strict).label_scans(scans))
    assert [row.status for row in rows] == ["kept"] * 3
    reasons = next(label for label in read_pseudo_labels(again) if "sub-1" in label.mask).reasons
    assert len(reasons) == 2 and "expected 50 or more" in reasons[0]
    record = json.loads((again / MASKS[0].replace(".nii.gz", ".json")).read_text())[KEY]
    assert record["reasons"] == list(reasons) and record["accepted"] is False


def test_another_model_or_other_options_label_again(bright_model, again, scans):
    predictor = Predictor.from_model(
        bright_model, "cpu", PredictionOptions(min_size_ml=0.5, keep_probabilities=False)
    )
    rows = list(PseudoLabeler(predictor, again, LENIENT).label_scans(scans[:1]))
    assert [row.status for row in rows] == ["done"]


def test_a_scan_that_fails_is_counted_and_takes_no_other_with_it(bright_model, scans, tmp_path):
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"not an image")
    rows = list(
        labeler(bright_model, tmp_path / "out").label_scans([scans[0], broken, tmp_path / "gone.nii.gz"])
    )
    assert [row.status for row in rows] == ["done", "failed", "failed"]
    assert str(broken) in rows[1].reason and "gone.nii.gz" in rows[2].reason
    table = (tmp_path / "out" / TABLE_NAME).read_text().splitlines()
    assert len(table) == 4 and ",failed," in table[2]


def test_a_model_without_tissues_needs_one_that_has_them(bright_model, tmp_path):
    spec = make_spec(class_names=("background", "lesion"))
    lesion_only = Predictor(spec, BrightNetwork(), torch.device("cpu"))
    with pytest.raises(OptionError, match="name a second model"):
        PseudoLabeler(lesion_only, tmp_path, LENIENT)
    PseudoLabeler(lesion_only, tmp_path, LENIENT, tissues=Predictor.from_model(bright_model, "cpu"))


def test_next_to_no_brain_is_not_aligned():
    labels = np.zeros((30, 30, 30), np.uint8)
    labels[10:15, 10:15, 10:15] = 3
    assert align_with_icbm(labels, Grid((30, 30, 30), np.diag([2.0, 2, 2, 1]))) is None


def test_no_model_draws_over_what_an_annotator_accepted_or_corrected(again, scans, bright_model):
    for mask, status in zip(MASKS, ("corrected", "rejected", "pseudo"), strict=True):
        write_review(again / mask, again, status)
    path = again / MASKS[0]
    image = nib.load(path)
    painted = np.asarray(image.dataobj).copy()
    painted[:4] = 1
    nib.Nifti1Image(painted, image.affine).to_filename(path)
    rows = list(labeler(bright_model, again, overwrite=True).label_scans(scans))
    assert [row.status for row in rows] == ["kept", "done", "done"]
    assert np.array_equal(nib.load(path).dataobj, painted)
    assert [label.status for label in read_pseudo_labels(again) if label.mask == MASKS[0]] == ["corrected"]
    assert [row.cells()["review"] for row in rows] == ["corrected", "pseudo", "pseudo"]
