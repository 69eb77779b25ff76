"""`strokelabel train` for qATLAS: the estimator, and the segmenter that learns from quantitative maps."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import nibabel as nib
import numpy as np
import pytest
import torch

from strokelabel.cli import main as cli
from strokelabel.fit.data.recipe_streams import make_synthesizer
from strokelabel.fit.data.synthetic_streams import QuantitativeStream, quantitative_heads, with_maps
from strokelabel.fit.fast_dev_run import shrink
from strokelabel.fit.loop.record import read_metrics
from strokelabel.fit.recipe import load_recipe
from strokelabel.labels import TissueClass
from strokelabel.networks.estimator import EstimatorConfig
from strokelabel.networks.weights import load_weights
from strokelabel.registry import ESTIMATION
from strokelabel.synthesis.generator import Synthesizer
from strokelabel.synthesis.prepared.dataset import PreparedData
from strokelabel.synthesis.quantitative.heads import QuantitativeHead
from support.bright_network import centred_affine, phantom


@pytest.fixture(autouse=True)
def _keep_thread_count() -> Iterator[None]:
    """Training sets the number of threads; other tests should not feel it."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


def benchmark_script() -> ModuleType:
    """The script that scores an estimator."""
    path = Path(__file__).parents[2] / "training" / "benchmarks" / "estimator.py"
    specification = importlib.util.spec_from_file_location("estimator_benchmark", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # dataclasses look themselves up there
    specification.loader.exec_module(module)
    return module


def test_the_estimator_trains_through_both_stages_is_exported_and_estimates(
    prepared_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, weights = tmp_path / "run", tmp_path / "estimator.safetensors"
    fast = ("--fast-dev-run", "--prepared", prepared_folder, "--device", "cpu", "-o", folder)
    assert run("train", "qatlas-estimator", *fast) == 0
    assert f"{folder}: 2 of 2 steps, best SSIM of the maps 0." in capsys.readouterr().err
    rows = read_metrics(folder / "metrics.csv")
    assert {"validation_ssim", "validation_nrmse"} <= set(rows[-1])

    assert run("export", folder, "-o", weights, "--recipe", folder / "recipe.yaml", "--version", "1") == 0
    _, spec = load_weights(weights)
    assert (spec.task, spec.class_names) == (ESTIMATION, ("pd", "r1", "r2_star", "mt"))
    assert EstimatorConfig(**spec.network).channels == (4,) * 5

    image, _ = phantom((30, 34, 26), centred_affine(np.diag([2.0, 2.0, 2.5]), (30, 34, 26)), (5, 5, 5))
    nib.save(nib.Nifti1Image(image.data, image.affine), tmp_path / "scan.nii.gz")
    command = ("estimate", tmp_path / "scan.nii.gz", "-o", tmp_path / "maps", "--weights", weights)
    assert run(*command, "--no-flips", "--device", "cpu") == 0
    assert nib.load(tmp_path / "maps" / "scan_R1.nii.gz").shape == image.data.shape

    picture = tmp_path / "estimates.png"
    arguments = [weights, "--prepared", prepared_folder, "--count", 1, "--picture", picture]
    capsys.readouterr()
    benchmark_script().main([str(argument) for argument in arguments])
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "qatlas-estimator-fast-dev-run, step 2, 1 simulated scans"
    assert [line.split()[0] for line in printed[2:6]] == ["PD", "R1", "R2star", "MT"]
    assert picture.stat().st_size > 1000


def test_without_scans_qatlas_trains_on_simulated_maps_and_says_so(
    prepared_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fast = ("--fast-dev-run", "--prepared", prepared_folder, "--device", "cpu", "-o", tmp_path / "run")
    assert run("train", "qatlas", *fast) == 0
    assert "training on maps simulated from 6 label maps" in caplog.text
    assert len(read_metrics(tmp_path / "run" / "metrics.csv")) == 2


def test_maps_are_refused_by_recipes_without_a_use_for_them(
    prepared_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("train", "base", "--maps", tmp_path, "--prepared", prepared_folder) == 1
    assert "expected a recipe with a section `maps`" in capsys.readouterr().err
    assert with_maps(load_recipe("qatlas"), tmp_path).maps.folder == str(tmp_path)  # type: ignore[union-attr]


def test_heads_without_tissue_labels_give_partial_items(prepared_folder: Path) -> None:
    recipe, data = shrink(load_recipe("qatlas")), PreparedData.load(prepared_folder)
    config = recipe.synthesis.at_spacing(8.0)
    assert recipe.maps is not None
    plain = make_synthesizer(data, recipe.model_copy(update={"maps": None}), "train", config, "cpu")
    first = quantitative_heads(recipe.maps, plain.heads[:1], data, config)[0]
    assert isinstance(first, QuantitativeHead)
    unknown = {"labelled": torch.tensor([False]), "tissues": torch.zeros_like(first.tissues)}
    heads = [first, QuantitativeHead(**(vars(first) | unknown))]
    stream = QuantitativeStream(Synthesizer(heads, plain.lesions, data.table, config), 6, seed=4)

    batch = stream.batch(0)

    assert set(batch.partial.tolist()) == {False, True}
    known = {int(TissueClass.BACKGROUND), int(TissueClass.LESION)}
    for target, partial in zip(batch.target, batch.partial, strict=True):
        assert (
            set(target.unique().tolist()) <= known if partial else (target == TissueClass.WHITE_MATTER).any()
        )
