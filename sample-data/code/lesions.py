"""Simulated strokes: irregular regions with a noisy, soft boundary, drawn on the template grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from template import CSF, Brain, smooth_noise


@dataclass(frozen=True)
class Blob:
    """An ellipsoid in template millimetres (RAS+), before noise makes it irregular."""

    center: tuple[float, float, float]
    radii: tuple[float, float, float]


@dataclass(frozen=True)
class Stroke:
    """Stroke to draw.

    Attributes:
        blobs: united to one region, or apart for a stroke of many parts.
        roughness: how far noise moves the boundary, as a fraction of the radii.
        cavity: how deep the liquefied core lies inside the boundary, mm; None for a lesion without one.
    """

    blobs: tuple[Blob, ...]
    roughness: float
    cavity: float | None = None


@dataclass(frozen=True)
class Lesion:
    """A stroke on the template grid.

    Attributes:
        fraction: how much of each voxel is lesion, 0 to 1; the truth is where it exceeds one half.
        cavity: how much of each voxel is liquefied, 0 to 1.
        texture: unevenness inside the lesion, mean 0, standard deviation 1.
    """

    fraction: np.ndarray
    cavity: np.ndarray
    texture: np.ndarray


def draw_lesion(brain: Brain, stroke: Stroke, rng: np.random.Generator) -> Lesion:
    """Draw a stroke inside the brain: on the hemisphere of each blob, never in a ventricle."""
    shape = brain.t1.shape
    noise = (
        smooth_noise(rng, shape, 14) + 0.6 * smooth_noise(rng, shape, 6) + 0.35 * smooth_noise(rng, shape, 3)
    )
    region = _without_crumbs(_level(brain, stroke, noise) > 0)
    depth = ndimage.distance_transform_edt(region)
    fraction = ndimage.gaussian_filter(region.astype(np.float32), 0.7)
    cavity = np.zeros(shape, np.float32)
    if stroke.cavity is not None:
        ragged = depth + 1.2 * smooth_noise(rng, shape, 5)
        cavity = 1 / (1 + np.exp(-2 * (ragged - stroke.cavity))).astype(np.float32) * fraction
    return Lesion(fraction, cavity, smooth_noise(rng, shape, 5))


def _level(brain: Brain, stroke: Stroke, noise: np.ndarray) -> np.ndarray:
    """Return a level set, positive inside the stroke, on tissue that a stroke can reach."""
    x, y, z = (
        brain.affine[a, a] * axis + brain.affine[a, 3]
        for a, axis in enumerate(np.ogrid[tuple(slice(n) for n in brain.t1.shape)])
    )
    level = np.full(brain.t1.shape, -np.inf, np.float32)
    for blob in stroke.blobs:
        (cx, cy, cz), (rx, ry, rz) = blob.center, blob.radii
        radius = np.sqrt(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((z - cz) / rz) ** 2)
        same_side = (x * np.sign(cx) > 3).astype(bool)
        level = np.maximum(level, np.where(same_side, 1 - radius, -np.inf))
    # Sulci between infarcted gyri belong to the lesion; the ventricles and the CSF over the convexity do not.
    tissue = ndimage.binary_closing(brain.tissues[CSF] < 0.5, iterations=3) & (brain.ventricles < 0.3)
    return np.where(tissue & brain.inside, level + stroke.roughness * noise, -1)


def _without_crumbs(region: np.ndarray, least_ml: float = 0.5) -> np.ndarray:
    """Drop the crumbs that noise breaks off, and fill the holes that it leaves."""
    parts, _ = ndimage.label(region)
    volumes_ml = np.bincount(parts.ravel()) / 1000
    kept = volumes_ml >= least_ml
    kept[0] = False
    return ndimage.binary_fill_holes(kept[parts])
