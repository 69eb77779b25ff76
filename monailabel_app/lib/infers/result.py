"""Writing the mask or map of an answer, and its mean confidence."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import nrrd
import numpy as np

from lib.infers.infer_options import InferOptions
from strokelabel.geometry import LPS_TO_RAS
from strokelabel.io.images import Image, write_nifti

if TYPE_CHECKING:
    from strokelabel.inference.segment.scores import Prediction


def mean_confidence(prediction: Prediction) -> float | None:
    """Return the mean lesion probability inside the mask; None where there is no lesion."""
    lesion = prediction.lesion_mask > 0
    return round(float(prediction.lesion_probability[lesion].mean()), 4) if lesion.any() else None


def write_result(values: np.ndarray, image: Image, options: InferOptions) -> str:
    """Write labels, or a map (both i, j, k), onto the grid of their image.

    Args:
        values: floats are a map and written as float32; anything else is labels of the requested type.
        image: the scan.
        options: format, type and compression.

    Returns:
        Path of a temporary file; the server removes it once it is sent.

    Raises:
        OutputError: the type cannot hold the values, or the disk is full.
    """
    dtype = "float32" if values.dtype.kind == "f" else options.dtype
    with tempfile.NamedTemporaryFile(suffix=options.extension, delete=False) as file:
        path = Path(file.name)
    try:
        if options.extension == ".nrrd":
            _write_nrrd(path, values.astype(dtype), image.affine, options.compress)
        else:
            write_nifti(path, values, image, dtype, description="StrokeLabel")
    except Exception:
        path.unlink(missing_ok=True)
        raise
    return str(path)


def _write_nrrd(path: Path, labels: np.ndarray, affine: np.ndarray, compress: bool) -> None:
    """Write a NRRD. Browsers read its voxels without unpacking them when `compress` is off.

    The axes are written as vectors, not as directions and sizes, so that a sheared grid stays what it is.
    """
    lps = LPS_TO_RAS @ affine
    header = {
        "space": "left-posterior-superior",
        "kinds": ["domain"] * 3,
        "space directions": lps[:3, :3].T,
        "space origin": lps[:3, 3],
        "encoding": "gzip" if compress else "raw",
    }
    nrrd.write(str(path), labels, header, index_order="F")
