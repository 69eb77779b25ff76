"""Label files as 3D Slicer writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nrrd
import numpy as np

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])


def write_nrrd(path: Path, data: np.ndarray, affine: np.ndarray, **fields: Any) -> Path:
    """Write (i, j, k), or (layer, i, j, k), as Slicer does: in LPS."""
    directions = (RAS_TO_LPS @ affine[:3, :3]).T
    layered = data.ndim == 4
    header = {
        "space": "left-posterior-superior",
        "kinds": (["list"] if layered else []) + ["domain"] * 3,
        "space directions": np.vstack([np.full((1, 3), np.nan), directions]) if layered else directions,
        "space origin": RAS_TO_LPS @ affine[:3, 3],
        "encoding": "gzip",
        **fields,
    }
    nrrd.write(str(path), data, header, index_order="F")
    return path


def write_segmentation(
    path: Path, masks: dict[str, np.ndarray], affine: np.ndarray, crop: tuple[slice, ...] | None = None
) -> Path:
    """Write a .seg.nrrd: segments that overlap go into layers of their own, and only a part may be stored."""
    layers: list[np.ndarray] = []
    fields: dict[str, Any] = {}
    for number, (name, mask) in enumerate(masks.items()):
        layer = next((n for n, other in enumerate(layers) if not (other[mask] > 0).any()), len(layers))
        if layer == len(layers):
            layers.append(np.zeros(mask.shape, np.uint8))
        value = int(layers[layer].max()) + 1
        layers[layer][mask] = value
        fields |= {
            f"Segment{number}_ID": f"Segment_{number + 1}",
            f"Segment{number}_Name": name,
            f"Segment{number}_Layer": str(layer),
            f"Segment{number}_LabelValue": str(value),
        }
    stack, affine = np.stack(layers), affine.copy()
    if crop is not None:
        stack = stack[(slice(None), *crop)]
        affine[:3, 3] += affine[:3, :3] @ [part.start for part in crop]
    return write_nrrd(path, stack if len(stack) > 1 else stack[0], affine, **fields)
