"""A batch does what it can, says what it could not, and loses nothing."""

from __future__ import annotations

import csv
import errno
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from filelock import FileLock

from strokelabel.errors import OutputError
from strokelabel.inference.batch import ScanTable
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.segment.batch import TABLE_NAME, LesionRow, OutputChoice, predict_scans
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.io.file_search import SearchProblem
from support.bright_network import centred_affine, phantom, rotation, save_bright_model

SHAPE = (30, 24, 20)
AFFINE = centred_affine(rotation((8, 0, -12)) @ np.diag([-2.4, 3.0, 3.5]), SHAPE)


def write_scan(path: Path, lesion_mm: tuple[float, float, float] = (6.0, -9.0, 3.0)) -> Path:
    image, _ = phantom(SHAPE, AFFINE, lesion_mm, radius_mm=10)
    nifti = nib.Nifti1Image(image.data, AFFINE)
    nifti.set_sform(AFFINE, code=4)
    nifti.set_qform(AFFINE, code=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nifti, path)
    return path


def read_table(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def predictor(bright_model: Path) -> Predictor:
    return Predictor.from_model(bright_model, "cpu")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_every_file_has_the_geometry_of_the_scan(predictor: Predictor, tmp_path: Path, out: Path) -> None:
    scan = write_scan(tmp_path / "scan.nii.gz")
    list(predict_scans(predictor, [scan], out, OutputChoice(probabilities=True, tissues=True)))
    given = nib.load(scan)
    for name in ("lesion_mask", "lesion_probseg", "tissue_dseg", "tissue_probseg"):
        image = nib.load(out / f"scan_{name}.nii.gz")
        assert image.shape[:3] == SHAPE
        np.testing.assert_array_equal(image.affine, given.affine)
        for form in ("sform", "qform"):
            kept, code = getattr(image, f"get_{form}")(coded=True)
            expected, expected_code = getattr(given, f"get_{form}")(coded=True)
            np.testing.assert_array_equal(kept, expected)
            assert code == expected_code


def test_files_agree_with_each_other_and_with_the_truth(
    predictor: Predictor, tmp_path: Path, out: Path
) -> None:
    scan = write_scan(tmp_path / "scan.nii.gz")
    (row,) = predict_scans(predictor, [scan], out, OutputChoice(probabilities=True, tissues=True))
    data = {
        name: np.asanyarray(nib.load(out / f"scan_{name}.nii.gz").dataobj)
        for name in ("lesion_mask", "lesion_probseg", "tissue_dseg", "tissue_probseg")
    }
    assert data["lesion_mask"].dtype == data["tissue_dseg"].dtype == np.uint8
    assert data["lesion_probseg"].dtype == data["tissue_probseg"].dtype == np.float32
    np.testing.assert_array_equal(data["tissue_dseg"] == 5, data["lesion_mask"])
    np.testing.assert_array_equal(data["tissue_probseg"][..., 5], data["lesion_probseg"])
    np.testing.assert_allclose(data["tissue_probseg"].sum(axis=-1), 1, atol=1e-5)
    voxel_ml = 2.4 * 3.0 * 3.5 / 1000
    assert row.volume_ml == pytest.approx(data["lesion_mask"].sum() * voxel_ml)
    assert row.volume_ml == pytest.approx(4 / 3 * np.pi, rel=0.2)
    assert (out / "dseg.tsv").read_text().splitlines()[6].startswith("5\tlesion\t7\t#")


def test_the_sidecar_says_what_made_the_mask(predictor: Predictor, tmp_path: Path, out: Path) -> None:
    scan = write_scan(tmp_path / "sub-01_T2w.nii.gz")
    predictor.options = PredictionOptions(threshold=0.3, min_size_ml=0.1)
    (row,) = predict_scans(predictor, [scan], out)
    sidecar = json.loads((out / "sub-01_space-orig_label-L_desc-T2wlesion_mask.json").read_text())
    assert sidecar["Sources"] == [str(scan)]
    assert sidecar["Type"] == "Lesion"
    assert sidecar["model"] == "bright"
    assert sidecar["weights_sha256"] == predictor.spec.sha256
    assert sidecar["threshold"] == sidecar["options"]["threshold"] == 0.3
    assert sidecar["volume_ml"] == row.volume_ml
    assert json.loads((out / "dataset_description.json").read_text())["DatasetType"] == "derivative"


def test_a_bad_scan_fails_by_itself_with_a_reason_and_no_volume(
    predictor: Predictor, tmp_path: Path, out: Path
) -> None:
    good = [write_scan(tmp_path / "a.nii.gz"), write_scan(tmp_path / "c.nii.gz")]
    bad = tmp_path / "b.nii.gz"
    bad.write_bytes(good[0].read_bytes()[:500])
    rows = list(predict_scans(predictor, [good[0], bad, good[1], tmp_path / "missing.nii"], out))
    assert [row.status for row in rows] == ["done", "failed", "done", "failed"]
    table = read_table(out)
    assert [row["volume_ml"] == "" for row in table] == [False, True, False, True]
    assert "truncated" in table[1]["reason"]
    assert "missing.nii" in table[3]["reason"]
    assert sorted(path.name for path in out.glob("*mask.nii.gz")) == [
        "a_lesion_mask.nii.gz",
        "c_lesion_mask.nii.gz",
    ]


def test_scans_of_one_name_from_two_folders_both_get_their_mask(
    predictor: Predictor, tmp_path: Path, out: Path
) -> None:
    scans = [
        write_scan(tmp_path / "one" / "T1.nii.gz"),
        write_scan(tmp_path / "two" / "T1.nii.gz", (-6, 9, 0)),
    ]
    rows = list(predict_scans(predictor, scans, out))
    assert [row.mask for row in rows] == ["one_T1_lesion_mask.nii.gz", "two_T1_lesion_mask.nii.gz"]
    first, second = (nib.load(out / str(row.mask)).get_fdata() for row in rows)
    assert (first != second).any()


def test_the_table_is_on_the_disk_after_every_scan(predictor: Predictor, tmp_path: Path, out: Path) -> None:
    scans = [write_scan(tmp_path / f"{name}.nii.gz") for name in "abc"]
    rows = predict_scans(predictor, scans, out)
    for count in (1, 2):
        next(rows)
        assert len(read_table(out)) == count
    rows.close()  # as when the process ends here
    assert len(read_table(out)) == 2
    assert [path.name for path in out.glob(".*")] == [".predictions.csv.lock"]


def test_an_interrupted_batch_goes_on_where_it_stopped(
    predictor: Predictor, tmp_path: Path, out: Path
) -> None:
    scans = [write_scan(tmp_path / f"{name}.nii.gz") for name in "ab"]
    list(predict_scans(predictor, scans[:1], out))
    before = (out / "a_lesion_mask.nii.gz").stat().st_mtime_ns
    rows = list(predict_scans(predictor, scans, out))
    assert [row.status for row in rows] == ["kept", "done"]
    assert rows[0].volume_ml == pytest.approx(rows[1].volume_ml)
    assert (out / "a_lesion_mask.nii.gz").stat().st_mtime_ns == before
    assert len(read_table(out)) == 2


def test_results_are_made_again_when_more_is_wanted_or_the_scan_is_newer(
    predictor: Predictor, tmp_path: Path, out: Path
) -> None:
    scan = write_scan(tmp_path / "a.nii.gz")
    list(predict_scans(predictor, [scan], out))
    (row,) = predict_scans(predictor, [scan], out, OutputChoice(probabilities=True))
    assert row.status == "done"
    os.utime(scan, (time.time() + 5, time.time() + 5))
    (row,) = predict_scans(predictor, [scan], out, OutputChoice(probabilities=True))
    assert row.status == "done"


def test_results_of_other_options_model_or_scan_are_overwritten_only_when_asked(
    predictor: Predictor, tmp_path: Path, out: Path
) -> None:
    scan = write_scan(tmp_path / "one" / "a.nii.gz")
    same_name = write_scan(tmp_path / "two" / "a.nii.gz")
    other_model = Predictor.from_model(save_bright_model(tmp_path / "other.safetensors", version="2"), "cpu")
    other_options = Predictor.from_model(predictor.spec.path, "cpu", PredictionOptions(threshold=0.2))
    list(predict_scans(predictor, [scan], out))
    for later, path in ((other_model, scan), (other_options, scan), (predictor, same_name)):
        (row,) = predict_scans(later, [path], out)
        assert row.status == "failed"
        assert "overwrite" in row.reason
        (row,) = predict_scans(later, [path], out, overwrite=True)
        assert row.status == "done"
        list(predict_scans(predictor, [scan], out, overwrite=True))


def test_the_row_of_results_that_stay_is_not_lost_when_others_are_refused(
    predictor: Predictor, tmp_path: Path, out: Path
) -> None:
    scan = write_scan(tmp_path / "a.nii.gz")
    list(predict_scans(predictor, [scan], out))
    (before,) = read_table(out)
    other_options = Predictor.from_model(predictor.spec.path, "cpu", PredictionOptions(threshold=0.2))
    (row,) = predict_scans(other_options, [scan], out)
    assert row.status == "failed" and read_table(out) == [before]
    (out / "predictions.csv").unlink()
    list(predict_scans(other_options, [scan], out))
    assert [found["status"] for found in read_table(out)] == ["failed"]


def test_a_failure_that_nobody_foresaw_is_a_row_too(predictor: Predictor, tmp_path: Path, out: Path) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the network\nexploded")

    scan = write_scan(tmp_path / "a.nii.gz")
    predictor.network = broken  # type: ignore[assignment]
    (row,) = predict_scans(predictor, [scan], out)
    assert row.status == "failed"
    assert row.reason.endswith("unexpected RuntimeError: the network exploded")


def test_a_row_without_a_volume_has_an_empty_cell_and_one_without_a_lesion_a_zero(out: Path) -> None:
    table = open_table(out)
    table.add(LesionRow("/a.nii", status="failed", reason='says "no", twice').cells())
    row = LesionRow("/b.nii", mask="b_lesion_mask.nii.gz", volume_ml=0.0, lesion_count=0, seconds=1.234)
    table.add(row.cells())
    first, second = read_table(out)
    assert (first["volume_ml"], first["lesion_count"]) == ("", "")
    assert first["reason"] == 'says "no", twice'
    assert (second["volume_ml"], second["lesion_count"]) == ("0.0000", "0")
    assert "seconds" not in first  # they differ from run to run


def test_a_table_keeps_earlier_rows_and_replaces_those_of_the_same_scan(out: Path) -> None:
    open_table(out).add(LesionRow("/a.nii", status="failed", reason="once").cells())
    later = open_table(out)
    later.add(LesionRow("/b.nii", volume_ml=1.0).cells())
    later.add(LesionRow("/a.nii", volume_ml=2.0, status="kept").cells())
    assert [row["status"] for row in read_table(out)] == ["done", "done"]
    assert [(row["source"], row["volume_ml"]) for row in read_table(out)] == [
        ("/a.nii", "2.0000"),
        ("/b.nii", "1.0000"),
    ]


def test_a_strange_file_of_the_tables_name_is_left_alone(out: Path) -> None:
    out.mkdir()
    (out / "predictions.csv").write_text("patient,age\n1,60\n")
    with pytest.raises(OutputError, match="patient, age"):
        open_table(out)


@pytest.mark.parametrize("content", [b"\xff\xfes\x00o\x00u\x00r\x00c\x00e\x00", b"source,\xfc\n", b""])
def test_a_table_that_excel_saved_anew_is_refused_by_its_name(out: Path, content: bytes) -> None:
    out.mkdir()
    (out / TABLE_NAME).write_bytes(content)
    with pytest.raises(OutputError, match=r"predictions\.csv: expected a table"):
        open_table(out)


def test_processes_that_write_one_table_at_once_lose_no_row(out: Path) -> None:
    with ProcessPoolExecutor(4) as pool:
        list(pool.map(add_rows, [out] * 4, range(4)))
    assert len(read_table(out)) == 40


def test_a_folder_that_cannot_be_written_is_refused_before_a_scan_is_computed(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (out.parent / "file").touch()
    with pytest.raises(OutputError, match="expected a folder"):
        open_table(out.parent / "file")
    out.mkdir()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with pytest.raises(OutputError, match="Read-only file system"):
        open_table(out)


def open_table(folder: Path) -> ScanTable:
    return ScanTable(folder, TABLE_NAME, LesionRow.columns())


def add_rows(folder: Path, process: int) -> None:
    for number in range(10):
        open_table(folder).add(LesionRow(f"/sub-{process}_run-{number}.nii").cells())


def test_results_of_linked_scans_are_named_after_the_links(
    predictor: Predictor, tmp_path: Path, out: Path
) -> None:
    key = write_scan(tmp_path / ".git" / "annex" / "MD5E-s1--0.nii.gz")
    scans = [tmp_path / name / f"{name}_T1w.nii.gz" for name in ("sub-01", "sub-02")]
    for scan in scans:
        scan.parent.mkdir()
        scan.symlink_to(key)
    rows = list(predict_scans(predictor, scans, out))
    assert [Path(str(row.mask)).name.split("_")[0] for row in rows] == ["sub-01", "sub-02"]
    assert [row.source for row in rows] == [str(scan) for scan in scans]
    assert [row.status for row in predict_scans(predictor, scans, out)] == ["kept", "kept"]


def test_what_the_search_could_not_read_is_a_failed_row(
    predictor: Predictor, tmp_path: Path, out: Path
) -> None:
    problem = SearchProblem("/data/b", "cannot be read (Permission denied)")
    (row,) = predict_scans(predictor, [], out, problems=[problem])
    assert (row.source, row.status) == ("/data/b", "failed")
    assert "Permission denied" in read_table(out)[0]["reason"]
