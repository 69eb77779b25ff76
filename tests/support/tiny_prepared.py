"""A prepared folder and a recipe for tests: heads of nested ellipsoids, blobs for lesions, noise for real images.

The heads are stored as `strokelabel prepare` would store them, with an affine to ICBM space that is known.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from strokelabel.fit.data.real_images.preparation import FOLDER
from strokelabel.fit.data.real_images.scans import SHAPE as SCAN_SHAPE
from strokelabel.fit.data.real_images.scans import save_scan
from strokelabel.fit.recipe import Recipe
from strokelabel.io.atomic import atomic_write_json
from strokelabel.labels import default_label_table
from strokelabel.synthesis.lesions.bank import Lesion, LesionBank

BRAINS = tuple(f"brain-{number:02d}" for number in (1, 10, 11, 12, 13, 14, 15, 16, 17))
"""The fewest names of which every pattern of the shipped recipes matches one."""

LESIONS = 30
HEAD_RADII_MM = np.array([70.0, 88.0, 76.0])
ICBM_CENTER_MM = np.array([0.0, -18.0, 22.0])
ICBM_SHAPE = (197, 233, 189)
ICBM_AFFINE = np.array([[1.0, 0, 0, -98], [0, 1, 0, -134], [0, 0, 1, -72], [0, 0, 0, 1]])

SHELLS = ((1.08, 511, 511), (1.02, 515, 515), (0.96, 24, 24), (0.92, 3, 42), (0.78, 2, 41), (0.2, 4, 43))
"""Outer radius (1 is the surface of the brain's CSF, nearly), and the FreeSurfer ids left and right of x = 0."""


def write_prepared(folder: Path, *, voxel_mm: float = 3.0, scale: float = 1.0, brains: int = 9) -> Path:
    """Write a prepared folder.

    Args:
        folder: receives dataset.json, lesions.npz, brains/ and real-images/.
        voxel_mm: voxel size of the label maps.
        scale: size of the heads; lesions shrink with them on their way from ICBM space.
        brains: how many of `BRAINS`.
    """
    rng = np.random.default_rng(7)
    table = default_label_table()
    names = BRAINS[:brains]
    for name in names:
        radii = scale * HEAD_RADII_MM * rng.uniform(0.95, 1.05, 3)
        labels, affine = _head(radii, center_mm=rng.uniform(-20, 20, 3), turn=0.05, voxel_mm=voxel_mm)
        path = folder / "brains" / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        indices = np.zeros(labels.shape, np.uint8)
        for label_id in np.unique(labels):
            indices[labels == label_id] = table.index(int(label_id))
        nib.Nifti1Image(indices, affine).to_filename(path)
        to_icbm = _icbm_from_head(affine, labels.shape, radii, voxel_mm)
        atomic_write_json(
            folder / "brains" / f"{name}.json",
            {"name": name, "source": path.name, "to_icbm": to_icbm.tolist(), "similarity": 1.0},
        )
    bank = LesionBank.from_lesions([_blob(rng, i) for i in range(LESIONS)], ICBM_SHAPE, ICBM_AFFINE)
    bank.save(folder / "lesions.npz")
    description = {
        "digest": f"{scale}-{voxel_mm}-phantom".ljust(64, "0"),
        "brains": names,
        "lesions": {"count": len(bank)},
        "label_table": [vars(label) for label in table.labels],
    }
    atomic_write_json(folder / "dataset.json", description)
    _write_real_images(folder / FOLDER, rng)
    return folder


def _write_real_images(folder: Path, rng: np.random.Generator) -> None:
    """Three slices of each view with a bright lesion in the first two, and a scan with and one without a lesion."""
    for view, (rows, columns) in {"axial": (118, 142), "coronal": (118, 102), "sagittal": (142, 102)}.items():
        image = (rng.uniform(90, 160, (3, rows, columns)) * _ellipse((rows, columns), 0.9)).astype(np.uint8)
        lesion = np.zeros(image.shape, bool)
        for number in range(2):
            lesion[number, 40 : 60 + number, 30:50] = True
        image[lesion] = 250
        path = folder / "slices" / f"phantom_{view}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(
            path,
            view=view,
            sha256=view,
            subject=np.arange(3, dtype=np.int32),
            image=image,
            lesion=np.packbits(lesion, axis=-1),
        )
    for name in ("lesion-free", "with-lesion"):
        head, brain = _ellipse(SCAN_SHAPE, 0.85), _ellipse(SCAN_SHAPE, 0.75)
        image = (rng.uniform(100, 150, SCAN_SHAPE) * head + 60 * (head & ~brain)).astype(np.uint8)
        lesion = np.zeros(SCAN_SHAPE, bool)
        if name == "with-lesion":
            lesion[40:52, 70:90, 60:70] = True
        image[lesion] = 240
        icbm = np.eye(4)
        icbm[:3, 3] = ICBM_CENTER_MM
        path = folder / "scans" / f"{name}.npz"
        save_scan(path, name, image, brain, lesion if lesion.any() else None, icbm, 1.0)
    views = [f"phantom_{view}" for view in ("axial", "coronal", "sagittal")]
    content = {"digest": "phantom", "slices": views, "scans": ["lesion-free", "with-lesion"]}
    atomic_write_json(folder / "dataset.json", content)


def _ellipse(shape: tuple[int, ...], radius: float) -> np.ndarray:
    """True inside an ellipse, or ellipsoid, that fills this much of an array."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    return np.sqrt(sum(axis**2 for axis in axes)) < radius


def _head(
    radii: np.ndarray, center_mm: np.ndarray, turn: float, voxel_mm: float
) -> tuple[np.ndarray, np.ndarray]:
    """FreeSurfer ids (x, y, z) of one head, and its affine: a little oblique, off the world's centre."""
    shape = tuple(int(n) for n in np.ceil(2 * 1.12 * radii / voxel_mm))
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    mm = (index - (np.array(shape) - 1) / 2) * voxel_mm
    depth = np.sqrt(((mm / radii) ** 2).sum(-1))
    labels = np.zeros(shape, dtype=int)
    for outer, left, right in SHELLS:
        inside = depth < outer
        labels[inside] = np.where(mm[..., 0] < 0, left, right)[inside]
    affine = np.eye(4)
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    affine[:3, :3] = rotation * voxel_mm
    affine[:3, 3] = center_mm - affine[:3, :3] @ (np.array(shape) - 1) / 2
    return labels, affine


def _icbm_from_head(
    affine: np.ndarray, shape: tuple[int, ...], radii: np.ndarray, voxel_mm: float
) -> np.ndarray:
    """RAS mm to ICBM mm: the head's ellipsoid onto an ellipsoid of `HEAD_RADII_MM` about `ICBM_CENTER_MM`."""
    icbm_from_index = np.eye(4)
    icbm_from_index[:3, :3] = np.diag(HEAD_RADII_MM / radii * voxel_mm)
    icbm_from_index[:3, 3] = ICBM_CENTER_MM - icbm_from_index[:3, :3] @ (np.array(shape) - 1) / 2
    return icbm_from_index @ np.linalg.inv(affine)


def _blob(rng: np.random.Generator, number: int) -> Lesion:
    """An ellipsoid somewhere in the brain."""
    radii = rng.uniform(8, 18, 3)
    direction = rng.normal(size=3)
    center = ICBM_CENTER_MM + 0.6 * rng.uniform(0.4, 1) * HEAD_RADII_MM * direction / np.linalg.norm(
        direction
    )
    sides = np.ceil(radii).astype(int)
    grid = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in sides), indexing="ij"), -1)
    start = np.round(center - ICBM_AFFINE[:3, 3]).astype(int) - sides
    x, y, z = (int(value) for value in start)
    return Lesion(
        f"blob-{number:02d}", "phantom", f"{number:064x}", (x, y, z), ((grid / radii) ** 2).sum(-1) <= 1
    )


def tiny_recipe(**changes: Any) -> dict[str, Any]:
    """Content of a recipe that trains six steps in seconds; `changes` replace whole sections."""
    recipe: dict[str, Any] = {
        "name": "tiny",
        "seed": 5,
        "brains": {"train": ["brain-0*", "brain-10"], "validation": ["brain-15", "brain-16"]},
        "network": {"channels": [4, 4], "strides": [2], "dropout": 0.2},
        "synthesis": {"shape": [32, 40, 36], "spacing_mm": 6.0},
        "validation": {"per_family": 1},
        "training": {"steps": 6, "validate_every": 3, "checkpoint_every": 2, "threads": 1, "batch_size": 2},
    }
    return recipe | changes


def make_recipe(**changes: Any) -> Recipe:
    """The same, validated."""
    return Recipe.model_validate(tiny_recipe(**changes))
