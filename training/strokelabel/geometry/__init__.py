"""Voxel grids in space: orientation, spacing, cropping, and exact ways back."""

from strokelabel.geometry.canonical import CanonicalGrid
from strokelabel.geometry.crop import CropBox, box_around, crop_to_foreground
from strokelabel.geometry.grid import Grid

__all__ = ["CanonicalGrid", "CropBox", "Grid", "box_around", "crop_to_foreground"]
