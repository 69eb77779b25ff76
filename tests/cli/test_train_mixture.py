"""`strokelabel train`, `prepare` and `synthesize` with real slices and scans, as users call them."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from matplotlib.image import imread

from strokelabel.cli import main as cli
from strokelabel.fit.data.real_images.preparation import RealImages, prepare_real_images
from strokelabel.fit.loop.checkpoint import load_checkpoint
from support.bright_network import centred_affine, phantom
from support.tiny_prepared import tiny_recipe

TRAINING = {
    "steps": 3,
    "validate_every": 0,
    "checkpoint_every": 1,
    "threads": 1,
    "accumulate": 2,
    "largest_norm": 50.0,
}


def run(*arguments: object) -> int:
    threads = torch.get_num_threads()
    try:
        with pytest.raises(SystemExit) as stop:
            cli.main([str(argument) for argument in arguments])
    finally:
        torch.set_num_threads(threads)
    return stop.value.code or 0


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    content = tiny_recipe(
        slabs={"count": 2, "thickness_voxels": 8}, scans={}, physics_fraction=0.25, training=TRAINING
    )
    path = tmp_path / "mixture.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_run_with_slabs_and_scans_that_was_killed_ends_as_one_that_was_not(
    recipe_file: Path, prepared_folder: Path, tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    command = ("train", recipe_file, "--prepared", prepared_folder, "--device", "cpu", "-o")
    assert run(*command, whole) == 0
    assert run(*command, killed) == 0
    for step in (3, 2):
        (killed / "checkpoints" / f"step-0000000{step}.pt").unlink()
    assert run(*command, killed) == 0
    assert (killed / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()
    ours, theirs = (
        load_checkpoint(folder / "checkpoints" / "step-00000003.pt") for folder in (killed, whole)
    )
    assert all(torch.equal(ours.network[key], value) for key, value in theirs.network.items())


@pytest.mark.parametrize("kind", ["slabs", "scans"])
def test_real_images_are_shown_on_a_contact_sheet(
    kind: str, recipe_file: Path, prepared_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("synthesize", recipe_file, "-o", tmp_path, "--prepared", prepared_folder, "--device", "cpu")
    assert run(*command, "--kind", kind, "--count", 5) == 0
    assert imread(tmp_path / f"{kind}.png").std() > 0.05
    assert f"5 images, {kind}.png" in capsys.readouterr().err
    assert run(*command, "--kind", kind, "--volumes") == 2
    assert f"Expected no --volumes with --kind {kind}" in capsys.readouterr().err


def test_a_recipe_without_slabs_has_none_to_show(
    prepared_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "plain.yaml"
    path.write_text(yaml.safe_dump(tiny_recipe()))
    assert run("synthesize", path, "-o", tmp_path, "--prepared", prepared_folder, "--kind", "slabs") == 1
    assert "tiny: expected a recipe with a section `slabs`" in capsys.readouterr().err


def write_scans(folder: Path) -> None:
    """Two phantoms: one without a lesion mask, one with a mask and a name that a pattern can tell."""
    folder.mkdir()
    shape = (70, 80, 40)
    image, ball = phantom(shape, centred_affine(np.diag([1.0, 1.0, 2.0]), shape), (8.0, 5.0, 4.0))
    for name, data in (("one_T1w", image.data), ("two_FLAIR", image.data), ("two_FLAIR_lesion", ball)):
        nib.Nifti1Image(data.astype(np.float32), image.affine).to_filename(folder / f"{name}.nii.gz")
    (folder / "bad_T1w.nii.gz").write_bytes(b"no image")


def test_scans_are_prepared_once_and_what_cannot_be_read_is_left_out(
    bright_model: Path, tmp_path: Path
) -> None:
    write_scans(tmp_path / "scans")
    arguments = {"scans": [tmp_path / "scans"], "model": str(bright_model)}

    first = prepare_real_images(tmp_path / "out", **arguments)

    assert (first.slices, first.scans) == (0, 2)
    assert [Path(path).name for path in first.skipped] == ["bad_T1w.nii.gz"]
    assert all("bounding box" in warning for warning in first.warnings) and len(first.warnings) == 2
    images = RealImages.load(tmp_path / "out")
    assert [(scan.name, scan.has_lesion) for scan in images.scans] == [
        ("one_T1w", False),
        ("two_FLAIR", True),
    ]
    stored = tmp_path / "out" / "real-images" / "scans" / "one_T1w.npz"
    made = stored.stat().st_mtime_ns
    again = prepare_real_images(tmp_path / "out", **arguments)
    assert stored.stat().st_mtime_ns == made and again.digest == first.digest
    filled = prepare_real_images(tmp_path / "out", **arguments, fill_hyperintensities=["one_*"])
    assert stored.stat().st_mtime_ns != made and filled.digest != first.digest
    assert prepare_real_images(tmp_path / "out").digest == filled.digest, "what is not named stays"


def test_the_prepare_command_takes_slices_and_scans_and_says_what_it_left_out(
    bright_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from strokelabel.fit.data.real_images import preparation
    from strokelabel.synthesis.prepared import prepare

    asked = {}

    def brains_and_lesions(
        brains: object, lesions: object, output: Path, *rest: object
    ) -> prepare.PreparationResult:
        data = type("Data", (), {"brain_names": ["brain-01"], "lesions": [1, 2]})()
        return prepare.PreparationResult(data, {}, ())

    def real_images(output: Path, **arguments: object) -> preparation.RealPreparation:
        asked.update(arguments)
        return preparation.RealPreparation(30, 4, {"a.npz": "its name says so"}, ("look at it",), "")

    monkeypatch.setattr(prepare, "prepare_data", brains_and_lesions)
    monkeypatch.setattr(preparation, "prepare_real_images", real_images)
    code = run(
        "prepare", "--brains", tmp_path, "--lesions", tmp_path, "--slices", tmp_path, "--scans", tmp_path / "x",
        "--fill-hyperintensities", "*_FLAIR*", "--model", bright_model, "-o", tmp_path / "out",
    )  # fmt: skip
    assert code == 0
    assert (asked["slices"], asked["scans"]) == ([tmp_path], [tmp_path / "x"])
    assert (asked["model"], asked["fill_hyperintensities"]) == (str(bright_model), ["*_FLAIR*"])
    printed = capsys.readouterr().err
    for line in (
        "1 brains, 2 lesions, 30 slices, 4 scans",
        "left out a.npz: its name says so",
        "warning: look at it",
    ):
        assert line in printed


def test_a_damaged_description_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "real-images"
    folder.mkdir()
    (folder / "dataset.json").write_text(json.dumps({"slices": []}))
    with pytest.raises(
        Exception, match=r"real-images/dataset.json: expected a list of prepared slices and scans"
    ):
        RealImages.load(tmp_path)
    assert RealImages.load(tmp_path / "elsewhere").digest == ""
