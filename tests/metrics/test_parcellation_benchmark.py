"""The benchmark of parcellations: a true one has no error, a run is not repeated, and other weights are refused."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from strokelabel.fit.recipe import load_recipe
from strokelabel.inference.parcellate import Parcellator
from strokelabel.structures import parcellation_structures
from support.benchmark_scripts import imported
from support.bright_network import centred_affine, rotation
from support.sided_network import STRUCTURES, save_sided_model
from support.tiny_prepared import write_prepared

BY_NAME = {structure.name: structure for structure in STRUCTURES}


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    with imported("parcellation") as module:
        yield module


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("prepared"), voxel_mm=4.0)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An oblique scan with labels on its grid, some of the corpus callosum."""
    folder = tmp_path_factory.mktemp("real")
    shape = (40, 48, 36)
    affine = centred_affine(rotation((8, 0, 5)) @ np.diag([-4.0, 4.0, 4.5]), shape)
    labels = np.zeros(shape, np.int16)
    labels[8:20, 8:40, 8:28], labels[20:32, 8:40, 8:28] = 41, 2
    labels[18:22, 20:30, 15:20] = 251
    nib.save(nib.Nifti1Image(labels, affine), folder / "one_dseg.nii.gz")
    nib.save(nib.Nifti1Image((labels > 0).astype(np.float32) * 100 + 5, affine), folder / "one_T1w.nii.gz")
    return folder


def test_a_true_parcellation_has_no_error_and_a_mirrored_one_is_on_the_wrong_side(
    script: ModuleType, prepared: Path, tmp_path: Path
) -> None:
    recipe = load_recipe("synthseg").model_dump(mode="json")
    weights = save_sided_model(tmp_path / "sided.safetensors", recipe=recipe, spacing_mm=4.0)
    model = Parcellator.from_model(weights, "cpu")
    arguments = SimpleNamespace(prepared=prepared, brains=["brain-15"], spacing_mm=4.0, slices=[4.0])
    case = next(iter(script.simulated_cases(model, arguments)))
    _, truth = case.make()
    mirror = {structure.id: structure.mirror for structure in STRUCTURES}
    mirrored = np.vectorize(mirror.get)(truth)
    scores = {}
    for name, labels in (("true", truth), ("mirrored", mirrored)):
        oracle = SimpleNamespace(
            structures=STRUCTURES, parcellate=lambda _, found=labels: SimpleNamespace(labels=found)
        )
        scores[name] = pd.DataFrame(script.score(oracle, case))
    assert (scores["true"]["dice"] == 1).all() and (scores["true"]["sd95_mm"] == 0).all()
    assert (scores["true"]["wrong_side"] == 0).all() and (scores["mirrored"]["wrong_side"] == 1).all()
    assert (scores["true"]["true_ml"] == scores["true"]["found_ml"]).all()


def test_labels_of_no_structure_are_unknown_and_parts_of_the_cortex_are_cortex(script: ModuleType) -> None:
    labels = np.array([0, 2, 251, 1003, 2035, 17, 24])
    found = script.structure_ids(labels, parcellation_structures())
    assert found.tolist() == [0, 2, -1, 3, 42, 17, -1]


def test_a_run_writes_every_scan_once_with_tables_and_a_picture(
    script: ModuleType,
    prepared: Path,
    real: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = load_recipe("synthseg").model_dump(mode="json")
    weights = save_sided_model(tmp_path / "sided.safetensors", recipe=recipe, spacing_mm=4.0)
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- results -->\n<!-- end of results -->\nafter\n")
    command = [
        "parcellation.py", weights, "--prepared", prepared, "-o", tmp_path / "out", "--brains", "brain-15", "brain-16",
        "--slices", 4, 8, "--spacing-mm", 4, "--real", real, "--device", "cpu", "--document", page,
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", [str(word) for word in command])
    script.main()
    first = capsys.readouterr().out
    scores = pd.read_csv(tmp_path / "out" / "scores.csv")
    assert scores["scan"].nunique() == 2 * 4 * 2 + 1
    assert (
        "| T1w | 4 | 2 |" in first
        and "one, real T1w (n = 1)" in first
        and "| cerebral white matter |" in first
    )
    assert (tmp_path / "out" / "example.png").read_bytes().startswith(b"\x89PNG")
    assert first.count("mean Dice 0.") + first.count("mean Dice 1.") == 17
    assert "| T1w | 4 | 2 |" in page.read_text() and page.read_text().endswith("after\n")
    script.main()
    assert ": mean Dice" not in capsys.readouterr().out
    command[1] = save_sided_model(tmp_path / "other.safetensors", recipe=recipe, spacing_mm=5.0)
    monkeypatch.setattr(sys, "argv", [str(word) for word in command])
    with pytest.raises(SystemExit, match="choose another with -o"):
        script.main()
