"""A temperature divides the logits once, wherever a network is run; without one nothing changes to the bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from strokelabel.errors import WeightsError
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.segment.ensemble import OtherSequence, predict_ensemble
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.inference.segment.uncertainty import estimate_uncertainty
from strokelabel.io import Image
from strokelabel.networks.weights import load_weights, save_with_temperature
from strokelabel.registry import read_header, read_spec
from strokelabel.reports.evaluation.slabs import slab_scores
from support.bright_network import BrightNetwork, centred_affine, make_spec, phantom, rotation

SHAPE = (32, 40, 32)
WHOLE = PredictionOptions(view="head", keep_outside_brain=True)

Ask = Callable[[Predictor, Image], np.ndarray]


def plain(predictor: Predictor, image: Image) -> np.ndarray:
    return predictor.scores(image, WHOLE).probabilities


def flipped(predictor: Predictor, image: Image) -> np.ndarray:
    return predictor.scores(image, replace(WHOLE, tta=True)).probabilities


def together(predictor: Predictor, image: Image) -> np.ndarray:
    found = predict_ensemble(predictor, image, [OtherSequence("T2w", lambda: image)], WHOLE)
    return found.found.scores.probabilities


def in_views(predictor: Predictor, image: Image) -> np.ndarray:
    return estimate_uncertainty(predictor, image, WHOLE).scores.probabilities


def slab(predictor: Predictor, image: Image) -> np.ndarray:
    data = np.repeat(image.data[:, :, 18:19], SHAPE[2], axis=2)
    return slab_scores(predictor, replace(image, data=data), 2, WHOLE).probabilities


def windowed(predictor: Predictor, image: Image) -> np.ndarray:
    return predictor.scores(image, replace(WHOLE, max_voxels=16**3)).probabilities


@pytest.mark.parametrize("ask", [plain, flipped, together, in_views, slab, windowed])
def test_the_logits_are_divided_once(ask: Ask) -> None:
    image, _ = phantom(SHAPE, np.diag([2.0, 2, 2, 1]) @ centred_affine(np.eye(3), SHAPE), (6, -8, 4))
    network, device = BrightNetwork(), torch.device("cpu")
    before = ask(Predictor(make_spec(), network, device), image)
    after = ask(Predictor(make_spec(temperature=2.0), network, device), image)
    expected = np.sqrt(before)  # logits over 2 are roots of probabilities, but for their sum
    expected /= expected.sum(axis=0)
    sure = np.abs(before.sum(axis=0) - 1) < 1e-6
    assert sure.mean() > 0.9
    np.testing.assert_allclose(after[:, sure], expected[:, sure], atol=2e-4)


def test_a_file_with_a_temperature_has_the_same_tensors_and_says_it(
    bright_model: Path, tmp_path: Path
) -> None:
    shape = (34, 45, 18)
    affine = centred_affine(rotation((11, 0, 4)) @ np.diag([1.9, 1.6, 3.4]), shape)
    image, _ = phantom(shape, affine, (9, -12, 5))
    spec = save_with_temperature(bright_model, tmp_path / "warm.safetensors", 1.7)
    assert read_spec(spec.path).temperature == 1.7
    known, found = (load_weights(path)[0].state_dict() for path in (bright_model, spec.path))
    assert all(torch.equal(known[key], found[key]) for key in known)
    cold = save_with_temperature(spec.path, tmp_path / "cold.safetensors", 1.0)
    assert "temperature" not in read_header(cold.path)["__metadata__"]["strokelabel"]
    same, original = (
        Predictor.from_model(path, "cpu").predict(image).lesion_probability
        for path in (cold.path, bright_model)
    )
    np.testing.assert_array_equal(same, original)
    warm = Predictor.from_model(spec.path, "cpu").predict(image).lesion_probability
    assert 0 < np.abs(warm - original).max() < 0.5


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_an_impossible_temperature_is_refused(bright_model: Path, tmp_path: Path, temperature: float) -> None:
    with pytest.raises(WeightsError, match="temperature"):
        save_with_temperature(bright_model, tmp_path / "no.safetensors", temperature)
    assert not (tmp_path / "no.safetensors").exists()
