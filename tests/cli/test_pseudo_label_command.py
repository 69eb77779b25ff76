"""`strokelabel pseudo-label` with the shipped model on a scan whose place in ICBM space is known; training on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from strokelabel.cli import main as cli
from strokelabel.fit.loop.checkpoint import load_checkpoint
from strokelabel.fit.pseudo_labels.record import read_pseudo_labels
from support.template_cohort import LESION_MM, moved, write_template_cohort


@pytest.fixture(autouse=True)
def _keep_thread_count() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(list(map(str, arguments)))
    return stop.value.code or 0


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ICBM template with a dark lesion, turned and moved, as the only scan of a data set."""
    return write_template_cohort(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="module")
def labelled(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labelled")
    assert run("pseudo-label", cohort, "-o", folder, "--device", "cpu", "--no-tta") == 0
    return folder


def test_the_mask_of_a_clear_lesion_is_accepted_and_its_place_in_icbm_space_found(labelled: Path) -> None:
    (label,) = read_pseudo_labels(labelled)
    assert label.accepted and label.measures.similarity > 0.9 and label.measures.inside > 0.95
    points = np.array([[-50, -70, 10, 1], [40, 30, 20, 1], [0, -20, 60, 1.0]]).T
    error = (np.array(label.to_icbm) @ moved() @ points - points)[:3]
    assert np.linalg.norm(error, axis=0).max() < 4.0
    mask = nib.load(labelled / label.mask)
    middle = nib.affines.apply_affine(mask.affine, np.argwhere(np.asarray(mask.dataobj) > 0)).mean(axis=0)
    found_mm = (np.array(label.to_icbm) @ [*middle, 1])[:3]
    assert np.linalg.norm(found_mm - LESION_MM) < 6.0


def test_a_second_call_keeps_the_mask_and_a_stricter_gate_rejects_it(
    cohort: Path, labelled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("pseudo-label", cohort, "-o", labelled, "--device", "cpu", "--no-tta")
    assert run(*command, "--minimum-ml", "500") == 0
    printed = capsys.readouterr()
    assert "kept from an earlier run): rejected: the lesion has" in printed.out
    assert "1 scans, 0 masks accepted, 1 rejected, 0 failed" in printed.err
    assert run(*command) == 0
    assert "1 masks accepted" in capsys.readouterr().err


def test_training_takes_the_accepted_lesion(
    labelled: Path, prepared_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("train", "pseudo", "--fast-dev-run", "--prepared", prepared_folder, "--device", "cpu")
    assert run(*command, "--pseudo-labels", labelled, "-o", tmp_path / "run") == 0
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "step-00000002.pt").step == 2
    assert f"folder: {labelled}" in (tmp_path / "run" / "recipe.yaml").read_text()
    assert run(*command, "-o", tmp_path / "other") == 1
    assert "name it with --pseudo-labels FOLDER" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_a_scan_that_cannot_be_read_is_counted_and_the_exit_code_tells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "sub-1_T1w.nii.gz").write_bytes(b"nothing")
    assert run("pseudo-label", tmp_path / "scans", "-o", tmp_path / "out", "--device", "cpu") == 1
    error = capsys.readouterr().err
    assert "error: " in error and "1 failed" in error and "Traceback" not in error


def test_wrong_thresholds_are_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("pseudo-label", tmp_path, "-o", tmp_path / "out", "--minimum-confidence", "3") == 2
    assert "--minimum-confidence" in capsys.readouterr().err
