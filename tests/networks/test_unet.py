import pytest
import torch
from pydantic import ValidationError
from torch import nn

from strokelabel.networks.unet import PRESETS, UNetConfig, build_network, fold_voxels, unfold_voxels


def count_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("classes", "expected"), [(6, 18_623_079), (2, 18_615_295)])
def test_the_released_networks_size_is_reproduced_to_the_parameter(classes, expected):
    config = PRESETS["synthstroke"].model_copy(update={"out_channels": classes})
    assert count_parameters(build_network(config)) == expected


def test_the_default_network_has_the_papers_size():
    assert count_parameters(build_network(PRESETS["default"])) == pytest.approx(8.94e6, rel=1e-3)


def test_state_dict_keys_start_where_the_released_ones_do():
    keys = build_network(UNetConfig(channels=(4, 8), strides=(2,))).state_dict().keys()
    assert "model.0.conv.unit0.conv.weight" in keys
    assert all(key.startswith("model.") for key in keys)


def test_logits_have_one_channel_per_class_on_the_inputs_own_unequal_grid():
    config = UNetConfig(channels=(4, 6, 8, 8), strides=(2, 2, 2), out_channels=5)
    assert config.multiple == 8
    logits = build_network(config)(torch.zeros(2, 1, 8, 16, 24))
    assert logits.shape == (2, 5, 8, 16, 24)


def test_the_default_network_needs_sides_that_are_multiples_of_32():
    assert PRESETS["default"].multiple == 32


def test_dropout_drops_single_values_and_never_whole_channels():
    network = build_network(UNetConfig(channels=(4, 8), strides=(2,), dropout=0.2))
    dropouts = {
        type(module) for module in network.modules() if isinstance(module, nn.modules.dropout._DropoutNd)
    }
    assert dropouts == {nn.Dropout}


def test_instance_normalisation_has_no_parameters_of_its_own():
    network = build_network(UNetConfig(channels=(4, 8), strides=(2,)))
    norms = [module for module in network.modules() if isinstance(module, nn.InstanceNorm3d)]
    assert norms
    assert not any(list(norm.parameters()) for norm in norms)


@pytest.mark.parametrize(
    "wrong",
    [
        {"channels": (8, 16), "strides": (2, 2)},
        {"channels": (8,), "strides": ()},
        {"channels": (8, 0), "strides": (2,)},
        {"dropout": 1.0},
        {"chanels": (8, 16)},
    ],
)
def test_impossible_networks_are_refused(wrong):
    with pytest.raises(ValidationError):
        UNetConfig(**wrong)


def test_a_configuration_survives_a_round_trip_through_json():
    config = PRESETS["synthstroke"]
    assert UNetConfig.model_validate_json(config.model_dump_json()) == config


def test_the_plain_network_works_at_full_resolution_and_keeps_each_weight_once():
    config = UNetConfig(architecture="plain", channels=(4, 8, 12), strides=(2, 2), dropout=0.0)
    network = build_network(config)

    assert network(torch.zeros(1, 1, 8, 12, 16)).shape == (1, 6, 8, 12, 16)
    state = network.state_dict()
    assert sum(v.numel() for v in state.values()) == sum(p.numel() for p in network.parameters())
    assert all(key.startswith("model.") and "skip_layers" not in key for key in state)


def test_the_plain_network_is_saved_and_loaded_like_any_other(tmp_path):
    from copy import deepcopy

    config = UNetConfig(architecture="plain", channels=(4, 8, 12), strides=(2, 2), dropout=0.0)
    network = build_network(config).eval()
    image = torch.randn(1, 1, 8, 12, 16, generator=torch.Generator().manual_seed(0))

    other = build_network(config).eval()
    other.load_state_dict(network.state_dict(), assign=True)

    torch.testing.assert_close(other(image), network(image))
    torch.testing.assert_close(deepcopy(network)(image), network(image))


def test_the_subpixel_network_has_the_base_models_size_and_asks_for_multiples_of_16():
    config = UNetConfig(architecture="subpixel", channels=(32, 64, 128, 256), strides=(2, 2, 2), dropout=0.0)
    network = build_network(config)

    assert count_parameters(network) == 5_608_496
    assert config.multiple == 16
    assert network(torch.zeros(1, 1, 16, 32, 48)).shape == (1, 6, 16, 32, 48)
    assert all(key.startswith("model.model.") for key in network.state_dict())


def test_folding_puts_each_block_of_eight_voxels_into_one_and_unfolding_puts_it_back():
    volume = torch.arange(2 * 3 * 4 * 6 * 8, dtype=torch.float32).view(2, 3, 4, 6, 8)

    folded = fold_voxels(volume)

    assert folded.shape == (2, 24, 2, 3, 4)
    assert torch.equal(folded[1, 8:16, 1, 2, 3], volume[1, 1, 2:4, 4:6, 6:8].flatten())
    assert torch.equal(unfold_voxels(folded), volume)
