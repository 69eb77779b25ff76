"""Synthetic patients of outcome models: boxes of lesion in ICBM space, with a planted effect of one region."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from strokelabel.outcome.loads import LesionLoads, lesion_loads
from strokelabel.outcome.patients import ARTERIAL_COLUMNS, Outcome, Patient
from strokelabel.outcome.predictors import Cohort
from strokelabel.synthesis.prepared.icbm import icbm_template

LOW, HIGH = np.array([40, 60, 40]), np.array([156, 180, 136])
"""Corners, in voxels of the ICBM grid, of a box deep inside the template's brain."""

BLOCKS = (2, 4, 4)
"""Regions along x, y, z; the last of the 32 is in no table, like the right lateral ventricle."""

PLANTED = 6
"""Index of the region that decides."""


def random_box(rng: np.random.Generator) -> tuple[tuple[int, int, int], np.ndarray]:
    """Return the first voxel and the mask (x, y, z) of a box of lesion with unequal sides."""
    sides = rng.integers(8, 46, size=3)
    start = rng.integers(LOW, HIGH - sides)
    return (int(start[0]), int(start[1]), int(start[2])), np.ones(sides, dtype=bool)


def region_fractions(offset: tuple[int, int, int], mask: np.ndarray) -> np.ndarray:
    """Return the fraction of each of 31 blocks that is lesion."""
    size = (HIGH - LOW) // BLOCKS
    index = (np.argwhere(mask) + np.array(offset) - LOW) // size
    index = np.minimum(index, np.array(BLOCKS) - 1)
    hit = np.bincount(np.ravel_multi_index(tuple(index.T), BLOCKS), minlength=32)
    return np.minimum(hit[:31] / size.prod(), 1)


def cohort(count: int, outcome: Outcome, seed: int = 0, noise: float = 1.0) -> Cohort:
    """Return patients whose outcome is set by the damage to one region, and by age not at all."""
    rng = np.random.default_rng(seed)
    patients, loads = list[Patient](), list[LesionLoads]()
    for number in range(count):
        offset, mask = random_box(rng)
        arteries = region_fractions(offset, mask)
        value = effect(arteries, outcome) + noise * scale(outcome) * rng.normal()
        loads.append(lesion_loads(offset, mask))
        name, age = f"sub-{number:04d}", float(rng.integers(30, 90))
        value = float(np.clip(value, outcome.least, outcome.most))
        if outcome.acute:
            patients.append(Patient(name, value, Path(f"{name}.nii.gz"), loads[-1].ml, age, arteries))
        else:
            patients.append(Patient(name, value, Path(f"{name}.nii.gz")))
    return Cohort(tuple(patients), tuple(loads))


def planted_region() -> np.ndarray:
    """Return the region that decides on the ICBM grid, (x, y, z)."""
    size = (HIGH - LOW) // BLOCKS
    low = LOW + np.array(np.unravel_index(PLANTED, BLOCKS)) * size
    inside = np.zeros(icbm_template().shape, dtype=bool)
    inside[tuple(slice(a, a + side) for a, side in zip(low, size, strict=True))] = True
    return inside


def effect(arteries: np.ndarray, outcome: Outcome) -> float:
    """Return the outcome without noise."""
    damage = float(np.sqrt(arteries[PLANTED]))
    return 5 + 25 * damage if outcome.acute else 1 - 2 * damage


def scale(outcome: Outcome) -> float:
    """Return the unit of noise."""
    return 1.0 if outcome.acute else 0.1


def write_cohort(folder: Path, count: int, outcome: Outcome, seed: int = 0) -> tuple[Path, Path]:
    """Write a table and a folder of masks, cropped, in LPS or RAS; return both."""
    rng = np.random.default_rng(seed)
    masks, rows = folder / "masks", []
    masks.mkdir(parents=True)
    for number in range(count):
        offset, mask = random_box(rng)
        arteries, name = region_fractions(offset, mask), f"sub-{number:04d}"
        value = float(np.clip(effect(arteries, outcome) + rng.normal(), outcome.least, outcome.most))
        write_mask(masks / f"{name}_lesion.nii.gz", offset, mask, flipped=number % 2 == 1)
        facts = [mask.sum(), *arteries, 40 + number % 40] if outcome.acute else []
        rows.append([name, *facts, value])
    middle = ["lesion_volume", *ARTERIAL_COLUMNS, "age"] if outcome.acute else []
    lines = [["participant_id", *middle, outcome.column], *rows]
    table = folder / "table.tsv"
    table.write_text("\n".join("\t".join(map(str, line)) for line in lines) + "\n", encoding="utf-8")
    return table, masks


def write_mask(path: Path, offset: tuple[int, int, int], mask: np.ndarray, *, flipped: bool = False) -> None:
    """Write a mask of the ICBM grid, cropped; flipped ones have their first two axes to the left and back."""
    affine = icbm_template().affine.copy()
    affine[:3, 3] += affine[:3, :3] @ np.array(offset)
    if flipped:
        mask = mask[::-1, ::-1]
        turn = np.diag([-1.0, -1.0, 1.0, 1.0])
        turn[:2, 3] = np.array(mask.shape[:2]) - 1
        affine = affine @ turn
    nib.Nifti1Image(mask.astype(np.uint8), affine).to_filename(path)
