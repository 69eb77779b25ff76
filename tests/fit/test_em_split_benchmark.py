"""The benchmark of intensity clusters: its recipes are valid, and its table pairs what belongs together."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from strokelabel.synthesis.benchmark import VALIDATION_FAMILIES
from strokelabel.synthesis.prepared.dataset import PreparedData
from support.tiny_prepared import write_prepared

SETTINGS = Namespace(
    steps=3, spacing_mm=8.0, scan_mm=6.0, channels=[4, 4, 4], per_family=1, seeds=1, device="cpu"
)


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    """The benchmark, imported as a person starts it: with its folder on the path."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "training" / "benchmarks"))
    import em_split

    yield em_split
    sys.path.pop(0)


def test_both_arms_train_alike_on_whole_heads(script: ModuleType) -> None:
    first, second = (script.make_recipe(arm, 2, SETTINGS) for arm in script.ARMS)
    assert first == second.model_copy(update={"name": first.name})
    assert first.synthesis.skull_strip.probability == 0
    assert first.training.steps == 3


def test_scans_show_the_whole_head_and_label_maps_the_brain_alone(script: ModuleType, tmp_path: Path) -> None:
    from strokelabel.io.images import read_image, read_label_image

    data = PreparedData.load(write_prepared(tmp_path / "heads"))
    script.simulate_scans(data, tmp_path / "scans", 8.0)
    assert len(list((tmp_path / "scans").iterdir())) == 2 * 6
    image = read_image(tmp_path / "scans" / "brain-10.nii.gz")
    labels = read_label_image(tmp_path / "scans" / "brain-10_dseg.nii.gz").data
    assert set(np.unique(labels)) == {0, 2, 3, 4, 41, 42, 43}
    air = image.data[0, 0, 0]
    assert (np.abs(image.data - air) > 0.3).sum() > 1.15 * (labels > 0).sum()


def test_differences_are_paired_by_volume_and_seed(script: ModuleType) -> None:
    rng, rows = np.random.default_rng(0), []
    for seed in (1, 2):
        for case in range(12):
            base = rng.uniform(0.2, 0.8)
            for arm, gain in zip(script.ARMS, (0.0, 0.05 * seed), strict=True):
                family = VALIDATION_FAMILIES[case % len(VALIDATION_FAMILIES)]
                rows.append((family, case, base + gain, 10.0, arm, seed))
    table = pd.DataFrame(rows, columns=["family", "case", "dice", "outside_ml", "variant", "seed"])
    text = script.markdown(table, 100)
    assert "| intensity clusters | 1 | +0.050 [+0.050, +0.050] |" in text
    assert "| intensity clusters | 2 | +0.100 [+0.100, +0.100] |" in text
    assert "| intensity clusters | all | +0.075 [+0.075, +0.075] |" in text
    assert "100 steps, 12 whole heads" in text


def test_a_folder_of_other_settings_is_refused(script: ModuleType, tmp_path: Path) -> None:
    data = PreparedData.load(write_prepared(tmp_path / "heads", brains=1))
    script.check_settings(tmp_path / "settings.json", data, SETTINGS)
    script.check_settings(tmp_path / "settings.json", data, SETTINGS)
    with pytest.raises(SystemExit, match="choose another with -o"):
        script.check_settings(tmp_path / "settings.json", data, Namespace(**{**vars(SETTINGS), "steps": 4}))
