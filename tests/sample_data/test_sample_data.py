"""What tests, tutorials and first-time users rely on in sample-data/."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cc3d
import nibabel as nib
import numpy as np
import pytest

TRUTH = Path("derivatives/simulated-truth")
SUFFIXES = {"01": "T1w", "02": "T2w", "03": "FLAIR"}


@dataclass(frozen=True)
class Case:
    scan: nib.Nifti1Image
    truth: nib.Nifti1Image

    @property
    def intensities(self) -> np.ndarray:
        return np.asarray(self.scan.dataobj)

    @property
    def lesion(self) -> np.ndarray:
        return np.asarray(self.truth.dataobj) > 0

    @property
    def volume_ml(self) -> float:
        return float(self.lesion.sum() * abs(np.linalg.det(self.truth.affine[:3, :3])) / 1000)

    def lesion_center_mm(self) -> np.ndarray:
        return nib.affines.apply_affine(self.truth.affine, np.argwhere(self.lesion)).mean(axis=0)

    def brain_center_mm(self) -> np.ndarray:
        return nib.affines.apply_affine(self.scan.affine, np.argwhere(self.intensities > 0)).mean(axis=0)


def scan_path(folder: Path, subject: str) -> Path:
    return folder / f"sub-{subject}/anat/sub-{subject}_{SUFFIXES[subject]}.nii.gz"


def truth_path(folder: Path, subject: str) -> Path:
    name = f"sub-{subject}_space-orig_label-L_desc-{SUFFIXES[subject]}lesion_mask.nii.gz"
    return folder / TRUTH / f"sub-{subject}" / "anat" / name


def load(folder: Path, subject: str) -> Case:
    return Case(nib.load(scan_path(folder, subject)), nib.load(truth_path(folder, subject)))


@pytest.fixture(params=sorted(SUFFIXES))
def subject(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def case(sample_data: Path, subject: str) -> Case:
    return load(sample_data, subject)


def test_the_whole_folder_stays_below_ten_megabytes(sample_data: Path) -> None:
    written_by_servers = ("datastore_v2.json", ".lock")
    files = [p for p in sample_data.rglob("*") if p.is_file() and p.name not in written_by_servers]

    assert sum(path.stat().st_size for path in files) < 10e6


def test_every_file_name_is_a_bids_name(sample_data: Path) -> None:
    raw = re.compile(r"sub-(\d+)/anat/sub-\1_(T1w|T2w|FLAIR)\.(nii\.gz|json)")
    derived = re.compile(r"sub-(\d+)/anat/sub-\1_space-orig_label-L_desc-[A-Za-z0-9]+_mask\.(nii\.gz|json)")

    for root, pattern in ((sample_data, raw), (sample_data / TRUTH, derived)):
        files = [path.relative_to(root).as_posix() for path in root.glob("sub-*/anat/sub-*")]
        assert len(files) == 2 * len(SUFFIXES)
        assert [name for name in files if not pattern.fullmatch(name)] == []


def test_the_dataset_files_that_bids_requires_are_there(sample_data: Path) -> None:
    for root, kind in ((sample_data, "raw"), (sample_data / TRUTH, "derivative")):
        description = json.loads((root / "dataset_description.json").read_text())
        assert {"Name", "BIDSVersion", "GeneratedBy", "License"} <= description.keys()
        assert description["DatasetType"] == kind
    with (sample_data / "participants.tsv").open(newline="") as file:
        participants = [row["participant_id"] for row in csv.DictReader(file, delimiter="\t")]
    assert participants == [f"sub-{subject}" for subject in SUFFIXES]


def test_the_notice_of_the_template_goes_with_the_data(sample_data: Path) -> None:
    assert "Copyright (C) 1993–2004 Louis Collins" in (sample_data / "README.md").read_text(encoding="utf-8")


def test_the_sidecars_say_what_is_simulated_and_what_it_was_made_from(
    sample_data: Path, subject: str
) -> None:
    scan, truth = scan_path(sample_data, subject), truth_path(sample_data, subject)
    scan_sidecar, truth_sidecar = (
        json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())
        for path in (scan, truth)
    )

    assert scan_sidecar["Simulated"] is True
    assert truth_sidecar["Sources"] == [f"bids:raw:{scan.relative_to(sample_data).as_posix()}"]
    assert truth_sidecar["VolumeMl"] == pytest.approx(load(sample_data, subject).volume_ml, abs=0.001)


def test_the_truth_lies_on_the_grid_of_its_scan(case: Case) -> None:
    assert case.truth.shape == case.scan.shape
    np.testing.assert_array_equal(case.truth.affine, case.scan.affine)
    assert case.truth.get_data_dtype() == np.uint8
    assert set(np.unique(np.asarray(case.truth.dataobj))) == {0, 1}


def test_the_lesion_lies_inside_the_brain(case: Case) -> None:
    assert (case.intensities[case.lesion] > 0).all()


def test_sform_and_qform_say_the_same(case: Case) -> None:
    header = case.scan.header

    assert int(header["sform_code"]) == int(header["qform_code"]) == 1
    np.testing.assert_allclose(header.get_sform(), header.get_qform(), atol=1e-4)


def test_every_scan_has_other_axes_another_spacing_and_tilted_slices(sample_data: Path) -> None:
    scans = [load(sample_data, subject).scan for subject in SUFFIXES]

    assert len({nib.aff2axcodes(scan.affine) for scan in scans}) == len(scans)
    assert len({tuple(np.round(scan.header.get_zooms(), 3)) for scan in scans}) == len(scans)
    for scan in scans:
        assert len(set(scan.shape)) == 3
        assert np.rad2deg(nib.affines.obliquity(scan.affine)).max() > 2


def test_the_flair_has_axial_slices_of_five_millimetres(sample_data: Path) -> None:
    scan = load(sample_data, "03").scan

    assert scan.header.get_zooms()[2] == pytest.approx(5)
    assert nib.aff2axcodes(scan.affine)[2] == "S"


def test_the_first_lesion_is_left_and_the_second_is_right_and_posterior(sample_data: Path) -> None:
    first, second = load(sample_data, "01"), load(sample_data, "02")

    assert first.lesion_center_mm()[0] < first.brain_center_mm()[0] - 20
    assert second.lesion_center_mm()[0] > second.brain_center_mm()[0] + 10
    assert second.lesion_center_mm()[1] < second.brain_center_mm()[1] - 30


def test_the_third_subject_has_four_lesions_in_both_hemispheres(sample_data: Path) -> None:
    case = load(sample_data, "03")
    parts, count = cc3d.connected_components(case.lesion, connectivity=26, return_N=True)
    centers = [
        nib.affines.apply_affine(case.truth.affine, np.argwhere(parts == n + 1)).mean(0) for n in range(count)
    ]
    left = [center[0] < case.brain_center_mm()[0] for center in centers]

    assert sorted(left) == [False, False, True, True]
    assert case.volume_ml / count < 5


def test_lesions_are_dark_on_t1_and_bright_on_t2_and_flair(sample_data: Path) -> None:
    for subject, brighter in (("01", False), ("02", True), ("03", True)):
        case = load(sample_data, subject)
        healthy = case.intensities[(case.intensities > 0) & ~case.lesion]
        assert (np.median(case.intensities[case.lesion]) > np.quantile(healthy, 0.75)) == brighter
        if not brighter:
            assert np.median(case.intensities[case.lesion]) < np.quantile(healthy, 0.25)


def test_the_script_makes_the_committed_files_again(sample_data: Path, tmp_path: Path) -> None:
    script = sample_data / "code" / "make_sample_data.py"
    subprocess.run([sys.executable, str(script), str(tmp_path), "--subject", "03"], check=True)
    made, committed = load(tmp_path, "03"), load(sample_data, "03")

    np.testing.assert_allclose(made.scan.affine, committed.scan.affine, atol=1e-5)
    # Another processor may round the last bit of a sum otherwise, which can tip a rounded intensity.
    difference = np.abs(made.intensities.astype(int) - committed.intensities)
    assert np.quantile(difference, 0.999) <= 1
    assert (made.lesion ^ committed.lesion).sum() <= 2
