"""Arms that adapt the model to each scan score as the adaptation itself does."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from strokelabel.adaptation.adapt import AdaptingPredictor
from strokelabel.adaptation.options import AdaptationOptions
from strokelabel.errors import WeightsError
from strokelabel.inference.network_input import silent
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.reports.evaluation.models import ARMS, parse_arms
from support.bright_network import centred_affine, phantom
from support.tiny_denoiser import save_denoiser

SHAPE = (24, 30, 20)


@pytest.fixture
def predictor(bright_model: Path) -> Predictor:
    return Predictor.from_model(bright_model, "cpu")


def test_the_adapted_arms_have_names_in_tables() -> None:
    arms, together = parse_arms("none,tent,dae,tta")
    assert [arm.method_name("base") for arm in arms] == ["base", "base+TENT", "base+DAE", "base+TTA"]
    assert not together


@pytest.mark.parametrize("method", ["tent", "dae"])
def test_an_arm_scores_as_the_adaptation_of_its_name(
    predictor: Predictor, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, _ = phantom(SHAPE, centred_affine(np.diag([-2.5, 2.5, 3.0]), SHAPE), (6.0, -9.0, 3.0))
    few = partial(AdaptationOptions, iterations=2)
    monkeypatch.setattr("strokelabel.adaptation.options.AdaptationOptions", few)
    scores = ARMS[method].scores
    assert scores is not None
    if method == "dae":
        with pytest.raises(
            WeightsError, match="made of whole voxels of the model"
        ):  # those of the shipped one
            scores(predictor, image, PredictionOptions(), silent)
    monkeypatch.setenv("STROKELABEL_HOME", str(tmp_path))
    save_denoiser(tmp_path / "weights" / "denoiser" / "model.safetensors")
    found = scores(predictor, image, PredictionOptions(), silent)
    expected = AdaptingPredictor(predictor, few(method)).scores(image, PredictionOptions())
    np.testing.assert_array_equal(found.lesion_probability, expected.lesion_probability)
    assert (found.lesion_probability != predictor.scores(image).lesion_probability).any() or any(
        "not adapted" in note for note in found.notes
    )
