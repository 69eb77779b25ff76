"""Adapted weights become a version through the gate of fine-tuning, and can be rolled back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from strokelabel.cli.main import app
from strokelabel.errors import WeightsError
from strokelabel.fit.fine_tuning.adapted import PROVENANCE, add_adapted
from strokelabel.fit.fine_tuning.options import FineTuneOptions
from strokelabel.fit.fine_tuning.versions import ORIGIN, ModelVersions
from strokelabel.networks.weights import load_weights, save_weights
from strokelabel.registry import read_spec
from support.new_contrast import small_model

CPU = torch.device("cpu")
OPTIONS = FineTuneOptions(benchmark_per_family=1)


@pytest.fixture
def versions(tmp_path: Path) -> ModelVersions:
    return ModelVersions(tmp_path / "versions", read_spec(small_model()))


def adapted(path: Path, scale: float = 1.0, parent: str | None = None) -> Path:
    """Weights as `strokelabel adapt` writes them: those of the small model, multiplied."""
    network, spec = load_weights(small_model())
    state = {name: value * scale for name, value in network.state_dict().items()}
    provenance = {"parent_sha256": parent or spec.sha256, "method": "pl"}
    return save_weights(path, state, replace(spec, recipe={**spec.recipe, PROVENANCE: provenance})).path


def test_weights_that_are_not_worse_are_activated_and_can_be_rolled_back(
    versions: ModelVersions, prepared_folder: Path, tmp_path: Path
) -> None:
    weights = adapted(tmp_path / "same.safetensors")
    record, decision = add_adapted(versions, weights, OPTIONS, CPU, prepared_folder)
    assert decision.activate and "synthetic benchmark" in decision.reasons[0]
    assert (record.name, record.parent, record.parent_sha256) == ("0001", ORIGIN, versions.origin.sha256)
    name, spec = versions.active()
    assert name == "0001" and spec.version == f"{versions.origin.version}+0001"
    assert record.details[PROVENANCE]["method"] == "pl"
    again, _ = add_adapted(versions, weights, OPTIONS, CPU, prepared_folder)
    assert again == record and len(versions.records()) == 1
    further = adapted(tmp_path / "further.safetensors", 1.01, parent=spec.sha256)
    assert add_adapted(versions, further, OPTIONS, CPU, prepared_folder)[0].parent == "0001"
    versions.activate(ORIGIN)
    versions.activate("0001")
    assert versions.rollback() == ORIGIN


def test_weights_that_forget_are_kept_but_not_activated(
    versions: ModelVersions, prepared_folder: Path, tmp_path: Path
) -> None:
    weights = adapted(tmp_path / "ruined.safetensors", scale=-1)
    result = CliRunner().invoke(
        app,
        ["models", "add", str(versions.folder.parent), str(weights), "--model", str(small_model()),
         "--prepared", str(prepared_folder), "--device", "cpu"],
    )  # fmt: skip
    assert result.exit_code == 1
    assert "0001: lesion Dice on the synthetic benchmark" in result.output and "refused" in result.output
    assert "active: origin" in result.output
    listed = CliRunner().invoke(
        app, ["models", "list", str(versions.folder.parent), "--model", str(small_model())]
    )
    assert "* origin" in listed.output and "  0001  lesion Dice" in listed.output


def test_weights_of_another_model_are_refused(versions: ModelVersions, tmp_path: Path) -> None:
    for weights in (small_model(), adapted(tmp_path / "other.safetensors", parent="0" * 64)):
        with pytest.raises(WeightsError, match="adapted from"):
            add_adapted(versions, weights, OPTIONS, CPU)
    assert not versions.records()


@pytest.mark.parametrize("arguments", [["add", "folder"], ["list", "folder", "file.safetensors"]])
def test_a_file_goes_with_add_alone(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, ["models", *arguments, "--model", str(small_model())])
    assert "with add alone" in str(result.exception)
