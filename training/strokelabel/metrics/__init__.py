"""Voxel and lesion metrics, with an explicit policy for empty masks.

`metrics.case` has them all for one case on the papers' grid, `metrics.statistics` what a cohort's add up to.
"""

from strokelabel.metrics.lesions import (
    LesionDetection,
    detect_lesions,
    label_lesions,
    largest_component,
    lesion_volumes_ml,
    volume_ml,
)
from strokelabel.metrics.overlap import (
    ISLES_OVERLAP,
    MISSED_DISTANCE_MM,
    PAPER_DISTANCE,
    EmptyPolicy,
    dice,
    false_positive_rate,
    hd95_mm,
    true_positive_rate,
)

__all__ = [
    "ISLES_OVERLAP",
    "MISSED_DISTANCE_MM",
    "PAPER_DISTANCE",
    "EmptyPolicy",
    "LesionDetection",
    "detect_lesions",
    "dice",
    "false_positive_rate",
    "hd95_mm",
    "label_lesions",
    "largest_component",
    "lesion_volumes_ml",
    "true_positive_rate",
    "volume_ml",
]
