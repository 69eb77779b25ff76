"""The sequences of each session get masks together, each on its own grid; what cannot be used is named."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from strokelabel.errors import OptionError
from strokelabel.inference.naming import group_sessions
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.segment import ensemble
from strokelabel.inference.segment.batch import OutputChoice
from strokelabel.inference.segment.ensemble import OtherSequence, predict_ensemble
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.inference.segment.session_batch import EnsembleRow, predict_sessions
from strokelabel.inference.segment.uncertainty import Passes
from strokelabel.io import read_image
from strokelabel.metrics import dice
from support.bright_network import BrightNetwork, make_spec, save_bright_model
from support.session_data import GRIDS, affine_of, lesion_of, write_session


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    path = save_bright_model(tmp_path_factory.mktemp("bright") / "bright.safetensors")
    return Predictor(make_spec(path=path), BrightNetwork(), torch.device("cpu"))


def rows_of(predictor: Predictor, scans: list[Path], out: Path, **options: object) -> dict[str, EnsembleRow]:
    return {Path(row.source).name: row for row in predict_sessions(predictor, scans, out, **options)}


def sidecar_of(out: Path, row: EnsembleRow) -> dict[str, object]:
    return json.loads((out / str(row.mask).replace(".nii.gz", ".json")).read_text())


def test_each_sequence_gets_the_mask_of_all_on_its_own_grid(predictor: Predictor, tmp_path: Path) -> None:
    scans, out = write_session(tmp_path / "in"), tmp_path / "out"
    rows = rows_of(predictor, scans, out)
    assert list(rows) == [f"sub-01_ses-1_{suffix}.nii.gz" for suffix in ("FLAIR", "T1w", "T2w")]
    for scan in scans:
        row, suffix = rows[scan.name], scan.name.split("_")[-1][: -len(".nii.gz")]
        assert row.mask == f"sub-01_ses-1_space-orig_label-L_desc-{suffix}ensemblelesion_mask.nii.gz"
        mask = nib.load(out / row.mask)
        assert mask.shape == GRIDS[suffix][0]
        np.testing.assert_allclose(mask.affine, affine_of(suffix), atol=1e-6)
        assert dice(lesion_of(suffix), np.asarray(mask.dataobj)) > 0.75
        known = sidecar_of(out, row)
        assert known["Sources"][0] == str(scan) and set(known["Sources"]) == {str(one) for one in scans}
        assert known["ensemble"] and known["left_out"] == {}
        assert {one["by"] for one in known["alignment"].values()} == {"header"}


def test_the_masks_are_those_of_the_function_that_the_server_calls(
    predictor: Predictor, tmp_path: Path
) -> None:
    scans, out = write_session(tmp_path / "in"), tmp_path / "out"
    rows = rows_of(predictor, scans, out)
    for scan in scans:
        others = [
            OtherSequence(one.name, lambda one=one: read_image(one)) for one in scans if one is not scan
        ]
        expected = predict_ensemble(
            predictor, read_image(scan), others, PredictionOptions(keep_probabilities=False)
        )
        found = np.asarray(nib.load(out / str(rows[scan.name].mask)).dataobj)
        np.testing.assert_array_equal(found, expected.found.prediction.lesion_mask)


def test_a_session_of_one_sequence_is_predicted_alone_and_says_so(
    predictor: Predictor, tmp_path: Path
) -> None:
    scans = write_session(tmp_path / "in", suffixes=("T2w",))
    (row,) = rows_of(predictor, scans, tmp_path / "out").values()
    assert row.status == "done" and row.sequences == "sub-01_ses-1_T2w.nii.gz"
    assert "the only sequence of its session" in row.reason
    mask = np.asarray(nib.load(tmp_path / "out" / str(row.mask)).dataobj)
    np.testing.assert_array_equal(mask, predictor.predict(read_image(scans[0])).lesion_mask)


def test_a_corrupt_sequence_fails_and_the_others_are_predicted_without_it(
    predictor: Predictor, tmp_path: Path
) -> None:
    scans, out = write_session(tmp_path / "in"), tmp_path / "out"
    scans[0].write_bytes(scans[0].read_bytes()[:3000])
    rows = rows_of(predictor, scans, out)
    assert [row.status for row in rows.values()] == ["failed", "done", "done"]
    for row in list(rows.values())[1:]:
        assert row.left_out == scans[0].name and f"left out {scans[0].name}" in row.reason
        assert list(sidecar_of(out, row)["left_out"]) == [str(scans[0])]
        suffix = Path(row.source).name.split("_")[-1][: -len(".nii.gz")]
        assert dice(lesion_of(suffix), np.asarray(nib.load(out / str(row.mask)).dataobj)) > 0.75


def test_a_sequence_that_is_registered_is_said_so_in_the_sidecar(
    predictor: Predictor, tmp_path: Path
) -> None:
    scans, out = write_session(tmp_path / "in", suffixes=("T1w", "T2w")), tmp_path / "out"
    image = nib.load(scans[1])
    affine = image.affine.copy()
    affine[:3, 3] += (6, -30, 11)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), scans[1])
    rows = rows_of(predictor, scans, out)
    first = sidecar_of(out, rows[scans[0].name])["alignment"][str(scans[1])]
    assert first["by"] == "rigid registration" and first["brain_overlap"] > first["brain_overlap_by_header"]
    assert np.array(first["scan_to_sequence"])[:3, 3] == pytest.approx([6, -30, 11], abs=2.5)
    assert all("was registered to the scan" in row.reason for row in rows.values())


def test_results_are_kept_until_a_sequence_comes_or_changes(predictor: Predictor, tmp_path: Path) -> None:
    scans, out = write_session(tmp_path / "in"), tmp_path / "out"
    rows_of(predictor, scans[:2], out)
    again = rows_of(predictor, scans[:2], out)
    assert {row.status for row in again.values()} == {"kept"}
    assert again[scans[0].name].sequences == f"{scans[0].name}, {scans[1].name}"
    more = rows_of(predictor, scans, out)
    assert {row.status for row in more.values()} == {"done"}
    later = (out / str(more[scans[0].name].mask)).stat().st_mtime + 10
    os.utime(scans[2], (later, later))
    assert {row.status for row in rows_of(predictor, scans, out).values()} == {"done"}


def test_results_of_other_options_are_not_overwritten(predictor: Predictor, tmp_path: Path) -> None:
    scans, out = write_session(tmp_path / "in", suffixes=("T1w", "T2w")), tmp_path / "out"
    rows_of(predictor, scans, out)
    other = Predictor(predictor.spec, predictor.network, predictor.device, PredictionOptions(threshold=0.3))
    rows = rows_of(other, scans, out)
    assert {row.status for row in rows.values()} == {"failed"}
    assert all("options" in row.reason for row in rows.values())


def test_a_scan_whose_name_tells_no_session_is_refused(predictor: Predictor, tmp_path: Path) -> None:
    (scan,) = write_session(tmp_path / "in", suffixes=("T1w",))
    plain = scan.rename(scan.with_name("scan.nii.gz"))
    (row,) = rows_of(predictor, [plain], tmp_path / "out").values()
    assert row.status == "failed" and "BIDS name" in row.reason and "--ensemble" in row.reason


def test_the_network_sees_each_sequence_once(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    passes = ensemble._passes
    monkeypatch.setattr(ensemble, "_passes", lambda *args: seen.append(args) or passes(*args))
    rows_of(predictor, write_session(tmp_path / "in"), tmp_path / "out")
    assert len(seen) == 3


def test_maps_of_uncertainty_are_those_of_all_sequences_and_views(
    predictor: Predictor, tmp_path: Path
) -> None:
    scans, out = write_session(tmp_path / "in", suffixes=("T1w", "T2w")), tmp_path / "out"
    choice = OutputChoice(uncertainty=("mutual-information",), passes=Passes(count=2))
    rows = rows_of(predictor, scans, out, choice=choice)
    known = sidecar_of(out, rows[scans[1].name])
    assert known["passes_made"] == 4
    found = nib.load(out / "sub-01_ses-1_space-orig_desc-T2wensemblemutualinformation_uncertainty.nii.gz")
    assert found.shape == GRIDS["T2w"][0] and found.get_fdata().max() > 0
    with pytest.raises(OptionError, match="dropout"):
        predict_sessions(predictor, scans, out, replace(choice, passes=Passes("dropout")))


def test_sessions_are_of_one_data_set_subject_session_and_space(tmp_path: Path) -> None:
    names = (
        "a/sub-1/anat/sub-1_T1w.nii.gz",
        "a/sub-1/dwi/sub-1_dwi.nii.gz",
        "b/sub-1/anat/sub-1_FLAIR.nii.gz",
        "a/sub-1/ses-2/anat/sub-1_ses-2_T1w.nii.gz",
        "a/sub-1/anat/sub-1_space-MNI_T2w.nii.gz",
        "a/sub-1/anat/sub-1_part-phase_T2starw.nii.gz",
        "a/sub-1/anat/sub-1_ct.nii.gz",
        "flat/sub-2_T1w.nii.gz",
        "flat/sub-2_FLAIR.nii.gz",
        "scan.nii.gz",
    )
    groups = [
        [str(scan.relative_to(tmp_path)) for scan in group]
        for group in group_sessions(tmp_path / name for name in names)
    ]
    assert groups == [
        ["a/sub-1/anat/sub-1_T1w.nii.gz", "a/sub-1/dwi/sub-1_dwi.nii.gz"],
        ["b/sub-1/anat/sub-1_FLAIR.nii.gz"],
        ["a/sub-1/ses-2/anat/sub-1_ses-2_T1w.nii.gz"],
        ["a/sub-1/anat/sub-1_space-MNI_T2w.nii.gz"],
        ["flat/sub-2_FLAIR.nii.gz", "flat/sub-2_T1w.nii.gz"],
    ]
