"""StrokeLabel: stroke lesion segmentation on any brain MRI.

The Python API (`load_model`, `read_image`, `predict`, `evaluate` and others) is described in `strokelabel.api`. Its
functions are imported when they are first used: importing `strokelabel` alone takes no torch.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from strokelabel.api import (
        CaseMetrics,
        Image,
        Parcellation,
        Prediction,
        PredictionOptions,
        evaluate,
        load_model,
        parcellate,
        predict,
        read_image,
        read_label_image,
        write_mask,
    )

# MONAI imports MLflow, which reports its use over the network unless told not to.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

__version__ = "0.1.0"

__all__ = [
    "CaseMetrics",
    "Image",
    "Parcellation",
    "Prediction",
    "PredictionOptions",
    "__version__",
    "evaluate",
    "load_model",
    "parcellate",
    "predict",
    "read_image",
    "read_label_image",
    "write_mask",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the API holds
    """Import a function or class of the API at first use."""
    if name in __all__:
        return getattr(importlib.import_module("strokelabel.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the names of the API."""
    return sorted({*globals(), *__all__})
