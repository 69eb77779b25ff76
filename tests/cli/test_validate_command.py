"""`strokelabel validate`: a model scored on synthetic volumes of unseen brains and lesions."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import yaml
from matplotlib.image import imread

from strokelabel.cli import main as cli
from strokelabel.fit.session import make_synthesizer
from strokelabel.labels import TissueClass
from strokelabel.reports import validation as report
from strokelabel.synthesis.prepared import PreparedData
from strokelabel.synthesis.validation import make_case, validation_cases, validation_config
from tiny_prepared import make_recipe, tiny_recipe, write_prepared

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
        "--per-family", 2, "--lesion-free", 1,
    )  # fmt: skip

    assert code == 0
    table, false_lesions, version = capsys.readouterr().out.strip().split("\n\n")
    table = table.splitlines()
    assert false_lesions.startswith("False lesion in 1 lesion-free heads: median ")
    assert version.startswith("Synthetic benchmark version 1, data ")
    assert table[0].startswith("| volumes | slices | n | median Dice |")
    assert [tuple(cell.strip() for cell in line.split("|")[1:4]) for line in table[2:15]] == [
        (family, slices, n)
        for family in ("t1", "t2", "flair", "random")
        for slices, n in (("all", "2"), ("1 mm", "1"), ("5 mm", "1"))
    ] + [("all", "all", "8")]
    with (out / "validation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["family"] for row in rows] == ["t1", "t2", "flair", "random"] * 2 + ["t1"]
    assert [row["slices"] for row in rows] == ["1 mm"] * 4 + ["5 mm"] * 4 + ["1 mm"]
    assert [row["lesion_free"] for row in rows] == ["false"] * 8 + ["true"]
    assert float(rows[-1]["reference_ml"]) == 0
    assert all(0 <= float(row["dice"]) <= 1 for row in rows)
    assert imread(out / "best.png").std() > 0.05 and imread(out / "worst.png").std() > 0.05

    config = validation_config(SHAPE, 1.0)
    data = PreparedData.load(small_heads)
    unseen = make_synthesizer(data, make_recipe(brains=BRAINS), "validation", config, "cpu")
    for row, case in zip(rows[:2], validation_cases(2), strict=False):
        truth = make_case(unseen, case).target == TissueClass.LESION
        assert float(row["reference_ml"]) == pytest.approx(float(truth.sum()) / 1000, abs=1e-4)
        assert float(row["reference_ml"]) > 0.05


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
