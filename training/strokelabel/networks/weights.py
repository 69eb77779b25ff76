"""Saving and loading weights: safetensors only, so that no weights file can run code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from pydantic import ValidationError
from safetensors.torch import save
from torch import Tensor, nn

from strokelabel.errors import WeightsError
from strokelabel.io.atomic import atomic_path
from strokelabel.networks.contrastive import ContrastiveConfig, ContrastiveNetwork
from strokelabel.networks.denoiser import Denoiser, DenoiserConfig
from strokelabel.networks.estimator import EstimatorConfig, build_estimator
from strokelabel.networks.quality import QualityConfig, QualityNetwork
from strokelabel.networks.unet import build_network
from strokelabel.networks.unet_config import PRESETS, UNetConfig
from strokelabel.networks.weight_files import check_class_names, check_shapes, read_arrays
from strokelabel.registry import (
    DENOISING,
    ESTIMATION,
    PRETRAINING,
    QUALITY,
    ModelSpec,
    find_model,
    read_header,
)
from strokelabel.types import PathLike

_RELEASED_PREFIX = "unet."

NetworkConfig: TypeAlias = ContrastiveConfig | UNetConfig | EstimatorConfig | DenoiserConfig | QualityConfig
"""Configuration of the network of any task. A special U-Net before the plain one, which would hide its own settings."""

NETWORK_OF_TASK: dict[str, type[NetworkConfig]] = {
    ESTIMATION: EstimatorConfig,
    DENOISING: DenoiserConfig,
    QUALITY: QualityConfig,
    PRETRAINING: ContrastiveConfig,
}
"""Of the tasks whose network is not just that of `UNetConfig`."""


def multiple_of(spec: ModelSpec) -> int:
    """Return the number of voxels that the sides of a model's inputs must be multiples of."""
    return network_config(spec).multiple


def save_weights(
    path: PathLike,
    network: nn.Module | dict[str, Tensor],
    spec: ModelSpec,
    dtype: Literal["float16", "float32"] = "float16",
) -> ModelSpec:
    """Write weights and their description, atomically.

    Args:
        path: ending in ".safetensors".
        network: the network, or its state dict.
        spec: its description; the path in it is replaced.
        dtype: how weights are stored; float16 halves the file and changes a prediction by less than noise does.

    Returns:
        The description with the new path.

    Raises:
        WeightsError: the weights are not those of the network described, or do not fit the type.
        OutputError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise WeightsError(f"{path}: expected a name that ends in .safetensors")
    state = network.state_dict() if isinstance(network, nn.Module) else network
    _described_network(spec, state)
    kept = {key: value.detach().to("cpu", getattr(torch, dtype)).contiguous() for key, value in state.items()}
    if not all(bool(value.isfinite().all()) for value in kept.values()):
        raise WeightsError(f"{path}: expected weights that fit {dtype}; some are not finite or too large")
    spec = replace(spec, path=path)
    with atomic_path(path) as temporary:
        # Not save_file, which makes files that only their owner can read.
        temporary.write_bytes(save(kept, metadata={"format": "pt", **spec.to_metadata()}))
    return spec


def save_with_temperature(model: ModelSpec | PathLike, path: PathLike, temperature: float) -> ModelSpec:
    """Write a model with another temperature: the same tensors to the bit, and a new description.

    Args:
        model: a description, the name of a registered model, or the path of a safetensors file.
        path: of the new file, ending in ".safetensors"; may be the model's own.
        temperature: see `registry.ModelSpec`.

    Returns:
        The description of the new file.

    Raises:
        UnknownModelError, WeightsError: no such model, a damaged file, or no temperature.
        OutputError: the file cannot be written.
    """
    spec = model if isinstance(model, ModelSpec) else find_model(model)
    if not 0 < temperature < float("inf"):
        raise WeightsError(f"expected a positive temperature, got {temperature}", source=spec.path)
    spec, state = replace(spec, path=Path(path), temperature=float(temperature)), _read_tensors(spec.path)
    with atomic_path(spec.path) as temporary:
        temporary.write_bytes(save(state, metadata={"format": "pt", **spec.to_metadata()}))
    return spec


def load_weights(
    model: ModelSpec | PathLike, device: str = "cpu", *, dropout: float | None = None
) -> tuple[nn.Module, ModelSpec]:
    """Load a model.

    Args:
        model: a description, the name of a registered model, or the path of a safetensors file.
        device: where to put it.
        dropout: rate of the network's dropout in place of the described one; weights are the same at any rate.

    Returns:
        The network, float32 and in evaluation mode, and its description.

    Raises:
        UnknownModelError: no model of that name.
        WeightsError: missing or damaged file, or weights that do not fit the network described.
    """
    spec = model if isinstance(model, ModelSpec) else find_model(model)
    state = _read_tensors(spec.path)
    described = spec if dropout is None else replace(spec, network={**spec.network, "dropout": dropout})
    network = _described_network(described, state)
    network.load_state_dict({key: value.float() for key, value in state.items()}, assign=True)
    return network.to(device).eval(), spec


def load_released_weights(path: PathLike) -> tuple[nn.Module, UNetConfig]:
    """Load publicly released SynthStroke weights (keys "unet.model.*", the preset "synthstroke").

    Args:
        path: a safetensors file; the number of classes is read from its last convolution.

    Returns:
        The network, float32 and in evaluation mode, and its configuration.

    Raises:
        WeightsError: missing or damaged file, or another network.
    """
    path = Path(path)
    read_header(path)
    state = {key.removeprefix(_RELEASED_PREFIX): value for key, value in _read_tensors(path).items()}
    biases = [value for key, value in sorted(state.items()) if key.endswith("conv.bias")]
    classes = max(2, len(biases[-1]) if biases else 0)
    config = PRESETS["synthstroke"].model_copy(update={"out_channels": classes})
    network = _empty_network(config)
    _check_shapes(network, state, str(path))
    network.load_state_dict({key: value.float() for key, value in state.items()}, assign=True)
    return network.eval(), config


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a safetensors file, and check that they hold numbers."""
    return {key: torch.from_numpy(values) for key, values in read_arrays(path).items()}


def _described_network(spec: ModelSpec, state: dict[str, Tensor]) -> nn.Module:
    """Return the network of a description, without memory for its weights yet, after checking that the weights fit."""
    try:
        config = network_config(spec)
    except (ValidationError, TypeError) as error:
        raise WeightsError(f"{spec.path}: it describes an unknown network ({error})") from error
    check_class_names(spec.class_names, config.out_channels, spec.path)
    network = _empty_network(config)
    _check_shapes(network, state, str(spec.path))
    return network


def network_config(spec: ModelSpec) -> NetworkConfig:
    """Return the network configuration of a model's task.

    Raises:
        ValidationError, TypeError: the description does not fit the task's network.
    """
    return NETWORK_OF_TASK.get(spec.task, UNetConfig)(**spec.network)


def _empty_network(config: NetworkConfig) -> nn.Module:
    """Return a network whose weights are yet to be assigned; costs neither time nor random numbers."""
    with torch.device("meta"):
        return make_network(config)


def make_network(config: NetworkConfig) -> nn.Module:
    """Build the network of any task with freshly initialised weights."""
    if isinstance(config, EstimatorConfig):
        return build_estimator(config)
    if isinstance(config, ContrastiveConfig):
        return ContrastiveNetwork(config)
    if isinstance(config, QualityConfig):
        return QualityNetwork(config)
    return Denoiser(config) if isinstance(config, DenoiserConfig) else build_network(config)


def _check_shapes(network: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Refuse weights of another network, naming the first differences."""
    expected, found = (
        {key: tuple(value.shape) for key, value in tensors.items()}
        for tensors in (network.state_dict(), state)
    )
    check_shapes(expected, found, source)
