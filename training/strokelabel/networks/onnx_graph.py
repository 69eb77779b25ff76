"""Networks as ONNX models, made from their weights files without torch.

The plain U-Net of `UNetConfig`, and the same on a grid of half the resolution. There, folding voxels into channels and
the first convolution become one convolution of 6³ with stride 2, and unfolding is a transposed convolution of 2³: the
same sums, without moving memory about.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from strokelabel import __version__
from strokelabel.errors import WeightsError
from strokelabel.networks.onnx_format import Attribute, model, node, tensor, volumes
from strokelabel.networks.unet_config import FOLD, UNetConfig, unet_config
from strokelabel.networks.weight_files import check_class_names, check_shapes, read_arrays
from strokelabel.registry import PARCELLATION, SEGMENTATION, ModelSpec

INPUT, OUTPUT = "image", "logits"

WEIGHTS_KEY = "weights_sha256"
"""Key of an ONNX model's metadata that holds the check sum of the weights file that it was made from."""

_PREFIX = {"plain": "model.", "subpixel": "model.model."}
"""Beginning of the keys in a weights file, by the network's architecture."""

_EPSILON = 1e-5
_SLOPE = 0.01


def has_onnx_form(spec: ModelSpec) -> bool:
    """Return whether a model's network can be written as ONNX."""
    return (
        spec.task in {SEGMENTATION, PARCELLATION} and spec.network.get("architecture", "residual") in _PREFIX
    )


def onnx_model(spec: ModelSpec) -> bytes:
    """Return a model as ONNX: what an .onnx file holds.

    It maps `INPUT`, float32 (batch, channels, x, y, z), to `OUTPUT`, the logits (batch, classes, x, y, z). Its metadata
    is the description of the weights file (classes, voxel size, normalisation, temperature, recipe), and that file's
    check sum under `WEIGHTS_KEY`.

    Raises:
        WeightsError: a network without an ONNX form, a damaged file, or weights that do not fit the description.
    """
    if not has_onnx_form(spec):
        raise WeightsError(
            "expected a network of the architecture plain or subpixel, which can be written as ONNX, this one is "
            f"{spec.network.get('architecture', spec.task)}",
            source=spec.path,
        )
    config = unet_config(spec)
    check_class_names(spec.class_names, config.out_channels, spec.path)
    network = _Network(config, read_arrays(spec.path), str(spec.path))
    return model(
        network.nodes,
        network.tensors,
        (volumes(INPUT, config.in_channels), volumes(OUTPUT, config.out_channels)),
        ("StrokeLabel", __version__),
        {**spec.to_metadata(), WEIGHTS_KEY: spec.sha256},
    )


@dataclass
class _Network:
    """Nodes and tensors of a network, from the input to the logits.

    Args:
        config: its parameters.
        weights: of the weights file.
        source: that file's name, for messages.
    """

    config: UNetConfig
    weights: dict[str, np.ndarray]
    source: str
    nodes: list[bytes] = field(default_factory=list)
    tensors: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._folds = self.config.architecture == "subpixel"
        prefix = _PREFIX[self.config.architecture]
        shapes = {f"{prefix}{key}": shape for key, shape in _shapes(self.config).items()}
        check_shapes(shapes, {key: value.shape for key, value in self.weights.items()}, self.source)
        self._weights = {key.removeprefix(prefix): value for key, value in self.weights.items()}
        self._add_levels()

    def _add_levels(self) -> None:
        strides = self.config.strides
        skips = [self._block(INPUT, "input_block", 1)]
        for index, stride in enumerate(strides[:-1]):
            skips.append(self._block(skips[-1], f"downsamples.{index}", stride))
        last = self._block(skips[-1], "bottleneck", strides[-1])
        for index, stride in enumerate(reversed(strides)):
            last = self._up(last, skips.pop(), f"upsamples.{index}", stride)
        self._head(last)

    def _block(self, below: str, name: str, stride: int) -> str:
        """Add two convolutions, each with its normalisation and activation."""
        for part, step in ((1, stride), (2, 1)):
            convolution = f"{name}.conv{part}"
            weight = self._weights[f"{convolution}.conv.weight"]
            if self._folds and below == INPUT:
                self._add(
                    "Conv", convolution, [below], [_with_folding(weight)], strides=[FOLD] * 3, pads=[FOLD] * 6
                )
            else:
                pad = (3 - step + 1) // 2  # as MONAI's DynUNet pads
                self._add("Conv", convolution, [below], [weight], strides=[step] * 3, pads=[pad] * 6)
            normal = f"{name}.norm{part}"
            affine = [self._weights[f"{normal}.{kind}"] for kind in ("weight", "bias")]
            self._add("InstanceNormalization", normal, [convolution], affine, epsilon=_EPSILON)
            below = self._add("LeakyRelu", f"{name}.activation{part}", [normal], alpha=_SLOPE)
        return below

    def _up(self, below: str, skip: str, name: str, stride: int) -> str:
        """Add a level of the decoder: upsampling, the features of the encoder, and two convolutions."""
        weight = self._weights[f"{name}.transp_conv.conv.weight"]
        up = self._add("ConvTranspose", f"{name}.transp_conv", [below], [weight], strides=[stride] * 3)
        return self._block(self._add("Concat", f"{name}.cat", [up, skip], axis=1), f"{name}.conv_block", 1)

    def _head(self, below: str) -> None:
        """Add the last convolution, and unfold its channels into voxels."""
        weights = [self._weights[f"output_block.conv.conv.{kind}"] for kind in ("weight", "bias")]
        if not self._folds:
            self._add("Conv", OUTPUT, [below], weights)
            return
        folded = self._add("Conv", "folded", [below], weights)
        classes = self.config.out_channels
        places = np.tile(np.eye(FOLD**3).reshape(FOLD**3, 1, FOLD, FOLD, FOLD), (classes, 1, 1, 1, 1))
        self._add("ConvTranspose", OUTPUT, [folded], [places], strides=[FOLD] * 3, group=classes)

    def _add(
        self,
        kind: str,
        name: str,
        inputs: list[str],
        weights: list[np.ndarray] | None = None,
        **options: Attribute,
    ) -> str:
        """Add a node and its weights; return the name of its output, which is the node's."""
        names = [f"{name}.weight{index}" for index in range(len(weights or ()))]
        self.tensors += [tensor(key, values) for key, values in zip(names, weights or (), strict=True)]
        self.nodes.append(node(kind, [*inputs, *names], name, **options))
        return name


def _with_folding(weight: np.ndarray) -> np.ndarray:
    """Return weights (out, 8 * channels, 3, 3, 3) for folded voxels as those (out, channels, 6, 6, 6) for voxels."""
    out, folded = weight.shape[:2]
    blocks = weight.reshape(out, folded // FOLD**3, FOLD, FOLD, FOLD, 3, 3, 3)
    side = 3 * FOLD
    return blocks.transpose(0, 1, 5, 2, 6, 3, 7, 4).reshape(out, folded // FOLD**3, side, side, side)


def _shapes(config: UNetConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor, by its key without the architecture's prefix."""
    fold = FOLD**3 if config.architecture == "subpixel" else 1
    channels, last = config.channels, len(config.channels) - 1
    shapes = _block_shapes("input_block", config.in_channels * fold, channels[0])
    for index in range(last):
        name = "bottleneck" if index == last - 1 else f"downsamples.{index}"
        shapes |= _block_shapes(name, channels[index], channels[index + 1])
    for index, stride in enumerate(reversed(config.strides)):
        below, here = channels[last - index], channels[last - index - 1]
        shapes[f"upsamples.{index}.transp_conv.conv.weight"] = (below, here, stride, stride, stride)
        shapes |= _block_shapes(f"upsamples.{index}.conv_block", 2 * here, here)
    outputs = config.out_channels * fold
    shapes["output_block.conv.conv.weight"] = (outputs, channels[0], 1, 1, 1)
    shapes["output_block.conv.conv.bias"] = (outputs,)
    return shapes


def _block_shapes(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {
        f"{name}.conv1.conv.weight": (outputs, inputs, 3, 3, 3),
        f"{name}.conv2.conv.weight": (outputs, outputs, 3, 3, 3),
        **{f"{name}.norm{part}.{kind}": (outputs,) for part in (1, 2) for kind in ("weight", "bias")},
    }
