from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from strokelabel.errors import WeightsError
from strokelabel.networks.unet import PRESETS, UNetConfig, build_network
from strokelabel.networks.weights import load_released_weights, load_weights, save_weights
from strokelabel.registry import ModelSpec
from support.bright_network import make_spec

CONFIG = UNetConfig(channels=(4, 6), strides=(2,))


def spec_of(config: UNetConfig) -> ModelSpec:
    return make_spec(network=config.model_dump(mode="json"))


@pytest.fixture
def network() -> torch.nn.Module:
    torch.manual_seed(4)
    return build_network(CONFIG)


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randn(1, 1, 6, 8, 10, generator=torch.Generator().manual_seed(5))


def test_a_saved_network_predicts_the_same_when_loaded(tmp_path, network, image):
    saved = save_weights(tmp_path / "a.safetensors", network, spec_of(CONFIG), dtype="float32")
    loaded, spec = load_weights(saved.path)
    assert spec == replace(spec_of(CONFIG), path=tmp_path / "a.safetensors")
    assert torch.equal(loaded(image), network.eval()(image))


def test_half_precision_halves_the_file_and_hardly_changes_the_prediction(tmp_path, network, image):
    save_weights(tmp_path / "full.safetensors", network, spec_of(CONFIG), dtype="float32")
    half = save_weights(tmp_path / "half.safetensors", network, spec_of(CONFIG)).path
    loaded, _ = load_weights(half)
    assert {value.dtype for value in loaded.parameters()} == {torch.float32}
    torch.testing.assert_close(loaded(image), network.eval()(image), atol=0.01, rtol=0.01)
    parameters = sum(value.numel() for value in network.parameters())
    assert (tmp_path / "full.safetensors").stat().st_size - half.stat().st_size == pytest.approx(
        2 * parameters, abs=64
    )


def test_loaded_networks_are_ready_to_predict_and_can_be_trained_on(tmp_path, network):
    path = save_weights(tmp_path / "a.safetensors", network, spec_of(CONFIG)).path
    loaded, _ = load_weights(str(path))
    assert not loaded.training
    assert all(value.requires_grad for value in loaded.parameters())


def test_loading_takes_no_random_numbers(tmp_path, network):
    path = save_weights(tmp_path / "a.safetensors", network, spec_of(CONFIG)).path
    before = torch.get_rng_state()
    load_weights(path)
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_of_another_network_than_described_are_refused(tmp_path, network):
    other = spec_of(UNetConfig(channels=(4, 8), strides=(2,)))
    with pytest.raises(WeightsError, match="do not fit the network"):
        save_weights(tmp_path / "a.safetensors", network, other)
    save_file(network.state_dict(), tmp_path / "b.safetensors", metadata=other.to_metadata())
    with pytest.raises(WeightsError, match=r"b\.safetensors.*do not fit the network"):
        load_weights(tmp_path / "b.safetensors")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused_before_a_scan_is_blamed(
    tmp_path: Path, network: torch.nn.Module, value: float
) -> None:
    name, parameter = next(iter(network.named_parameters()))
    with torch.no_grad():
        parameter.view(-1)[1] = value
    path = tmp_path / "a.safetensors"
    save_file(network.state_dict(), path, metadata=spec_of(CONFIG).to_metadata())
    with pytest.raises(WeightsError, match=f"expected finite weights, {name} holds NaN or infinite"):
        load_weights(path)


def test_descriptions_that_contradict_themselves_are_refused(tmp_path, network):
    with pytest.raises(WeightsError, match="name for each of 6"):
        save_weights(tmp_path / "a.safetensors", network, replace(spec_of(CONFIG), class_names=("a", "b")))
    with pytest.raises(WeightsError, match="unknown network"):
        save_weights(tmp_path / "a.safetensors", network, replace(spec_of(CONFIG), network={"layers": 9}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [1e6, float("nan")])
def test_weights_that_half_precision_cannot_hold_are_not_written(tmp_path, network, value):
    with torch.no_grad():
        next(network.parameters()).flatten()[0] = value
    with pytest.raises(WeightsError, match="float16"):
        save_weights(tmp_path / "a.safetensors", network, spec_of(CONFIG))
    assert not list(tmp_path.iterdir())


def test_other_suffixes_are_refused(tmp_path, network):
    with pytest.raises(WeightsError, match=r"\.safetensors"):
        save_weights(tmp_path / "a.pt", network, spec_of(CONFIG))


@pytest.mark.parametrize(("prefix", "classes"), [("unet.", 6), ("unet.", 2), ("", 6)])
def test_publicly_released_weights_load_unchanged(tmp_path, prefix, classes):
    config = PRESETS["synthstroke"].model_copy(update={"out_channels": classes})
    torch.manual_seed(6)
    released = {prefix + key: value for key, value in build_network(config).state_dict().items()}
    assert prefix + "model.0.conv.unit0.conv.weight" in released
    save_file(released, tmp_path / "released.safetensors")

    network, found = load_released_weights(tmp_path / "released.safetensors")

    assert found == config
    assert all(torch.equal(value, released[prefix + key]) for key, value in network.state_dict().items())


def test_released_weights_of_another_network_are_refused(tmp_path, network):
    save_file(
        {f"unet.{key}": value for key, value in network.state_dict().items()}, tmp_path / "x.safetensors"
    )
    with pytest.raises(WeightsError, match="do not fit the network"):
        load_released_weights(tmp_path / "x.safetensors")
    save_file({"a": torch.zeros(3)}, tmp_path / "y.safetensors")
    with pytest.raises(WeightsError, match="do not fit the network"):
        load_released_weights(tmp_path / "y.safetensors")
    with pytest.raises(WeightsError, match="expected a weights file"):
        load_released_weights(Path("nowhere.safetensors"))


def test_weights_can_be_read_by_whoever_may_read_new_files(tmp_path, network):
    plain = tmp_path / "plain.txt"
    plain.write_text("x")

    saved = save_weights(tmp_path / "model.safetensors", network, spec_of(CONFIG))

    assert saved.path.stat().st_mode == plain.stat().st_mode
