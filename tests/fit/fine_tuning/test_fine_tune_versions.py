"""Versions of a model: added, activated, rolled back, and never lost to damage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from strokelabel.cli.main import app
from strokelabel.errors import OptionError, WeightsError
from strokelabel.fit.fine_tuning.versions import ORIGIN, ModelVersions, Scores, VersionRecord, decide
from strokelabel.networks.weights import load_weights, save_weights
from strokelabel.registry import ModelSpec, read_spec


@pytest.fixture
def versions(tmp_path: Path, bright_model: Path) -> ModelVersions:
    """Two versions of a model, none of them active yet."""
    kept = ModelVersions(tmp_path / "versions", read_spec(bright_model))
    for _ in range(2):
        add(kept)
    return kept


def add(versions: ModelVersions) -> VersionRecord:
    network, spec = load_weights(versions.origin)

    def write(path: Path, name: str) -> ModelSpec:
        return save_weights(path, network, replace(spec, version=name), "float32")

    def describe(name: str, made: ModelSpec) -> VersionRecord:
        return VersionRecord(
            name=name, weights_sha256=made.sha256, parent=ORIGIN, parent_sha256=spec.sha256,
            created="2026-01-02T03:04:05+00:00", session="s", details={"result": {"decision": {"reasons": ["good"]}}},
        )  # fmt: skip

    return versions.add(write, describe)


def test_the_original_is_active_until_a_version_is_activated(versions: ModelVersions) -> None:
    assert versions.active() == (ORIGIN, versions.origin)
    before = versions.stamp()
    versions.activate("0002")
    name, spec = versions.active()
    assert (name, spec.version) == ("0002", "0002") and versions.stamp() != before
    assert [record.name for record in versions.records()] == ["0001", "0002"]


def test_rollback_goes_back_step_by_step_to_the_original(versions: ModelVersions) -> None:
    versions.activate("0001")
    versions.activate("0002")
    assert [versions.rollback(), versions.rollback()] == ["0001", ORIGIN]
    with pytest.raises(OptionError, match="original model is active"):
        versions.rollback()


def test_a_damaged_version_is_passed_over_and_cannot_be_activated(versions: ModelVersions) -> None:
    versions.activate("0001")
    versions.activate("0002")
    weights = versions.folder / "0002" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-3] ^= 0xFF
    weights.write_bytes(content)
    assert versions.active()[0] == "0001"
    with pytest.raises(WeightsError, match="was changed"):
        versions.activate("0002")


def test_half_a_version_is_none_and_its_number_is_not_used_again(versions: ModelVersions) -> None:
    (versions.folder / "0003").mkdir()
    assert [record.name for record in versions.records()] == ["0001", "0002"]
    with pytest.raises(WeightsError, match="expected one of the versions"):
        versions.activate("0003")
    assert add(versions).name == "0004"


def test_a_damaged_list_of_active_versions_leaves_the_original(versions: ModelVersions) -> None:
    versions.activate("0001")
    (versions.folder / "active.json").write_text("{")
    assert versions.active()[0] == ORIGIN
    versions.activate("0001")
    assert versions.active()[0] == "0001"


@pytest.mark.parametrize("name", ["../0001", "nonsense", "0009"])
def test_only_names_of_versions_can_be_activated(versions: ModelVersions, name: str) -> None:
    with pytest.raises(WeightsError, match="expected one of the versions"):
        versions.activate(name)


def test_the_command_lists_activates_and_rolls_back(versions: ModelVersions) -> None:
    def call(action: str, *options: str) -> str:
        model = ["--model", str(versions.origin.path)]
        answer = CliRunner().invoke(app, ["models", action, str(versions.folder.parent), *model, *options])
        assert answer.exit_code == 0, answer.output
        return answer.output

    assert call("activate", "--version", "0002").strip() == "active: 0002"
    assert "* 0002  good" in call("list")
    assert call("rollback").strip() == f"active: {ORIGIN}"


@pytest.mark.parametrize(
    ("submitted", "benchmark", "activated"),
    [(0.6, 0.5, True), (0.5, 0.485, True), (0.49, 0.6, False), (0.9, 0.47, False), (None, 0.49, True)],
)
def test_new_weights_must_not_be_worse_on_labels_nor_by_a_margin_on_the_benchmark(
    submitted: float | None, benchmark: float, activated: bool
) -> None:
    before = Scores(submitted=0.5, benchmark=0.45)
    decision = decide(before, Scores(submitted=submitted, benchmark=benchmark), Scores(benchmark=0.5), 0.02)
    assert decision.activate is activated
    assert any(f"{benchmark:.3f}" in reason for reason in decision.reasons)


def test_nothing_is_activated_that_nothing_was_measured_of() -> None:
    decision = decide(Scores(), Scores(), Scores())
    assert not decision.activate and "nothing to evaluate on" in decision.reasons[0]
