"""A packed training, rehearsed with the script that runs elsewhere, all packages hidden that may be missing there."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from strokelabel.errors import DataError, RecipeError
from strokelabel.fit.offline_training.build import (
    EXPECTED,
    PACKAGES,
    build_pack,
    compact,
    compact_file,
    restore,
    restore_folder,
)
from strokelabel.networks.weights import load_weights
from strokelabel.synthesis.prepared.dataset import PreparedData
from support.tiny_prepared import tiny_recipe

BLOCKED_IMPORTS = Path(__file__).parents[2] / "support" / "blocked_imports"
TORCH_NEEDS = "torchgen functorch sympy mpmath networkx jinja2 markupsafe filelock setuptools triton"
"""Imported with torch and installed with it, as on any machine that has it."""


@pytest.fixture(scope="module")
def pack(tmp_path_factory, prepared_folder) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    linked = folder / "prepared"
    linked.mkdir()
    for part in prepared_folder.iterdir():
        (linked / part.name).symlink_to(part)
    recipe = folder / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(tiny_recipe(physics_fraction=0.25)))
    build_pack(folder / "pack", linked, str(recipe), wheels=False)
    return folder / "pack"


def run(pack: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """run.sh in an environment that has nothing but what a pack brings and expects."""
    only = " ".join([*PACKAGES.values(), *EXPECTED.values(), TORCH_NEEDS, "strokelabel"])
    folder = pack.parent
    known = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "OMP_NUM_THREADS": "1",
        "PYTHON": sys.executable,
        "PYTHONPATH": str(BLOCKED_IMPORTS),
        "ONLY_PACKAGES": only,
        "WORK": str(folder / "work"),
        "OUT": str(folder / "out"),
    }
    return subprocess.run(
        ["bash", str(pack / "run.sh"), *options],
        env=known | environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


def test_the_script_trains_for_its_seconds_with_what_was_packed_and_leaves_weights_and_tables(pack):
    # The seconds run from the start of the script, and importing may take most of them; 1 s of training is the least.
    done = run(
        pack, "--seconds", "10", "--generators", "1", "--save-seconds", "1", "--reuse", "4", "--pool", "6"
    )
    assert done.returncode == 0, done.stderr
    out = pack.parent / "out"
    assert {path.name for path in out.iterdir()} == {
        "weights.safetensors", "metrics.csv", "recipe.yaml", "speed.csv", "summary.json",
    }  # fmt: skip
    summary = json.loads((out / "summary.json").read_text())
    assert summary["stopped_by"] == "schedule" and summary["steps"] > 0
    assert 0 < summary["images_made"] <= summary["items_delivered"]
    network, spec = load_weights(out / "weights.safetensors")
    assert spec.training_step == summary["steps"] and spec.class_names[-1] == "lesion"
    assert all(value.isfinite().all() for value in network.state_dict().values())
    assert (
        (out / "speed.csv").read_text().startswith("seconds,step,ms_per_step,images_per_second,fresh_share,")
    )
    for row in summary["speed"]:  # none on a machine that is so busy that there is time for one step only
        assert row["ms_per_step"] > 0 and 0 <= row["fresh_share"] <= 1 and 0 <= row["waiting_share"] <= 1
    losses = list(csv.DictReader((out / "metrics.csv").open()))
    assert [int(row["step"]) for row in losses] == list(range(1, summary["steps"] + 1))
    assert float(losses[-1]["learning_rate"]) <= float(losses[0]["learning_rate"])


def test_a_package_that_is_missing_is_named_before_anything_is_computed(pack, tmp_path):
    only = " ".join([*PACKAGES.values(), "numpy torch", TORCH_NEEDS])
    done = run(pack, "--seconds", "10", ONLY_PACKAGES=only, WORK=str(tmp_path / "work"))
    assert done.returncode == 1
    assert "Missing on this machine: scipy; pack again with --carry" in done.stderr


def test_what_training_needs_of_a_prepared_folder_is_packed_and_is_the_same_again(
    pack, prepared_folder, tmp_path
):
    with tarfile.open(pack / "pack.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    restore_folder(tmp_path / "prepared")
    packed, data = PreparedData.load(tmp_path / "prepared"), PreparedData.load(prepared_folder)
    assert packed.digest == data.digest and packed.brain_names == data.brain_names
    ours, theirs = packed.brain("brain-10"), data.brain("brain-10")
    assert np.array_equal(ours.labels, theirs.labels) and np.allclose(ours.affine, theirs.affine)
    assert np.array_equal(packed.lesions.bits, data.lesions.bits)
    assert not (tmp_path / "prepared" / "heads").exists()
    assert not list(tmp_path.rglob("*.gz"))


def smooth_slices() -> np.ndarray:
    field = torch.nn.functional.interpolate(
        torch.rand(7, 1, 4, 5, generator=torch.Generator().manual_seed(1)), size=(38, 52), mode="bilinear"
    )
    return (255 * field[:, 0]).to(torch.uint8).numpy()


def test_differences_lose_nothing_and_webp_little(tmp_path):
    arrays = {
        "image": smooth_slices(),
        "lesion": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
        "view": np.array("x"),
    }
    assert all(np.array_equal(restore(compact(arrays))[name], values) for name, values in arrays.items())
    lossy = restore(compact(arrays, webp_quality=90))
    error = np.abs(lossy["image"].astype(int) - arrays["image"])
    assert error.mean() < 3 and lossy["image"].shape == arrays["image"].shape
    assert np.array_equal(lossy["lesion"], arrays["lesion"])


def test_files_are_restored_in_place_and_others_left_alone(tmp_path):
    np.savez_compressed(tmp_path / "slices.npz", image=smooth_slices())
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "packed.npz").write_bytes(compact_file(tmp_path / "slices.npz"))
    before = (tmp_path / "slices.npz").read_bytes()
    restore_folder(tmp_path)
    assert np.array_equal(np.load(tmp_path / "a" / "packed.npz")["image"], smooth_slices())
    assert (tmp_path / "slices.npz").read_bytes() == before


def test_a_folder_that_was_not_prepared_and_a_recipe_of_other_data_are_refused(tmp_path, prepared_folder):
    with pytest.raises(DataError, match="expected a folder written by `strokelabel prepare`"):
        build_pack(tmp_path / "pack", tmp_path, "base", wheels=False)
    with pytest.raises(RecipeError, match="expected a recipe of prepared data alone"):
        build_pack(tmp_path / "pack", prepared_folder, "baseline", wheels=False)
    assert not (tmp_path / "pack").exists()
