"""Make the pictures of simulation.md again: python training/docs/make_simulation_pictures.py LABEL_MAP.

LABEL_MAP is a whole head with FreeSurfer ids, at 1 mm: one of SynthSeg's training maps, say.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from strokelabel.cli.main import main

IMAGES = Path(__file__).parent / "images"
LEFT_PARENCHYMA = (2, 3, 10, 11, 12, 13)
RADIUS_MM = 16

TABLES: dict[str, list[str]] = {
    "contrasts": [],
    "fse-te": ["--sequence", "fse", "--tr", "4", "--sweep", "te=0.01,0.03,0.06,0.1,0.15,0.25"],
    "fse-tr": ["--sequence", "fse", "--te", "0.012", "--sweep", "tr=0.2,0.4,0.8,1.5,3,6"],
    "flair-ti": ["--sequence", "flair", "--sweep", "ti=0.5,1,1.5,2,2.5,3"],
    "mprage-ti": ["--sequence", "mprage", "--tr", "2.5", "--sweep", "ti=0.65,0.75,0.85,0.95,1.1,1.3"],
    "gre-te": ["--sequence", "gre", "--sweep", "te=0.003,0.008,0.015,0.025,0.04,0.06"],
    "gre-flip-angle": [
        "--sequence", "gre", "--te", "0.004", "--tr", "0.03", "--sweep", "flip-angle=2,5,10,20,40,80",
    ],
}  # fmt: skip


def write_lesion(label_map: Path, path: Path) -> None:
    """Write a ball in the left hemisphere, beside the ventricle, without what it covers of fluid."""
    image = nib.load(label_map)
    labels = np.asarray(image.dataobj).astype(int)
    distance = ndimage.distance_transform_edt(labels == 2)
    center = np.unravel_index(int(distance.argmax()), labels.shape)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in labels.shape), indexing="ij"), -1)
    ball = ((index - center) ** 2).sum(-1) <= RADIUS_MM**2
    mask = ball & np.isin(labels, LEFT_PARENCHYMA)
    nib.Nifti1Image(mask.astype(np.uint8), image.affine).to_filename(path)


def simulate(*arguments: str | Path) -> None:
    """Run the command."""
    try:
        main(["simulate", *map(str, arguments)])
    except SystemExit as stop:
        if stop.code:
            raise


def run(label_map: Path) -> None:
    """Make all pictures."""
    for name, options in TABLES.items():
        simulate(label_map, "--table", IMAGES / f"simulation-{name}.png", *options)
    with tempfile.TemporaryDirectory() as folder:
        lesion = Path(folder) / "lesion.nii.gz"
        write_lesion(label_map, lesion)
        simulate(label_map, "--table", IMAGES / "simulation-lesions.png", "--lesion", lesion)


if __name__ == "__main__":
    run(Path(sys.argv[1]))
