"""`strokelabel synthesize`: pictures, volumes, and records that make the same images again."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml
from matplotlib.image import imread

from strokelabel.cli import main as cli
from strokelabel.fit.train import make_synthesizer
from strokelabel.synthesis.prepared.dataset import PreparedData
from strokelabel.synthesis.record import from_json
from support.tiny_prepared import make_recipe, tiny_recipe


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny_recipe()))
    return path


def synthesize(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(["synthesize", *map(str, arguments), "--device", "cpu"])
    return stop.value.code or 0


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_volumes_are_written_with_records_that_make_them_again_bit_for_bit(
    recipe_file: Path, prepared_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"

    code = synthesize(
        recipe_file, "-o", out, "--prepared", prepared_folder, "--count", 2, "--seed", 8, "--volumes"
    )

    assert code == 0
    kinds = ("dseg.nii.gz", "image.nii.gz", "parameters.json")
    assert names(out) == ["contact-sheet.png"] + [
        f"sub-000{n}/sub-000{n}_{kind}" for n in (1, 2) for kind in kinds
    ]
    recipe = make_recipe()
    synthesizer = make_synthesizer(
        PreparedData.load(prepared_folder), recipe, "train", recipe.synthesis, "cpu"
    )
    for number in (1, 2):
        stem = out / f"sub-000{number}" / f"sub-000{number}"
        parameters = from_json(Path(f"{stem}_parameters.json").read_text())
        assert parameters.seed == 7 + number
        again = synthesizer.apply([parameters])
        image, labels = (nib.load(f"{stem}_{kind}.nii.gz") for kind in ("image", "dseg"))
        np.testing.assert_array_equal(np.asarray(image.dataobj), again.image[0, 0].numpy())
        np.testing.assert_array_equal(np.asarray(labels.dataobj), again.target[0].numpy())
        assert image.get_data_dtype() == np.float32 and labels.get_data_dtype() == np.uint8


def test_volumes_lie_in_ras_space_with_their_centre_at_the_origin(
    recipe_file: Path, prepared_folder: Path, tmp_path: Path
) -> None:
    code = synthesize(
        recipe_file, "-o", tmp_path, "--prepared", prepared_folder, "--count", 1, "--volumes", "--spacing-mm", 8
    )  # fmt: skip
    assert code == 0
    image = nib.load(tmp_path / "sub-0001" / "sub-0001_image.nii.gz")
    assert image.shape == (24, 30, 27), "the field of view of the recipe at another voxel size"
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
    np.testing.assert_allclose(nib.affines.voxel_sizes(image.affine), 8)
    centre = image.affine @ [*((n - 1) / 2 for n in image.shape), 1]
    np.testing.assert_allclose(centre, [0, 0, 0, 1], atol=1e-9)


def test_without_volumes_there_is_the_contact_sheet_alone(
    recipe_file: Path, prepared_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "[deeper] out"
    assert synthesize(recipe_file, "-o", out, "--prepared", prepared_folder, "--count", 7) == 0
    assert names(out) == ["contact-sheet.png"]
    rows, columns, _ = imread(out / "contact-sheet.png").shape
    assert columns > rows > columns / 6, "seven pictures are two rows of up to six"
    assert f"{out}: 7 images" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_one_line_and_exit_code_one(
    recipe_file: Path, prepared_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    arguments = ("--prepared", prepared_folder, "--count", 1)
    for extra in ((), ("--volumes",)):
        assert synthesize(recipe_file, "-o", tmp_path / "file" / "out", *arguments, *extra) == 1
        error = capsys.readouterr().err
        assert "error: " in error and "expected a writable location" in error
        assert "Traceback" not in error


def test_seeds_and_counts_below_zero_are_wrong_usage(recipe_file: Path, tmp_path: Path) -> None:
    for option in (("--seed", -1), ("--count", 0), ("--spacing-mm", 0.1)):
        assert synthesize(recipe_file, "-o", tmp_path, *option) == 2
