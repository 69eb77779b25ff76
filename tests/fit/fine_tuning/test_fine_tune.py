"""Fine-tuning sessions: what goes in, what is kept, and what a stop or a kill leaves behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from strokelabel.fit.fine_tuning.cases import SubmittedLabel
from strokelabel.fit.fine_tuning.fine_tune import FineTuning
from strokelabel.fit.fine_tuning.options import FineTuneOptions
from strokelabel.fit.fine_tuning.session import FineTuneObjective, Session, as_scores
from strokelabel.fit.fine_tuning.synthetic import SHARE, with_submitted
from strokelabel.fit.fine_tuning.template_heads import BRAINS, template_data
from strokelabel.fit.fine_tuning.versions import ORIGIN, ModelVersions, Scores
from strokelabel.fit.fine_tuning.weights import SHARES, freeze
from strokelabel.fit.loop.checkpoint import list_checkpoints
from strokelabel.networks.unet import UNetConfig, build_network
from strokelabel.networks.weights import load_weights, save_with_temperature
from strokelabel.registry import ModelSpec, read_spec
from strokelabel.synthesis.prepared.dataset import PreparedData
from support.new_contrast import small_model


@pytest.fixture
def tuning(tmp_path: Path, prepared_folder: Path) -> FineTuning:
    """Fine-tuning of the small model."""
    versions = ModelVersions(tmp_path / "versions", read_spec(small_model()))
    return FineTuning(versions, tmp_path / "work", prepared_folder, "cpu")


def options(**changes: Any) -> FineTuneOptions:
    known = {
        "steps": 2,
        "benchmark_per_family": 1,
        "threads": 1,
        "paste_lesions": False,
        "learning_rate": 1e-3,
    }
    return FineTuneOptions.model_validate(known | changes)


def test_a_session_leaves_a_version_that_says_where_it_comes_from(
    tuning: FineTuning, labels: list[SubmittedLabel]
) -> None:
    result = tuning.run(labels, options(margin=1.0))
    record = tuning.versions.record("0001")
    spec = tuning.versions.spec("0001")
    assert result.judged and result.version == "0001" and result.decision is not None
    assert result.active == ("0001" if result.decision.activate else ORIGIN)
    assert len(result.train) == 2 and len(result.validation) == 1
    assert (record.parent, record.parent_sha256) == (ORIGIN, tuning.versions.origin.sha256)
    assert record.weights_sha256 == spec.sha256 and 1 <= spec.training_step <= 2
    assert {label["name"] for label in record.details["labels"]} == {label.name for label in labels}
    assert all(len(label["label_sha256"]) == 64 for label in record.details["labels"])
    assert record.details["result"]["benchmark"]["digest"].endswith("0")
    assert 0 <= (result.decision.after.benchmark or 0) <= 1
    content = json.loads((tuning.versions.folder / "0001" / "version.json").read_text())
    assert content["name"] == "0001" and content["details"]["options"]["steps"] == 2
    network, spec = load_weights(spec)
    assert spec.version.endswith("+0001") and not network.training


def test_weights_that_forget_are_kept_but_not_activated(
    tuning: FineTuning, labels: list[SubmittedLabel]
) -> None:
    ruined = options(learning_rate=50.0, synthetic_fraction=0.0, steps=2)
    result = tuning.run(labels, ruined)
    assert result.decision is not None and not result.decision.activate
    assert any("refused" in reason for reason in result.decision.reasons)
    assert tuning.versions.active()[0] == ORIGIN and len(tuning.versions.records()) == 1
    assert tuning.run(labels, ruined).repeated


def test_a_part_of_the_way_is_activated_where_the_whole_of_it_forgets(
    tuning: FineTuning, labels: list[SubmittedLabel], monkeypatch: pytest.MonkeyPatch
) -> None:
    far: list[float] = []

    def score(session: Session, spec: ModelSpec) -> Scores:
        first, found = (load_weights(s)[0].state_dict() for s in (session.spec, spec))
        far.append(sum(float((found[name] - first[name]).norm()) for name in found))
        return Scores(submitted=far[-1], benchmark=0.1 if len(far) == 2 else 0.5)

    monkeypatch.setattr(Session, "score", score)
    result = tuning.run(labels, options(learning_rate=0.01))
    assert result.decision is not None and result.decision.activate and result.share == SHARES[1]
    assert far[0] == 0 and far[2] == pytest.approx(SHARES[1] * far[1], rel=0.02)
    kept = load_weights(tuning.versions.spec("0001"))[0].state_dict()
    began = load_weights(tuning.versions.origin)[0].state_dict()
    assert sum(float((kept[name] - began[name]).norm()) for name in kept) == pytest.approx(far[2], rel=1e-6)
    assert "70%" in str(result)


def test_the_temperature_of_a_model_is_not_that_of_what_is_made_from_it(
    prepared_folder: Path, labels: list[SubmittedLabel], tmp_path: Path
) -> None:
    warm = save_with_temperature(small_model(), tmp_path / "warm.safetensors", 1.7)
    tuning = FineTuning(ModelVersions(tmp_path / "versions", warm), tmp_path / "work", prepared_folder, "cpu")
    tuning.run(labels, options(margin=1.0))
    assert tuning.versions.origin.temperature == 1.7 and tuning.versions.spec("0001").temperature == 1


def test_a_stopped_session_goes_on_and_ends_like_one_that_was_not_stopped(
    tuning: FineTuning, labels: list[SubmittedLabel], tmp_path: Path
) -> None:
    seen: list[int] = []
    stopped = tuning.run(
        labels,
        options(steps=3),
        on_progress=lambda at: seen.append(at.step),
        should_stop=lambda: len(seen) >= 1,
    )
    assert not stopped.judged and stopped.version is None and stopped.steps == 2
    assert tuning.versions.records() == [] and "resumes there" in str(stopped)
    resumed = tuning.run(labels, options(steps=3), on_progress=lambda at: seen.append(at.step))
    assert seen == [1, 2, 3] and resumed.session == stopped.session
    undisturbed = FineTuning(
        ModelVersions(tmp_path / "other", tuning.versions.origin),
        tmp_path / "elsewhere",
        tuning.prepared,
        "cpu",
    ).run(labels, options(steps=3))
    assert undisturbed.decision == resumed.decision


def test_a_killed_end_of_a_session_is_made_up_for_without_a_second_version(
    tuning: FineTuning, labels: list[SubmittedLabel]
) -> None:
    result = tuning.run(labels, options(steps=1, margin=1.0, synthetic_fraction=0.0))
    session = tuning.folder / "sessions" / result.session
    (session / "result.json").unlink()
    (tuning.versions.folder / "active.json").unlink(missing_ok=True)
    again = tuning.run(labels, options(steps=1, margin=1.0, synthetic_fraction=0.0))
    assert again.version == result.version == "0001" and again.active == result.active
    assert len(tuning.versions.records()) == 1 and list_checkpoints(session)


def test_nothing_that_serves_the_gate_is_trained_on(tuning: FineTuning, labels: list[SubmittedLabel]) -> None:
    session = tuning._begin(labels, options())
    held_out = {case.submitted.subject for case in session.split.validation}
    assert held_out and not held_out & {case.submitted.subject for case in session.split.train}
    assert session.synthetic is not None
    training = session.synthetic.training([], options())
    benchmark = session.synthetic.benchmark(1)
    assert not set(training.synthesizer.lesions.names) & set(benchmark.synthesizer.lesions.names)
    assert not set(session.synthetic.brains["train"]) & set(session.synthetic.brains["validation"])


def test_without_prepared_data_the_template_serves(tmp_path: Path) -> None:
    data = template_data(tmp_path, 6.0)
    assert data.brain_names == BRAINS and len(data.lesions) > 50
    labels = data.brain(BRAINS[0])
    groups = {data.table.labels[index].group for index in np.unique(labels.labels)}
    assert {"gray", "white", "ventricle", "csf", "bone", "skin"} <= groups
    left = [data.table.labels[index].side for index in np.unique(labels.labels[: len(labels.labels) // 3])]
    assert "left" in left and "right" not in left
    assert template_data(tmp_path, 6.0).digest == data.digest
    assert [path.name for path in tmp_path.iterdir()] == ["template-1-4mm"]


def test_submitted_lesions_are_pasted_often_enough_to_be_seen(prepared_folder: Path) -> None:
    bank = PreparedData.load(prepared_folder).lesions
    both = with_submitted(bank, [bank.lesion(3)])
    assert len(both) - len(bank) == pytest.approx(SHARE * len(both), abs=1)
    assert with_submitted(bank, []) is bank


@pytest.mark.parametrize("architecture", ["residual", "plain", "subpixel"])
def test_a_frozen_encoder_is_all_but_the_way_up(architecture: str) -> None:
    config = UNetConfig(architecture=architecture, channels=(2, 3, 4), strides=(2, 2), num_res_units=1)  # type: ignore[arg-type]
    network = build_network(config)
    freeze(network, "encoder")
    trained = {name for name, value in network.named_parameters() if value.requires_grad}
    assert 0 < len(trained) < len(dict(network.named_parameters()))
    deepest = network(torch.zeros(1, 1, 16, 16, 16)).sum()
    deepest.backward()
    assert all(value.grad is None for name, value in network.named_parameters() if name not in trained)
    freeze(network, "none")
    assert all(value.requires_grad for value in network.parameters())


def test_the_gate_is_told_apart_what_is_submitted_and_what_is_synthetic() -> None:
    scores = {
        "loss": torch.ones(5),
        "dice": torch.tensor([0.2, 0.9, 0.7, 0.8, 0.6]),
        "submitted": torch.tensor([1.0, 0, 0, 0, 0]),
    }
    summary = FineTuneObjective().summarize(scores)
    assert as_scores(summary).model_dump() == pytest.approx({"submitted": 0.2, "benchmark": 0.75})
    assert summary["dice_mean"] == pytest.approx((0.2 + 0.75) / 2)
    alone = FineTuneObjective().summarize({key: value[:1] for key, value in scores.items()})
    assert as_scores(alone).benchmark is None and alone["dice_mean"] == pytest.approx(0.2)
