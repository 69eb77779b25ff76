"""Options of a request, converted from the types that viewers send.

Viewers show the defaults of /info/ as tables and send every value back: numbers as strings, zero and false as
"", lists whole or their first item. An empty value therefore means the default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from monailabel.utils.others.generic import device_list

from lib.request_values import as_choice, as_device, as_flag, as_number, first_of
from strokelabel.inference.options import CT_WINDOW_HU, PredictionOptions

LIKELIEST = "likeliest class"
"""Threshold for the most likely class: lesion where no other class is more likely."""

RESULTS = ("mask", "probability", "uncertainty", "report")
"""Possible contents of the answer's file: voxels, or a page with pictures (HTML)."""

_ABOUT_THE_LESION = ("mask", "report")

UNCERTAINTIES = ("mutual information", "predictive entropy", "lesion variance")
"""Maps of `result` "uncertainty"; see `strokelabel.inference.several_passes.UncertaintyMaps`."""

STROKE_STAGES = ("unknown", "acute", "chronic")
"""Values of `strokelabel.outcome.estimate.StrokeStage`."""

EXTENSIONS = (".nii.gz", ".nii", ".nrrd")
DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")


@dataclass(frozen=True)
class InferOptions:
    """Options of a client for one segmentation.

    Attributes:
        device: "cpu", "cuda" or "cuda:<n>".
        prediction: the options of the predictor.
        result: what the file holds, one of `RESULTS`.
        uncertainty: which map of uncertainty, one of `UNCERTAINTIES`.
        extension: suffix of the result's file.
        dtype: type of its voxels, if it holds a mask; maps are float32.
        compress: gzip inside a .nrrd (a .nii.gz always is, a .nii never).
        structures: answer a mask with the structures that the lesion touches, where the server can.
        stroke_stage: one of `STROKE_STAGES`, for the outcome that a server may estimate.
    """

    device: str
    prediction: PredictionOptions
    result: str
    uncertainty: str
    extension: str
    dtype: str
    compress: bool
    structures: bool = True
    stroke_stage: str = STROKE_STAGES[0]

    @property
    def with_structures(self) -> bool:
        """True if the answer has the structures that the lesion touches."""
        return self.structures and self.is_about_the_lesion

    @property
    def is_about_the_lesion(self) -> bool:
        """False for maps, which come without structures and outcome."""
        return self.result in _ABOUT_THE_LESION

    @classmethod
    def from_request(cls, request: Mapping[str, Any]) -> InferOptions:
        """Read the options of a request.

        Raises:
            InvalidRequestError, OptionError: saying what was expected of which option.
        """
        threshold = first_of(request.get("threshold"))
        likeliest = threshold in (None, "", LIKELIEST)
        return cls(
            device=as_device(request.get("device")),
            prediction=PredictionOptions(
                tta=as_flag(request.get("tta"), "tta", default=False),
                threshold=None if likeliest else as_number(threshold, "threshold", default=0.5),
                min_size_ml=as_number(request.get("min_size_ml"), "min_size_ml", default=0.0),
                fill_holes=as_flag(request.get("fill_holes"), "fill_holes", default=False),
                keep_outside_brain=as_flag(
                    request.get("keep_outside_brain"), "keep_outside_brain", default=False
                ),
                ct_window=_ct_window(request),
                keep_probabilities=False,
            ),
            result=as_choice(request.get("result"), "result", RESULTS),
            uncertainty=as_choice(request.get("uncertainty"), "uncertainty", UNCERTAINTIES),
            extension=as_choice(request.get("result_extension"), "result_extension", EXTENSIONS),
            dtype=as_choice(request.get("result_dtype"), "result_dtype", DTYPES),
            compress=as_flag(request.get("result_compress"), "result_compress", default=False),
            structures=as_flag(request.get("structures"), "structures", default=True),
            stroke_stage=as_choice(request.get("stroke_stage"), "stroke_stage", STROKE_STAGES),
        )


def default_config() -> dict[str, Any]:
    """Return the options that viewers show, with their defaults."""
    tenths = [f"0.{tenth}" for tenth in range(1, 10)]
    return {
        "device": device_list(),
        "tta": False,
        "threshold": [LIKELIEST, *tenths],
        "min_size_ml": 0.0,
        "fill_holes": False,
        "keep_outside_brain": False,
        "ct": False,
        "ct_low": CT_WINDOW_HU[0],
        "ct_high": CT_WINDOW_HU[1],
        "result": list(RESULTS),
        "uncertainty": list(UNCERTAINTIES),
    }


def _ct_window(request: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the bounds in Hounsfield units to clip a CT to; None for other scans."""
    low = as_number(request.get("ct_low"), "ct_low", CT_WINDOW_HU[0])
    high = as_number(request.get("ct_high"), "ct_high", CT_WINDOW_HU[1])
    return (low, high) if as_flag(request.get("ct"), "ct", default=False) else None
