"""The benchmark of the tables of structures: a true parcellation has no error, and a run on tiny heads."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from strokelabel.fit.recipe import load_recipe
from strokelabel.synthesis.benchmark import make_case, validation_cases
from support.benchmark_scripts import imported
from support.sided_network import STRUCTURES, save_sided_model, sided_spec
from support.tiny_prepared import write_prepared

SPACING_MM = 4.0


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    with imported("lesion_structures") as module:
        yield module


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("prepared"), voxel_mm=4.0)


@pytest.fixture(scope="module")
def recipe() -> dict[str, object]:
    return load_recipe("synthseg").model_dump(mode="json")


@pytest.mark.parametrize("shift", [0, 2], ids=["true", "displaced"])
def test_the_error_of_a_true_parcellation_is_zero_and_that_of_a_displaced_one_is_not(
    script: ModuleType, prepared: Path, recipe: dict[str, object], shift: int
) -> None:
    spec = sided_spec(recipe=recipe)
    brains = ("brain-15",)
    synthesizer = script.unseen_synthesizer(SimpleNamespace(spec=spec), prepared, brains, SPACING_MM)
    ids = np.array([structure.id for structure in STRUCTURES])
    errors = []
    for case in validation_cases(1)[:3]:
        truth = np.roll(ids[make_case(synthesizer, case).target[0].numpy()], shift, axis=1)
        oracle = SimpleNamespace(
            structures=STRUCTURES, parcellate=lambda _, labels=truth: SimpleNamespace(labels=labels)
        )
        hits = script.measure(oracle, synthesizer, case, SPACING_MM).hits()
        assert all(hit.true_ml > 1 for hit in hits)
        errors += [hit.error for hit in hits]
    assert errors and (max(errors) == 0) == (shift == 0)


def test_a_run_reports_every_structure_with_enough_lesion(
    script: ModuleType,
    prepared: Path,
    recipe: dict[str, object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    weights = save_sided_model(tmp_path / "sided.safetensors", recipe=recipe, spacing_mm=4.0)
    monkeypatch.setattr(script, "validation_cases", lambda per_family: validation_cases(per_family)[:2])
    words = f"{weights} --prepared {prepared} --per-family 1 --spacing-mm {SPACING_MM} --device cpu"
    monkeypatch.setattr(sys, "argv", ["lesion_structures.py", *words.split()])
    script.main()
    printed = capsys.readouterr().out
    assert (
        " strokes, " in printed and "\n| all | " in printed and "intracranial volume: mean error" in printed
    )
