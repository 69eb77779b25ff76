"""`strokelabel validate`: a model scored on synthetic volumes of unseen brains and lesions."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import yaml
from matplotlib.image import imread

from strokelabel.cli import main as cli
from strokelabel.fit.train import make_synthesizer
from strokelabel.labels import TissueClass
from strokelabel.reports import validation as report
from strokelabel.synthesis.benchmark import make_case, validation_cases, validation_config
from strokelabel.synthesis.prepared.dataset import PreparedData
from support.real_material import write_material
from support.tiny_prepared import make_recipe, tiny_recipe, write_prepared

SHAPE = (64, 80, 72)
BRAINS = {"train": ["brain-01"], "validation": ["brain-10"]}


@pytest.fixture(scope="module")
def small_heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Heads a third of the usual size, with the voxels of 1 mm at which models are validated."""
    folder = tmp_path_factory.mktemp("small") / "prepared"
    return write_prepared(folder, voxel_mm=1.0, scale=0.36, brains=2)


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny_recipe(brains=BRAINS)))
    return path


def validate(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(["validate", *map(str, arguments), "--device", "cpu"])
    return stop.value.code or 0


def test_a_table_is_printed_and_numbers_and_pictures_are_written(
    bright_model: Path,
    small_heads: Path,
    recipe_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(report, "VALIDATION_SHAPE", SHAPE)
    out = tmp_path / "out"

    code = validate(
        "--model", bright_model, "--recipe", recipe_file, "--prepared", small_heads, "-o", out,
        "--per-family", 1, "--lesion-free", 1,
    )  # fmt: skip

    assert code == 0
    caption, table, version = capsys.readouterr().out.strip().split("\n\n")
    table = table.splitlines()
    assert caption.startswith("Synthetic benchmark. Dice: median (mean)")
    assert version.startswith("Synthetic benchmark version 2, data ")
    assert table[0] == "| Volumes | Slices | n | oracle | bright-1 |"
    rows = [tuple(cell.strip() for cell in line.split("|")[1:4]) for line in table[2:]]
    assert [row for row in rows if row[1] == "all" and row[2] == "1"][:6] == [
        (family, "all", "1") for family in ("t1", "t2", "flair", "dwi", "adc", "random")
    ]
    assert ("all", "all", "6") in rows
    assert rows[-1] == ("false lesion, ml: lesion-free heads", "all", "1")
    assert "\n".join(table) in (out / "card.md").read_text()
    with (out / "validation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["family"] for row in rows] == ["t1", "t2", "flair", "dwi", "adc", "random", "t1"]
    assert [row["lesion_free"] for row in rows] == ["false"] * 6 + ["true"]
    assert float(rows[-1]["reference_ml"]) == 0
    assert all(0 <= float(row[name]) <= 1 for row in rows for name in ("dice", "oracle"))
    assert imread(out / "best-bright-1.png").std() > 0.05 and imread(out / "worst-bright-1.png").std() > 0.05

    config = validation_config(SHAPE, 1.0)
    data = PreparedData.load(small_heads)
    unseen = make_synthesizer(data, make_recipe(brains=BRAINS), "validation", config, "cpu")
    for row, case in zip(rows[:2], validation_cases(1), strict=False):
        truth = make_case(unseen, case).target == TissueClass.LESION
        assert float(row["reference_ml"]) == pytest.approx(float(truth.sum()) / 1000, abs=1e-4)
        assert float(row["reference_ml"]) > 0.01


def test_real_slices_and_scans_are_scored_by_several_models_and_thresholds_in_one_table(
    bright_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    material, out = write_material(tmp_path / "material"), tmp_path / "out"
    arguments = (
        "--no-synthetic", "--real", material, "--model", f"mine={bright_model}", "--threshold", 0.3,
        "--threshold", 0.6, "-o", out,
    )  # fmt: skip

    assert validate(*arguments) == 0

    _, table, _, scores = capsys.readouterr().out.strip().split("\n\n")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert rows[0] == ["Scans", "Set", "n", "Measure", "mine@0.3", "mine@0.6"]
    found = {row[0]: row[1:] for row in rows[2:]}
    assert found["axial FLAIR slices, lesion 0.5 cm² and more"][:2] == ["validation", "1"]
    assert found["coronal and sagittal FLAIR slices, no lesion"][:2] == ["development", "2"]
    assert float(found["sub-chronicstroke_T2w (chronic stroke)"][-1]) > 0.8
    assert found["sub-child1_T1w"][1:3] == ["1", "false lesion, ml"]
    assert [line.split("|")[1].strip() for line in scores.splitlines()[2:]] == ["mine@0.3", "mine@0.6"]
    assert (out / "real/dataset/derivatives/lesion_masks/cases.tsv").exists()
    assert (out / "real/scans-worst-mine@0.3.png").exists()

    assert validate(*arguments, "--development") == 0
    table = capsys.readouterr().out
    assert "development" in table and "validation |" not in table


def test_there_must_be_something_to_score(tmp_path: Path) -> None:
    assert validate("--no-synthetic", "-o", tmp_path) == 2
    assert validate("--no-synthetic", "--real", tmp_path / "nothing", "-o", tmp_path / "out") == 1


def test_an_unknown_model_or_missing_data_is_one_line_and_exit_code_one(
    bright_model: Path, recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert validate("--model", "nonsense", "--recipe", recipe_file, "-o", tmp_path / "out") == 1
    assert "error: " in capsys.readouterr().err
    code = validate(
        "--model", bright_model, "--recipe", recipe_file, "--prepared", tmp_path, "-o", tmp_path / "out"
    )
    assert code == 1
    assert "expected prepared training data" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
