"""StrokeLabel: stroke lesion segmentation on any brain MRI."""

__version__ = "0.1.0"
