"""Tensors of a weights file as arrays, and the checks that every engine makes of them; read without torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from strokelabel.errors import WeightsError

Shapes = Mapping[str, tuple[int, ...]]
"""Shape of each tensor, by its key."""


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read all tensors of a safetensors file, and check that they hold numbers.

    Returns:
        Arrays of the type in which they are stored, by key.

    Raises:
        WeightsError: the file cannot be read, or holds NaN or infinite values.
    """
    try:
        arrays = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path}: expected a safetensors file, cannot read it ({error})") from error
    if damaged := [key for key, value in arrays.items() if not np.isfinite(value).all()]:
        raise WeightsError(
            f"{path}: expected finite weights, {damaged[0]} holds NaN or infinite values: the file is damaged, or its "
            "training failed; copy or download the file again"
        )
    return arrays


def check_shapes(expected: Shapes, found: Shapes, source: str) -> None:
    """Refuse weights of another network, naming the first differences.

    Raises:
        WeightsError: a tensor is missing, of another shape, or unknown.
    """
    wrong = sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
    if wrong:
        details = "; ".join(f"{key} {expected.get(key)} but {found.get(key)}" for key in wrong[:3])
        raise WeightsError(
            f"{source}: the weights do not fit the network: {len(wrong)} differ (expected {details})"
        )


def check_class_names(names: tuple[str, ...], channels: int, path: Path) -> None:
    """Refuse a description without a name for each output channel of its network.

    Raises:
        WeightsError: there are more or fewer.
    """
    if len(names) != channels:
        raise WeightsError(
            f"{path}: expected a name for each of {channels} output channels, got {len(names)}"
        )
