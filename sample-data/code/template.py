"""ICBM template, read from the files inside the nilearn package, and one person's variant of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from nilearn import datasets, image
from scipy import ndimage

GRAY, WHITE, CSF = 0, 1, 2
"""Order of the tissue maps."""


@dataclass(frozen=True)
class Brain:
    """A brain on the 1 mm template grid.

    Attributes:
        tissues: fractions of gray matter, white matter and CSF, (3, x, y, z); they sum to `inside`.
        t1: the template's T1-weighted intensity, about 1 in white matter.
        inside: True in the brain and the CSF around it.
        ventricles: how much of a voxel is ventricle, 0 to 1.
        affine: voxel index to template mm, RAS+.
    """

    tissues: np.ndarray
    t1: np.ndarray
    inside: np.ndarray
    ventricles: np.ndarray
    affine: np.ndarray


def load_template() -> Brain:
    """Read the ICBM 2009a template from nilearn's own files; nothing is downloaded."""
    t1_image = datasets.load_mni152_template(resolution=1)
    t1 = image.get_data(t1_image).astype(np.float32)
    gray = image.get_data(datasets.load_mni152_gm_template(resolution=1)).astype(np.float32)
    white = image.get_data(datasets.load_mni152_wm_template(resolution=1)).astype(np.float32)
    inside = ndimage.binary_fill_holes(t1 > 0)
    gray, white = gray * inside, white * inside
    csf = np.clip(inside - gray - white, 0, 1)
    tissues = np.stack([gray, white, csf])
    tissues /= np.maximum(tissues.sum(axis=0), 1e-6)
    tissues *= inside
    return Brain(
        tissues=tissues,
        t1=t1 / np.median(t1[white > 0.9]),
        inside=inside,
        ventricles=_ventricles(tissues[CSF], inside),
        affine=np.asarray(t1_image.affine),
    )


def individual(template: Brain, rng: np.random.Generator, atrophy: float) -> Brain:
    """Turn the average brain into a sharper, singular one.

    An average of 152 brains has blurred folds. Smooth noise added to the log-fractions, then sharpening,
    draws one pattern of folds out of the many that the average allows.

    Args:
        template: the average brain.
        rng: source of this person's folds.
        atrophy: added to the log-fraction of CSF; above 0 widens the sulci and the ventricles.
    """
    logits = np.log(template.tissues + 1e-3)
    for tissue in range(len(logits)):
        logits[tissue] += 0.45 * smooth_noise(rng, template.t1.shape, 4) + 0.3 * smooth_noise(
            rng, template.t1.shape, 9
        )
    logits[CSF] += atrophy
    fractions = np.exp(2.2 * (logits - logits.max(axis=0)))
    fractions *= template.inside / fractions.sum(axis=0)
    # Smooth noise must not draw grey matter in the middle of white matter or of a ventricle.
    certain = (template.tissues > 0.97).any(axis=0)
    fractions[:, certain] = template.tissues[:, certain]
    return Brain(fractions, template.t1, template.inside, template.ventricles, template.affine)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], wavelength: float) -> np.ndarray:
    """Return noise of mean 0 and standard deviation 1 whose detail is about `wavelength` voxels wide.

    White noise on a coarse grid, blended by cubic B-splines one axis after the other.
    """
    noise = rng.standard_normal([int(np.ceil(n / wavelength)) + 3 for n in shape]).astype(np.float32)
    for axis, n in enumerate(shape):
        weights = _cubic_weights(n, noise.shape[axis], wavelength)
        noise = np.moveaxis(np.tensordot(weights, noise, (1, axis)), 0, axis)
    return (noise - noise.mean()) / noise.std()


def _cubic_weights(fine: int, coarse: int, wavelength: float) -> np.ndarray:
    """Return the cubic B-spline weight of each coarse point at each fine point, (fine, coarse)."""
    at = 1 + np.arange(fine) / wavelength
    distance = np.abs(at[:, None] - np.arange(coarse))
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, near, far).astype(np.float32)


def _ventricles(csf: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return the CSF far from the surface of the brain."""
    deep = ndimage.distance_transform_edt(inside) > 22
    return ndimage.gaussian_filter((csf > 0.5) & deep, 0.7, output=np.float32)
