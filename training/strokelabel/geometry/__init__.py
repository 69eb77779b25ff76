"""Voxel grids in space: orientation, spacing, cropping, and exact ways back."""

from strokelabel.geometry.canonical import CanonicalGrid
from strokelabel.geometry.crop import CropBox, box_around, crop_to_foreground, foreground_box, foreground_mask
from strokelabel.geometry.grid import LPS_TO_RAS, Grid
from strokelabel.geometry.same_grid import bring_to_grid, check_same_grid, is_same_grid

__all__ = [
    "LPS_TO_RAS",
    "CanonicalGrid",
    "CropBox",
    "Grid",
    "box_around",
    "bring_to_grid",
    "check_same_grid",
    "crop_to_foreground",
    "foreground_box",
    "foreground_mask",
    "is_same_grid",
]
