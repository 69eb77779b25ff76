"""`strokelabel evaluate --arms`: models with flips, and the sequences of each session together."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from strokelabel.cli import main as cli
from support.evaluation_data import save
from support.session_data import affine_of, lesion_of, write_session

SUFFIXES = ("T1w", "T2w", "FLAIR")
SHARED = ("--suffix", ",".join(SUFFIXES), "--share-masks")


def evaluate(*args: object) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(["evaluate", *map(str, args), "--device", "cpu", "--threads", "1"])
    return stop.value.code or 0


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A subject with three sequences and one with two, on different grids; one mask each, drawn on the T2w."""
    folder = tmp_path / "data"
    for name, suffixes in (("sub-01_ses-1", SUFFIXES), ("sub-02_ses-1", ("T1w", "T2w"))):
        write_session(folder, name, suffixes)
        mask = f"{name}_space-orig_label-L_desc-T2wlesion_mask.nii.gz"
        save(
            folder.joinpath("derivatives", "truth", *name.split("_"), "anat", mask),
            lesion_of("T2w").astype(np.uint8),
            affine_of("T2w"),
        )
    return folder


def test_the_table_has_rows_per_sequence_and_one_for_the_ensembles_of_each_arm(
    data: Path, out: Path, bright_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(data, "-o", out, "--model", bright_model, *SHARED, "--arms", "none,tta,ensemble") == 0
    rows = rows_of(out / "cases.csv")
    assert {(row["group"], row["method"]) for row in rows} == {
        (group, method) for group in (*SUFFIXES, "Ensemble") for method in ("bright", "bright+TTA")
    }
    together = [row for row in rows if row["group"] == "Ensemble"]
    assert {row["case"] for row in together} == {f"sub-0{n}_ses-1_T2w_Ensemble" for n in (1, 2)}
    assert all(float(row["dice"]) > 0.75 for row in together)
    assert all(nib.load(row["prediction"]).shape == (42, 41, 20) for row in together)
    summary = {
        (r["group"], r["method"]): r["n"] for r in rows_of(out / "summary.csv") if r["metric"] == "dice"
    }
    assert summary["Ensemble", "bright"] == "2" and summary["FLAIR", "bright+TTA"] == "1"
    assert (
        summary["all", "bright"] == "5"
    )  # of the same patients: ensembles are not pooled with their sequences
    assert "| Ensemble | bright+TTA | 2 |" in capsys.readouterr().out


def test_results_are_kept_and_a_further_sequence_is_taken_into_the_ensemble(
    data: Path, out: Path, bright_model: Path
) -> None:
    arguments = (data, "-o", out, "--model", bright_model, *SHARED, "--arms", "ensemble")
    assert evaluate(*arguments) == 0
    first = {row["case"]: row["seconds"] for row in rows_of(out / "cases.csv")}
    assert evaluate(*arguments) == 0
    assert {row["case"]: row["seconds"] for row in rows_of(out / "cases.csv")} == first
    write_session(data, "sub-02_ses-1", ("FLAIR",))
    assert evaluate(*arguments) == 0
    again = {row["case"]: row["seconds"] for row in rows_of(out / "cases.csv")}
    assert again.keys() - first.keys() == {"sub-02_ses-1_FLAIR"}
    assert [case for case in first if again[case] != first[case]] == ["sub-02_ses-1_T2w_Ensemble"]


def test_a_corrupt_sequence_fails_alone_and_the_ensemble_says_what_it_leaves_out(
    data: Path, out: Path, bright_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (scan,) = data.rglob("sub-01_ses-1_FLAIR.nii.gz")
    scan.write_bytes(scan.read_bytes()[:2000])
    assert evaluate(data, "-o", out, "--model", bright_model, *SHARED, "--arms", "ensemble") == 1
    rows = {row["case"]: row for row in rows_of(out / "cases.csv")}
    assert [name for name, row in rows.items() if row["status"] == "failed"] == ["sub-01_ses-1_FLAIR"]
    together = rows["sub-01_ses-1_T2w_Ensemble"]
    assert float(together["dice"]) > 0.75 and "left out sub-01_ses-1_FLAIR.nii.gz" in together["reason"]
    assert "left out sub-01_ses-1_FLAIR.nii.gz" in capsys.readouterr().err


def test_without_shared_masks_a_session_is_still_predicted_from_all_its_sequences(
    data: Path, out: Path, bright_model: Path
) -> None:
    assert evaluate(data, "-o", out, "--model", bright_model, "--arms", "ensemble") == 0
    rows = rows_of(out / "cases.csv")
    assert {row["group"] for row in rows} == {"T2w", "Ensemble"}
    sidecar = (out / "predictions/bright").glob("sub-01*ensemble*.json")
    assert all(f"_{suffix}.nii.gz" in next(sidecar).read_text() for suffix in SUFFIXES[:1])


def test_masks_in_folders_have_no_ensembles(
    data: Path, out: Path, bright_model: Path, tmp_path: Path
) -> None:
    masks = tmp_path / "masks"
    for n in (1, 2):
        save(masks / f"sub-0{n}_ses-1_T2w_pred.nii.gz", lesion_of("T2w").astype(np.uint8), affine_of("T2w"))
    arguments = ("--model", bright_model, "--predictions", masks, "--arms", "ensemble")
    assert evaluate(data, "-o", out, *arguments) == 0
    methods = [row["method"] for row in rows_of(out / "cases.csv") if row["group"] == "Ensemble"]
    assert methods == ["bright", "bright"]


def test_names_without_sessions_have_no_ensembles(
    data: Path, out: Path, bright_model: Path, tmp_path: Path
) -> None:
    plain = tmp_path / "plain"
    (scan,) = data.rglob("sub-01_ses-1_T2w.nii.gz")
    plain.mkdir()
    (plain / "scan.nii.gz").write_bytes(scan.read_bytes())
    save(plain / "scan_mask.nii.gz", lesion_of("T2w").astype(np.uint8), affine_of("T2w"))
    assert evaluate(plain, "-o", out, "--model", bright_model, "--arms", "ensemble") == 2
    assert evaluate(plain, "-o", out, "--predictions", plain, "--arms", "tta") == 2
    assert evaluate(plain, "-o", out, "--model", bright_model) == 0


@pytest.mark.parametrize("wrong", [["--arms", "tent5"], ["--arms", ","], ["--arms", "none", "--tta"]])
def test_unknown_arms_are_refused(data: Path, out: Path, wrong: list[str]) -> None:
    assert evaluate(data, "-o", out, *wrong) == 2
