"""Models written as ONNX files, after a comparison of both engines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from scipy import ndimage

from strokelabel.errors import WeightsError
from strokelabel.inference.engine import EngineNetwork, softmax
from strokelabel.inference.network_input import normalized_item
from strokelabel.io.atomic import atomic_path
from strokelabel.networks.onnx_graph import onnx_model
from strokelabel.networks.unet_config import unet_config
from strokelabel.registry import ModelSpec
from strokelabel.types import Volume

LEAST_AGREEMENT: Final = 0.999
"""Least Dice of the most likely class, over all classes that are found, between the two engines."""

LARGEST_DIFFERENCE: Final = 1e-3
"""Largest difference of a probability between the two engines."""

_SHELLS = ((1.0, 0.35), (0.9, 0.1), (0.8, 0.6), (0.7, 0.95), (0.25, 0.3))
"""Relative radius and intensity of the ellipsoids of the phantom, outermost first."""


@dataclass(frozen=True)
class EngineAgreement:
    """Comparison of the probabilities of ONNX Runtime with those of torch.

    Attributes:
        dice: smallest Dice of a class, as the most likely one, of the classes that torch finds.
        difference: largest difference of a probability.
    """

    dice: float
    difference: float

    @property
    def is_close(self) -> bool:
        """True if the engines give the same results."""
        return self.dice >= LEAST_AGREEMENT and self.difference <= LARGEST_DIFFERENCE

    def __str__(self) -> str:
        return f"Dice {self.dice:.5f}, probabilities within {self.difference:.1e}"


def compare_engines(first: EngineNetwork, second: EngineNetwork, item: np.ndarray) -> EngineAgreement:
    """Compare what two engines give for an input of the network, (1, 1, x, y, z)."""
    one, other = (softmax(network.run(item)[0]) for network in (first, second))
    labels, others = one.argmax(axis=0), other.argmax(axis=0)
    found = np.flatnonzero(np.bincount(labels.ravel(), minlength=len(one)))
    both = [np.count_nonzero((labels == index) & (others == index)) for index in found]
    sums = [np.count_nonzero(labels == index) + np.count_nonzero(others == index) for index in found]
    dice = min(2 * same / total for same, total in zip(both, sums, strict=True))
    return EngineAgreement(float(dice), float(np.abs(one - other).max()))


def export_onnx(spec: ModelSpec, path: Path) -> EngineAgreement:
    """Write a model as ONNX, once the file is found valid and both engines agree on a phantom of a head.

    Args:
        spec: a model of which `onnx_graph.has_onnx_form` is true.
        path: ending in ".onnx"; written atomically.

    Raises:
        WeightsError: no ONNX form, damaged weights, or engines that disagree.
        OutputError: the file cannot be written.
        ModuleNotFoundError: onnx or torch is not installed.
    """
    import onnx

    from strokelabel.inference.device import resolve_device
    from strokelabel.inference.onnx_network import OnnxNetwork
    from strokelabel.inference.torch_network import TorchNetwork
    from strokelabel.networks.weights import load_weights

    if path.suffix != ".onnx":
        raise WeightsError("expected a name that ends in .onnx", source=path)
    content = onnx_model(spec)
    onnx.checker.check_model(content, full_check=True)
    network, _ = load_weights(spec)
    item = normalized_item(_phantom(spec), spec)
    agreement = compare_engines(TorchNetwork(network, resolve_device("cpu")), OnnxNetwork(spec), item)
    if not agreement.is_close:
        raise WeightsError(
            f"expected the same results from torch and ONNX Runtime, found {agreement}; predict with torch",
            source=spec.path,
        )
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return agreement


def _phantom(spec: ModelSpec) -> Volume:
    """Return nested ellipsoids in a model's field of view, blurred by a voxel, with some noise: (x, y, z)."""
    multiple = unet_config(spec).multiple
    sides = [max(1, round(side / spec.spacing_mm / multiple)) * multiple for side in spec.field_of_view_mm]
    axes = np.meshgrid(*(np.linspace(-1.1, 1.1, side) for side in sides), indexing="ij", sparse=True)
    radius = np.sqrt(sum(axis**2 for axis in axes))
    volume = np.zeros(sides, np.float32)
    for limit, intensity in _SHELLS:
        volume[radius < limit] = intensity
    noise = np.random.default_rng(0).normal(0, 0.02, sides).astype(np.float32)
    return np.maximum(ndimage.gaussian_filter(volume, 1.0) + noise, 0)
