"""The benchmark of calibration: which half is fitted, what counts as help, and a run on a few slices."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from strokelabel.registry import read_spec
from support.new_contrast import small_model
from support.real_material import SUBJECTS, write_material

BENCHMARKS = Path(__file__).parents[2] / "training" / "benchmarks"


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    """The benchmark, imported as a person starts it: with its folder on the path."""
    sys.path.insert(0, str(BENCHMARKS))
    import calibration

    yield calibration
    sys.path.remove(str(BENCHMARKS))


def slices(script: ModuleType, before: float, after: float) -> list[object]:
    """Slices of eight subjects, a fifth of whose voxels is lesion; both probabilities are the same everywhere."""
    rng = np.random.default_rng(0)
    return [
        script.Compared(
            f"{number}", "slices", np.full(500, before), np.full(500, after), rng.uniform(size=500) < 0.2
        )
        for number in range(8)
    ]


def test_a_temperature_helps_when_the_error_falls_in_nearly_all_samples_of_subjects(
    script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.report(slices(script, 0.6, 0.2))
    assert "the temperature helps" in capsys.readouterr().out
    assert not script.report(slices(script, 0.2, 0.6)) and not script.report(slices(script, 0.2, 0.2))
    low, high = script.difference(slices(script, 0.6, 0.2), possible_only=False)
    assert -0.45 < low < high < -0.3


def test_no_subject_is_both_fitted_to_and_measured_and_the_run_leaves_a_curve(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    material = write_material(tmp_path / "material")
    cases = script.slice_cases(material, tmp_path / "cases", None)
    fitting, measured = ({script.subject_of(case) for case in half} for half in script.halves(cases))
    assert not fitting & measured and len(fitting | measured) == len(SUBJECTS)
    weights = tmp_path / "warm.safetensors"
    words = ["--real", str(material), "--model", str(small_model()), "-o", str(tmp_path / "out")]
    script.main([*words, "--write", str(weights)])
    text = capsys.readouterr().out
    assert f"{read_spec(small_model()).name} " in text and "| all |" in text
    assert (tmp_path / "out" / "reliability.png").stat().st_size > 1000
    assert weights.exists() == ("the temperature helps" in text)
