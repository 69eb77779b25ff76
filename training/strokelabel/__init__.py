"""StrokeLabel: stroke lesion segmentation on any brain MRI."""

import os

# MONAI imports MLflow, which reports its use over the network unless told not to.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

__version__ = "0.1.0"
