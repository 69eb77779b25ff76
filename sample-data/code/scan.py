"""Simulated acquisition: a brain with a lesion, seen with some contrast through some scanner geometry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from lesions import Lesion
from scipy import ndimage
from template import CSF, GRAY, WHITE, Brain, smooth_noise


@dataclass(frozen=True)
class Contrast:
    """Signal of each tissue, white matter of a T1-weighted image being 1.

    Attributes:
        gray, white, csf: signal of the three tissues.
        lesion, cavity: signal of lesioned tissue and of its liquefied core.
        template_weight: how much of the template's own T1 intensity to keep (T1-weighted scans only).
        rim: brightening along the ventricles (FLAIR).
        noise: standard deviation of the noise in each receiver channel.
    """

    gray: float
    white: float
    csf: float
    lesion: float
    cavity: float
    template_weight: float = 0.0
    rim: float = 0.0
    noise: float = 0.02


@dataclass(frozen=True)
class Geometry:
    """Sampling of the head by the scanner.

    Attributes:
        codes: anatomical direction of each voxel axis, such as "PSR".
        shape: voxels along each axis.
        spacing: millimetres along each axis.
        angles: tilt of the slices about the x, y and z axes of the scanner, degrees.
        offset: centre of the field of view, scanner mm.
        subsamples: points averaged along each axis within a voxel; thick slices blur as they do in scanners.
    """

    codes: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    angles: tuple[float, float, float]
    offset: tuple[float, float, float]
    subsamples: tuple[int, int, int] = (1, 1, 1)

    @property
    def affine(self) -> np.ndarray:
        """Voxel index to scanner mm, RAS+, (4, 4), with the middle of the grid at `offset`."""
        axes = {
            "R": (1, 0, 0),
            "L": (-1, 0, 0),
            "A": (0, 1, 0),
            "P": (0, -1, 0),
            "S": (0, 0, 1),
            "I": (0, 0, -1),
        }
        directions = np.array([axes[code] for code in self.codes], dtype=float).T
        affine = np.eye(4)
        affine[:3, :3] = rotation(self.angles) @ directions * self.spacing
        affine[:3, 3] = np.array(self.offset) - affine[:3, :3] @ ((np.array(self.shape) - 1) / 2)
        return affine


@dataclass(frozen=True)
class Head:
    """Pose of one person's brain in the scanner, and its difference from the template.

    Attributes:
        scale: size relative to the template along x, y and z.
        angles: rotation of the head, degrees about x, y and z.
        shift: position of the template's origin, scanner mm.
        warp: standard deviation of a smooth deformation, mm.
    """

    scale: tuple[float, float, float]
    angles: tuple[float, float, float]
    shift: tuple[float, float, float]
    warp: float

    def to_template(self) -> np.ndarray:
        """Return the map from scanner mm to template mm, (4, 4), without the deformation."""
        to_scanner = np.eye(4)
        to_scanner[:3, :3] = rotation(self.angles) @ np.diag(self.scale)
        to_scanner[:3, 3] = self.shift
        return np.linalg.inv(to_scanner)


def rotation(angles: tuple[float, float, float]) -> np.ndarray:
    """Return the rotation matrix about x, then y, then z; degrees."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(angles)):
        turn = np.eye(3)
        i, j = [a for a in range(3) if a != axis]
        sine = np.sin(angle) * (-1) ** axis
        turn[[i, j], [i, j]] = np.cos(angle)
        turn[i, j], turn[j, i] = -sine, sine
        matrix = turn @ matrix
    return matrix


def render(brain: Brain, lesion: Lesion, contrast: Contrast, rng: np.random.Generator) -> np.ndarray:
    """Return the noiseless signal on the template grid."""
    tissue_noise = [1 + 0.03 * smooth_noise(rng, brain.t1.shape, 6) for _ in range(3)]
    levels = {GRAY: contrast.gray, WHITE: contrast.white, CSF: contrast.csf}
    signal = sum(brain.tissues[tissue] * level * tissue_noise[tissue] for tissue, level in levels.items())
    signal += contrast.template_weight * (brain.t1 - signal)
    if contrast.rim:
        away = ndimage.distance_transform_edt(brain.ventricles < 0.5)
        signal += contrast.rim * np.exp(-away / 2) * (away > 0) * (1 - brain.tissues[CSF])
    inside_lesion = contrast.lesion * (1 + 0.07 * lesion.texture)
    inside_lesion += lesion.cavity * (contrast.cavity - inside_lesion)
    return (signal + lesion.fraction * (inside_lesion - signal)) * brain.inside


def acquire(
    volumes: list[np.ndarray], brain: Brain, head: Head, geometry: Geometry, rng: np.random.Generator
) -> list[np.ndarray]:
    """Sample volumes of the template grid on the scanner's grid, averaging over each voxel.

    Args:
        volumes: (x, y, z) on the template grid.
        brain: whose affine places that grid.
        head: the person.
        geometry: the scanner's grid.
        rng: source of the deformation; the same for all volumes.

    Returns:
        One (i, j, k) float32 array per volume.
    """
    warp = _deformation(brain, head.warp, rng)
    chain = np.linalg.inv(brain.affine) @ head.to_template() @ geometry.affine
    sampled = [np.zeros(geometry.shape, np.float32) for _ in volumes]
    offsets = _offsets(geometry.subsamples)
    for offset in offsets:
        grid = [np.arange(n, dtype=np.float32) + o for n, o in zip(geometry.shape, offset, strict=True)]
        index = np.stack(np.meshgrid(*grid, indexing="ij"))
        at = (
            np.tensordot(chain[:3, :3].astype(np.float32), index, 1)
            + chain[:3, 3].astype(np.float32)[:, None, None, None]
        )
        at += np.stack([ndimage.map_coordinates(field, at, order=1, mode="nearest") for field in warp])
        for total, volume in zip(sampled, volumes, strict=True):
            total += ndimage.map_coordinates(volume, at, order=1) / len(offsets)
    return sampled


def add_scanner_effects(
    signal: np.ndarray, inside: np.ndarray, contrast: Contrast, rng: np.random.Generator
) -> np.ndarray:
    """Add coil shading, Rician noise, and the skull strip that the template came with; int16."""
    bias = np.exp(0.12 * smooth_noise(rng, signal.shape, max(signal.shape) / 2))
    real, imaginary = rng.normal(0, contrast.noise, (2, *signal.shape))
    measured = np.hypot(signal * bias + real, imaginary)
    return np.rint(600 * measured * (inside > 0.5)).astype(np.int16)


def _deformation(brain: Brain, amplitude: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Smooth displacement of template voxels, voxels (= mm), three (x, y, z) arrays."""
    return [amplitude * smooth_noise(rng, brain.t1.shape, 45) for _ in range(3)]


def _offsets(subsamples: tuple[int, int, int]) -> np.ndarray:
    """Return the points inside a voxel, (n, 3), in fractions of a voxel from its centre."""
    axes = [(np.arange(n) + 0.5) / n - 0.5 for n in subsamples]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
