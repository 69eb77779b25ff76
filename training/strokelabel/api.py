"""Python API: load a model, read a scan, predict, write the mask, evaluate.

Everything here is also in `strokelabel` itself: `strokelabel.predict` is `strokelabel.api.predict`, imported when it is
first used, so that `import strokelabel` takes no time.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

import nibabel as nib
import numpy as np

from strokelabel import __version__
from strokelabel.errors import DimensionError, LabelMapError
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.parcellate import Parcellation, Parcellator
from strokelabel.inference.quality import QualityPredictor
from strokelabel.inference.scan_model import ScanModel
from strokelabel.inference.segment.prediction import Prediction
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.io import Image, read_image, read_label_image, write_nifti
from strokelabel.metrics.case import CaseMetrics, bring_together
from strokelabel.registry import ESTIMATION, PARCELLATION, QUALITY, find_model
from strokelabel.types import PathLike

if TYPE_CHECKING:
    from strokelabel.inference.estimate import QuantitativeEstimator

__all__ = [
    "CaseMetrics",
    "Image",
    "Parcellation",
    "Prediction",
    "PredictionOptions",
    "as_image",
    "evaluate",
    "find_model",
    "load_model",
    "parcellate",
    "predict",
    "read_image",
    "read_label_image",
    "write_mask",
]

Scan = PathLike | Image | nib.spatialimages.SpatialImage
"""A scan: a path (NIfTI file, or folder of one DICOM series), an `Image`, or an image of nibabel."""

_MODELS_KEPT = 2
_Kind = TypeVar("_Kind", bound=ScanModel)


def load_model(
    model: PathLike = "base", device: str = "auto", options: PredictionOptions | None = None
) -> Predictor | Parcellator | QuantitativeEstimator | QualityPredictor:
    """Load a model: a `Predictor` of lesions, a `Parcellator`, a `QuantitativeEstimator` or a `QualityPredictor`.

    Args:
        model: name of a registered model, or path of a weights file (.safetensors).
        device: "auto", "cpu", "cuda" or "cuda:1".
        options: used where a call is not given others.

    Raises:
        UnknownModelError, WeightsError: no such model, or a corrupt file.
        OptionError: no such device.

    Example:
        >>> model = load_model("base", device="cpu")
        >>> model.spec.spacing_mm
        1.5
    """
    task = find_model(model).task
    if task == QUALITY:
        return QualityPredictor.from_model(model, device, options)
    if task == ESTIMATION:
        from strokelabel.inference.estimate import QuantitativeEstimator  # needs torch, others do not

        return QuantitativeEstimator.from_model(model, device, options)
    kind: type[Predictor] | type[Parcellator] = Parcellator if task == PARCELLATION else Predictor
    return kind.from_model(model, device, options)


def predict(
    scan: Scan,
    model: PathLike | Predictor = "base",
    *,
    device: str = "auto",
    options: PredictionOptions | None = None,
) -> Prediction:
    """Segment the stroke lesion of a scan of any contrast, orientation and spacing.

    Args:
        scan: a path, an `Image`, or an image of nibabel.
        model: a loaded model, or what `load_model` takes; the last models named are kept in memory.
        device: where a model that is named is loaded.
        options: threshold, flips, CT window and so on.

    Returns:
        The lesion's mask and probability (i, j, k) on the scan's own grid, volumes in ml, and notes about the scan.

    Raises:
        ImageError: the scan cannot be segmented; see `strokelabel.errors`.
        UnknownModelError, WeightsError, OptionError: as `load_model`, or the model does not segment lesions.

    Example:
        >>> prediction = predict("scan.nii.gz", device="cpu")
        >>> prediction.volume_ml > 0
        True
    """
    predictor = model if isinstance(model, Predictor) else _loaded(Predictor, model, device)
    return predictor.predict(as_image(scan), options)


def parcellate(scan: Scan, model: PathLike | Parcellator, *, device: str = "auto") -> Parcellation:
    """Find the structures of a scan and their volumes in ml.

    Args:
        scan: a path, an `Image`, or an image of nibabel.
        model: a loaded model, or the name or weights file of one that parcellates.
        device: where a model that is named is loaded.

    Raises:
        ImageError, UnknownModelError, WeightsError, OptionError: as `predict`.
    """
    parcellator = model if isinstance(model, Parcellator) else _loaded(Parcellator, model, device)
    return parcellator.parcellate(as_image(scan))


def write_mask(path: PathLike, prediction: Prediction, scan: Scan) -> None:
    """Write the lesion mask of a prediction as NIfTI, with the scan's own geometry.

    Args:
        path: .nii or .nii.gz; written atomically.
        prediction: of `scan`.
        scan: whose affine and header the file takes.

    Raises:
        DimensionError: the prediction is of another grid.
        OutputError: the file cannot be written.

    Example:
        >>> write_mask("mask.nii.gz", predict("scan.nii.gz", device="cpu"), "scan.nii.gz")
    """
    about = f"StrokeLabel {__version__} {prediction.spec.name} {prediction.spec.version}"
    write_nifti(path, prediction.lesion_mask, as_image(scan), np.uint8, about)


def evaluate(prediction: Scan | Prediction, reference: Scan, *, scan: Scan | None = None) -> CaseMetrics:
    """Score a lesion mask against a reference, on a common grid of 1 mm (Chalcroft et al. 2025, section 3.5).

    Args:
        prediction: a mask, or a `Prediction`.
        reference: the mask that is taken for true.
        scan: of the prediction, where that is a `Prediction`.

    Returns:
        Dice, HD95 in mm, volumes in ml, and scores of whole lesions.

    Raises:
        ImageError: a mask cannot be read, or the two do not lie in the same place.

    Example:
        >>> evaluate("truth.nii.gz", "truth.nii.gz").dice
        1.0
    """
    if isinstance(prediction, Prediction):
        if scan is None:
            raise DimensionError("expected the scan of the prediction, for its place in space; give `scan`")
        image = as_image(scan)
        found = Image(prediction.lesion_mask.astype(np.int32), image.affine, image.header, image.source)
    else:
        found = _as_labels(prediction)
    return bring_together(_as_labels(reference), found).metrics()


def as_image(scan: Scan) -> Image:
    """Return a scan as an `Image`; paths are read, images of nibabel are taken as float32.

    Raises:
        ImageError: the file cannot be read, or the image is not three-dimensional.
    """
    if isinstance(scan, Image):
        return scan
    if isinstance(scan, nib.spatialimages.SpatialImage):
        return _of_nibabel(scan)
    return read_image(scan)


def _as_labels(mask: Scan) -> Image:
    if isinstance(mask, Image):
        return mask
    if isinstance(mask, nib.spatialimages.SpatialImage):
        values = _of_nibabel(mask)
        if not np.array_equal(values.data, np.rint(values.data)):
            raise LabelMapError("expected a mask of whole numbers, found others; give it a threshold first")
        return replace(values, data=values.data.astype(np.int32))
    return read_label_image(mask)


def _of_nibabel(image: nib.spatialimages.SpatialImage) -> Image:
    data = np.asanyarray(image.dataobj)
    if data.ndim != 3 or image.affine is None:
        raise DimensionError(f"expected a three-dimensional image with an affine, found shape {data.shape}")
    header = image.header if isinstance(image.header, nib.Nifti1Header) else None
    return Image(data.astype(np.float32), np.asarray(image.affine, dtype=np.float64), header, "image")


@lru_cache(maxsize=_MODELS_KEPT)
def _loaded(kind: type[_Kind], model: PathLike, device: str) -> _Kind:
    return kind.from_model(model, device)
