"""A network as ONNX is a valid model, gives what torch gives, and carries the description of its weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from strokelabel.errors import WeightsError
from strokelabel.networks.onnx_graph import INPUT, OUTPUT, WEIGHTS_KEY, has_onnx_form, onnx_model
from strokelabel.networks.unet import build_network
from strokelabel.networks.unet_config import UNetConfig
from strokelabel.networks.weights import load_weights, save_weights
from strokelabel.registry import METADATA_KEY, ModelSpec, find_model
from support.bright_network import make_spec

CONFIGS = [
    UNetConfig(architecture="plain", channels=(3, 4, 5), strides=(2, 2), out_channels=3),
    UNetConfig(architecture="plain", channels=(3, 4, 5, 6), strides=(1, 3, 2), in_channels=2),
    UNetConfig(architecture="subpixel", channels=(4, 5, 6), strides=(2, 2), dropout=0.1),
    UNetConfig(architecture="subpixel", channels=(4, 5, 6, 7), strides=(2, 1, 2), in_channels=2),
]


def saved(path: Path, config: UNetConfig) -> ModelSpec:
    """A model with random weights, those of its normalisation too."""
    torch.manual_seed(3)
    network = build_network(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    names = tuple(f"class {index}" for index in range(config.out_channels))
    spec = make_spec(network=config.model_dump(mode="json"), class_names=names)
    return save_weights(path / "model.safetensors", network, spec, dtype="float32")


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.architecture}-{config.strides}")
def test_onnx_runtime_gives_the_logits_of_torch(config: UNetConfig, tmp_path: Path) -> None:
    spec = saved(tmp_path, config)
    content = onnx_model(spec)
    onnx.checker.check_model(content, full_check=True)
    sides = [factor * config.multiple for factor in (2, 4, 3)]
    image = np.random.default_rng(5).normal(size=(1, config.in_channels, *sides)).astype(np.float32)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (found,) = session.run([OUTPUT], {INPUT: image})
    with torch.inference_mode():
        expected = load_weights(spec)[0](torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-4)


def test_the_metadata_are_the_description_and_the_check_sum_of_the_weights() -> None:
    spec = find_model("base")
    model = onnx.load_model_from_string(onnx_model(spec))
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata[WEIGHTS_KEY] == spec.sha256
    assert ModelSpec.from_metadata(metadata, spec.path) == spec
    described = json.loads(metadata[METADATA_KEY])
    assert described["class_names"][-1] == "lesion" and described["recipe"] == spec.recipe


def test_an_architecture_without_an_onnx_form_is_refused(tmp_path: Path) -> None:
    spec = saved(tmp_path, UNetConfig(channels=(2, 3), strides=(2,)))
    assert not has_onnx_form(spec) and not has_onnx_form(find_model("denoiser"))
    with pytest.raises(WeightsError, match="this one is residual"):
        onnx_model(spec)


def test_weights_that_do_not_fit_are_refused_as_torch_refuses_them(tmp_path: Path) -> None:
    spec = saved(tmp_path, CONFIGS[2])
    other = replace(spec, network={**spec.network, "channels": [4, 5, 9]})
    messages = []
    for load in (onnx_model, load_weights):
        with pytest.raises(WeightsError) as refused:
            load(other)
        messages.append(str(refused.value))
    assert messages[0] == messages[1] and "do not fit the network" in messages[0]


def test_an_unknown_description_is_refused(tmp_path: Path) -> None:
    spec = saved(tmp_path, CONFIGS[0])
    with pytest.raises(WeightsError, match="unknown network"):
        onnx_model(replace(spec, network={**spec.network, "levels": 3}))
