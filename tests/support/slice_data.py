"""Files of real slices as data sets hold them: noise in an ellipse, with a bright rectangle for a lesion."""

from __future__ import annotations

from pathlib import Path

import numpy as np

SHAPES = {"axial": (157, 189), "coronal": (157, 136), "sagittal": (189, 136)}


def write_slices(folder: Path, view: str, *, name: str = "cohort", count: int = 2) -> Path:
    """Write the slices of one view; the lesion of each lies in rows 100 to 119 and columns 40 to 71."""
    rows, columns = SHAPES[view]
    rng = np.random.default_rng(5)
    x, y = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    image = (rng.uniform(90, 160, (count, rows, columns)) * (x**2 + y**2 < 0.9)).astype(np.uint8)
    lesion = np.zeros((count, rows, columns), bool)
    lesion[:, 100:120, 40:72] = True
    image[lesion] = 250
    path = folder / f"{name}_{view}.npz"
    folder.mkdir(parents=True, exist_ok=True)
    subject = np.arange(count, dtype=np.int32)
    np.savez_compressed(path, subject=subject, image=image, lesion=np.packbits(lesion, axis=-1))
    return path
