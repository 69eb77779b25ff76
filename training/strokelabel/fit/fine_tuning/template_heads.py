"""Synthetic training data out of nothing: heads from the ICBM template, simulated lesions.

An annotator's machine has no label maps of FreeSurfer and no lesion archive. The tissue maps of the template, which
come with nilearn, are turned into the label maps of a few made-up people: smooth noise moves the borders between the
tissues and sharpening draws folds out of the average, a skull and a scalp are laid around it, and irregular blobs
serve as lesions. That is far less varied than real anatomy, and good enough for what it is for: to remember other
contrasts while fine-tuning, and to notice when they are forgotten. Written once, as a folder like that of
`strokelabel prepare`.
"""

from __future__ import annotations

import hashlib
import shutil
import uuid
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from strokelabel.errors import OutputError
from strokelabel.io.atomic import atomic_write_json
from strokelabel.labels import LabelTable, default_label_table
from strokelabel.synthesis.lesions.bank import Lesion, LesionBank
from strokelabel.synthesis.prepared.dataset import PreparedData
from strokelabel.synthesis.prepared.icbm import icbm_template
from strokelabel.synthesis.prepared.source_files import crop_to_mask
from strokelabel.types import Affine, Mask

VERSION = 1
"""Raise it when the data would change: benchmark numbers are comparable within one version."""

BRAINS = ("template-1", "template-2", "template-3", "template-4")
LESIONS = 120
SOURCE = "simulated"

_WHITE, _CORTEX, _VENTRICLE, _CSF, _BONE, _SKIN = (2, 41), (3, 42), (4, 43), (24, 24), (515, 515), (511, 511)
"""FreeSurfer ids, left and right."""

_SUBARACHNOID_MM, _BONE_MM, _SKIN_MM = 2.0, 8.0, 14.0
"""Distance of each layer from the template's surface."""

_DEEP_MM = 22.0
"""CSF this far below the surface is ventricle."""


def template_data(root: Path, spacing_mm: float) -> PreparedData:
    """Return the template's data for a voxel size, made at first use (some ten seconds).

    Args:
        root: folder that such data are kept in.
        spacing_mm: voxel size of the network; label maps are made a third finer, at 1 to 4 mm.

    Raises:
        OutputError: they cannot be written.
    """
    voxel_mm = min(max(1, int(spacing_mm * 2 / 3)), 4)
    folder = root / f"template-{VERSION}-{voxel_mm}mm"
    if not (folder / "dataset.json").is_file():
        partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
        try:
            _write(partial, voxel_mm)
            partial.replace(folder)
        except OSError as error:
            if not (folder / "dataset.json").is_file():  # otherwise another process was faster
                raise OutputError(
                    f"{folder}: expected a place to write synthetic data to ({error.strerror})"
                ) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return PreparedData.load(folder)


def _write(folder: Path, voxel_mm: int) -> None:
    table = default_label_table()
    tissues, inside, affine = _tissues(voxel_mm)
    for number, name in enumerate(BRAINS):
        labels = _label_map(tissues, inside, table, voxel_mm, np.random.default_rng([VERSION, number]))
        path = folder / "brains" / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.Nifti1Image(labels, affine).to_filename(path)
        sidecar = {"name": name, "source": "ICBM 152 2009a", "to_icbm": np.eye(4).tolist(), "similarity": 1.0}
        atomic_write_json(path.with_suffix("").with_suffix(".json"), sidecar)
    _lesions().save(folder / "lesions.npz")
    description = {
        "digest": hashlib.sha256(f"template {VERSION} {voxel_mm} mm".encode()).hexdigest(),
        "brains": BRAINS,
        "lesions": {"count": LESIONS},
        "label_table": [vars(label) for label in table.labels],
    }
    atomic_write_json(folder / "dataset.json", description)


def _tissues(voxel_mm: int) -> tuple[NDArray[np.float32], Mask, Affine]:
    """Return the fractions of gray matter, white matter and CSF (3, x, y, z); where they are; voxel index
    to ICBM mm.
    """
    from nilearn.datasets import load_mni152_gm_template, load_mni152_template, load_mni152_wm_template

    template = load_mni152_template(resolution=voxel_mm)
    inside = ndimage.binary_fill_holes(template.get_fdata(dtype=np.float32) > 0)
    gray, white = (
        load(resolution=voxel_mm).get_fdata(dtype=np.float32) * inside
        for load in (load_mni152_gm_template, load_mni152_wm_template)
    )
    tissues = np.stack([gray, white, np.clip(inside - gray - white, 0, 1)])
    tissues /= np.maximum(tissues.sum(axis=0), 1e-6)
    # Skull and scalp need room on every side.
    margin = int(np.ceil(_SKIN_MM / voxel_mm)) + 1
    pad = ((margin, margin),) * 3
    affine = np.array(template.affine, dtype=np.float64)
    affine[:3, 3] -= affine[:3, :3] @ np.full(3, margin)
    return np.pad(tissues, ((0, 0), *pad)).astype(np.float32), np.pad(inside, pad), affine


def _label_map(
    tissues: NDArray[np.float32], inside: Mask, table: LabelTable, voxel_mm: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Label indices (x, y, z) of one made-up person."""
    logits = np.log(tissues + 1e-3)
    for channel in logits:
        for strength, scale_mm in ((0.45, 2.0), (0.3, 5.0)):
            channel += strength * _smooth_noise(rng, inside.shape, scale_mm / voxel_mm)
    logits[2] += rng.uniform(-0.2, 0.6)  # atrophy
    certain = (tissues > 0.97).any(axis=0)
    tissue = np.where(certain, tissues.argmax(axis=0), logits.argmax(axis=0))
    outside = ndimage.distance_transform_edt(~inside, sampling=voxel_mm)
    deep = ndimage.distance_transform_edt(inside, sampling=voxel_mm) > _DEEP_MM
    kinds = [
        (inside & (tissue == 0), _CORTEX),
        (inside & (tissue == 1), _WHITE),
        (inside & (tissue == 2) & deep, _VENTRICLE),
        ((inside & (tissue == 2) & ~deep) | (~inside & (outside <= _SUBARACHNOID_MM)), _CSF),
        (~inside & (outside > _SUBARACHNOID_MM) & (outside <= _BONE_MM), _BONE),
        (~inside & (outside > _BONE_MM) & (outside <= _SKIN_MM), _SKIN),
    ]
    left = (np.arange(inside.shape[0]) < inside.shape[0] / 2)[:, None, None]
    labels = np.zeros(inside.shape, np.uint8)
    for where, sides in kinds:
        labels[where & left] = table.index(sides[0])
        labels[where & ~left] = table.index(sides[1])
    return labels


def _lesions() -> LesionBank:
    """Return irregular blobs of 0.3 to some 150 ml in the template's brain."""
    template = icbm_template()
    rng = np.random.default_rng([VERSION, LESIONS])
    places = np.argwhere(ndimage.binary_erosion(template.brain, iterations=4))
    made = [
        _lesion(number, places[rng.integers(len(places))], template.brain, rng) for number in range(LESIONS)
    ]
    return LesionBank.from_lesions(made, template.shape, template.affine)


def _lesion(number: int, center: NDArray[np.int_], brain: Mask, rng: np.random.Generator) -> Lesion:
    """Return an ellipsoid whose border smooth noise has moved, cut to the brain; its largest piece."""
    radii = np.exp(rng.uniform(np.log(4.5), np.log(28))) * rng.uniform(0.7, 1.3, 3)
    reach = np.ceil(1.6 * radii).astype(int)
    low, high = np.maximum(center - reach, 0), np.minimum(center + reach + 1, brain.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    grid = np.stack(
        np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij"), -1
    )
    depth = 1 - np.sqrt((((grid - center) / radii) ** 2).sum(-1))
    rough = sum(_smooth_noise(rng, depth.shape, max(1.0, radii.min() / n)) / n for n in (2, 4))
    pieces, _ = ndimage.label(((depth + 0.35 * rough > 0) | (depth > 0.7)) & brain[box])
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    offset, mask = crop_to_mask(pieces == sizes.argmax())
    x, y, z = (int(first + step) for first, step in zip(low, offset, strict=True))
    digest = hashlib.sha256(mask.tobytes()).hexdigest()
    return Lesion(f"{SOURCE}-{number:03d}", SOURCE, digest, (x, y, z), mask)


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> NDArray[np.float32]:
    """Return Gaussian noise of mean 0 and standard deviation 1, smoothed by a Gaussian of `sigma` voxels."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), sigma)
    smoothed: NDArray[np.float32] = (noise - noise.mean()) / max(float(noise.std()), 1e-6)
    return smoothed
