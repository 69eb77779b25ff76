"""Voxel and lesion metrics, with an explicit policy for empty masks."""

from strokelabel.metrics.empty import ISLES_OVERLAP, EmptyPolicy
from strokelabel.metrics.lesions import label_lesions, largest_component, lesion_volumes_ml, volume_ml
from strokelabel.metrics.overlap import dice

__all__ = [
    "ISLES_OVERLAP",
    "EmptyPolicy",
    "dice",
    "label_lesions",
    "largest_component",
    "lesion_volumes_ml",
    "volume_ml",
]
