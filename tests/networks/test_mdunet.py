"""MDUNet: the size of the paper's networks, and a network like the others to everything around it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from strokelabel.fit.export import export_weights
from strokelabel.fit.train import describe_model, train_recipe
from strokelabel.networks.mdunet import LargeKernelAttention, LargeKernelBlock, LargeKernelConfig
from strokelabel.networks.unet import UNetConfig, build_network
from strokelabel.networks.weights import load_weights
from strokelabel.synthesis.prepared.dataset import PreparedData
from support.tiny_prepared import make_recipe

ARCHITECTURES = ("md-encoder", "md")


@pytest.mark.parametrize(
    ("architecture", "units", "millions"),
    [("plain", 1, 31.2), ("md-encoder", 1, 28.5), ("md", 1, 24.3), ("md-encoder", 2, 33.7), ("md", 2, 32.9)],
)
def test_networks_have_the_size_of_the_public_ones(architecture: str, units: int, millions: float) -> None:
    config = UNetConfig.model_validate(
        {
            "architecture": architecture,
            "out_channels": 2,
            "channels": (32, 64, 128, 256, 320, 320),
            "dropout": 0.0,
            "large_kernel": {"units": units},
        }
    )
    with torch.device("meta"):
        network = build_network(config)
    assert round(sum(parameter.numel() for parameter in network.parameters()) / 1e6, 1) == millions


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_lie_on_the_input_s_own_unequal_grid(architecture: str) -> None:
    config = UNetConfig.model_validate(
        {"architecture": architecture, "channels": (4, 6, 8), "strides": (2, 2), "out_channels": 5}
    )
    assert build_network(config)(torch.zeros(2, 1, 8, 16, 12)).shape == (2, 5, 8, 16, 12)


def test_an_attention_sees_23_voxels_along_each_axis() -> None:
    torch.manual_seed(1)
    attention = LargeKernelAttention(1, LargeKernelConfig()).double()
    volume = torch.rand(1, 1, 31, 31, 31, dtype=torch.float64).requires_grad_()
    (seen,) = torch.autograd.grad(attention(volume)[0, 0, 15, 15, 15], volume)
    for axis in range(3):
        reached = seen[0, 0].abs().sum(dim=[other for other in range(3) if other != axis]).nonzero().flatten()
        assert (int(reached[0]), int(reached[-1])) == (4, 26)


def test_a_new_block_hardly_changes_its_input() -> None:
    torch.manual_seed(1)
    features = torch.randn(1, 4, 6, 7, 5)
    change = (LargeKernelBlock(4, LargeKernelConfig()).eval()(features) - features).detach()
    assert 0 < float(change.std()) < 0.2 * float(features.std())


def test_branches_are_left_out_while_training_alone() -> None:
    torch.manual_seed(1)
    block = LargeKernelBlock(4, LargeKernelConfig(path_dropout=0.999))
    features = torch.randn(1, 4, 6, 7, 5)
    assert torch.equal(block.train()(features), features)
    assert not torch.equal(block.eval()(features), features)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_network_trains_and_is_the_same_after_export(
    architecture: str, prepared_folder: Path, tmp_path: Path
) -> None:
    network = {"architecture": architecture, "channels": [4, 6, 8], "strides": [2, 2], "dropout": 0.1}
    training = {"steps": 2, "validate_every": 2, "checkpoint_every": 2, "threads": 1, "batch_size": 1}
    recipe = make_recipe(network=network, training=training)
    data = PreparedData.load(prepared_folder)
    result = train_recipe(recipe, data, tmp_path / "run", device="cpu")
    assert result.steps == 2
    path = tmp_path / "model.safetensors"
    export_weights(tmp_path / "run", describe_model(recipe, path, "0.0.1", "CC0-1.0"), path)
    exported, spec = load_weights(path)
    assert spec.network["architecture"] == architecture
    volume = torch.randn(1, 1, 16, 24, 8, generator=torch.Generator().manual_seed(2))
    assert exported(volume).isfinite().all()
    state = exported.state_dict()
    means = [value for key, value in state.items() if key.endswith("running_mean")]
    assert means and any(bool(mean.any()) for mean in means)


@pytest.mark.parametrize(
    "wrong", [{"units": 0}, {"kernel": 4}, {"dilation": 0}, {"path_dropout": 1.0}, {"unit": 1}]
)
def test_impossible_blocks_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        LargeKernelConfig.model_validate(wrong)
