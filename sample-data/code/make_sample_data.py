"""Make the sample data: three simulated stroke patients in BIDS, with known truth.

    python sample-data/code/make_sample_data.py [FOLDER] [--subject 01]

The brains come from the ICBM 2009a template inside the nilearn package; lesions and scanners are simulated.
A fixed seed per subject makes the same files again.
"""

from __future__ import annotations

import argparse
import gzip
import json
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from lesions import Blob, Stroke, draw_lesion
from scan import Contrast, Geometry, Head, acquire, add_scanner_effects, render
from template import individual, load_template

HERE = Path(__file__).resolve().parents[1]
TRUTH = Path("derivatives/simulated-truth")


@dataclass(frozen=True)
class Subject:
    """One simulated patient and the scan of them."""

    name: str
    suffix: str
    seed: int
    description: str
    stroke: Stroke
    contrast: Contrast
    geometry: Geometry
    head: Head
    atrophy: float
    dimension: str


SUBJECTS = (
    Subject(
        name="01",
        suffix="T1w",
        seed=101,
        description="chronic infarct in the territory of the left middle cerebral artery, with a cavity",
        stroke=Stroke(
            (Blob((-50, -8, 18), (22, 34, 26)), Blob((-36, -2, 12), (14, 20, 18))), 0.13, cavity=4.0
        ),
        contrast=Contrast(0.7, 1.0, 0.22, lesion=0.58, cavity=0.27, template_weight=0.4, noise=0.03),
        geometry=Geometry("PSR", (212, 200, 176), (1.0, 1.0, 1.0), (4.0, -2.5, 3.0), (-5.0, -16.0, -3.0)),
        head=Head((0.97, 1.0, 1.03), (9.0, -3.0, 4.0), (1.5, 2.0, -4.0), 2.6),
        atrophy=0.25,
        dimension="3D",
    ),
    Subject(
        name="02",
        suffix="T2w",
        seed=202,
        description="infarct in the territory of the right posterior cerebral artery",
        stroke=Stroke((Blob((18, -80, 6), (17, 22, 17)), Blob((28, -56, -6), (10, 18, 9))), 0.14),
        contrast=Contrast(0.56, 0.40, 1.08, lesion=0.88, cavity=1.0, noise=0.025),
        geometry=Geometry(
            "LPS", (232, 272, 56), (0.8, 0.8, 3.0), (-12.0, 3.0, -5.0), (-4.0, -10.0, 9.0), (1, 1, 3)
        ),
        head=Head((1.04, 0.96, 0.98), (-10.0, 4.0, -6.0), (-3.0, 6.0, 2.0), 2.6),
        atrophy=0.0,
        dimension="2D",
    ),
    Subject(
        name="03",
        suffix="FLAIR",
        seed=303,
        description="small infarcts: left basal ganglia, right corona radiata, left frontal, right parietal",
        stroke=Stroke(
            (
                Blob((-25, -4, 8), (8, 14, 11)),
                Blob((25, -16, 30), (7, 9, 7)),
                Blob((-38, 34, 26), (10, 9, 9)),
                Blob((44, -54, 40), (9, 10, 9)),
            ),
            0.2,
        ),
        contrast=Contrast(0.78, 0.62, 0.14, lesion=1.15, cavity=0.3, rim=0.18, noise=0.028),
        geometry=Geometry(
            "LAS", (208, 240, 34), (0.9, 0.9, 5.0), (14.0, -4.0, 6.0), (5.0, -20.0, 13.0), (1, 1, 5)
        ),
        head=Head((0.98, 1.03, 0.96), (12.0, -5.0, 7.0), (3.0, -3.0, 8.0), 2.8),
        atrophy=0.4,
        dimension="2D",
    ),
)


def make_subject(subject: Subject, folder: Path) -> None:
    """Simulate one subject and write the scan, the truth and their sidecars."""
    rng = np.random.default_rng(subject.seed)
    brain = individual(load_template(), rng, subject.atrophy)
    lesion = draw_lesion(brain, subject.stroke, rng)
    signal = render(brain, lesion, subject.contrast, rng)
    volumes = [signal, lesion.fraction, brain.inside.astype(np.float32)]
    signal, fraction, inside = acquire(volumes, brain, subject.head, subject.geometry, rng)
    scan = add_scanner_effects(signal, inside, subject.contrast, rng)
    truth = ((fraction > 0.5) & (scan > 0)).astype(np.uint8)
    affine = subject.geometry.affine

    person = f"sub-{subject.name}"
    stem = f"{person}/anat/{person}_{subject.suffix}"
    write_nifti(folder / f"{stem}.nii.gz", scan, affine, f"simulated {subject.suffix}")
    write_json(folder / f"{stem}.json", scan_sidecar(subject))
    mask_stem = f"{TRUTH}/{person}/anat/{person}_space-orig_label-L_desc-{subject.suffix}lesion_mask"
    write_nifti(folder / f"{mask_stem}.nii.gz", truth, affine, "simulated lesion, known truth")
    write_json(folder / f"{mask_stem}.json", truth_sidecar(subject, truth, affine, f"{stem}.nii.gz"))


def scan_sidecar(subject: Subject) -> dict[str, object]:
    """Return the sidecar of a scan as BIDS asks; no scanner parameter is invented."""
    thickness = max(subject.geometry.spacing)
    return {
        "Modality": "MR",
        "BodyPart": "BRAIN",
        "MRAcquisitionType": subject.dimension,
        "SliceThickness": thickness,
        "SpacingBetweenSlices": thickness,
        "Simulated": True,
        "SkullStripped": True,
        "Description": f"Simulated from the ICBM 2009a template: {subject.description}.",
    }


def truth_sidecar(subject: Subject, truth: np.ndarray, affine: np.ndarray, source: str) -> dict[str, object]:
    """Return the provenance of a truth mask, with its volume in ml."""
    volume_ml = float(truth.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000)
    return {
        "Type": "Lesion",
        "Manual": False,
        "Sources": [f"bids:raw:{source}"],
        "SpatialReference": f"bids:raw:{source}",
        "Description": f"Where the simulation put lesion in at least half of a voxel: {subject.description}.",
        "VolumeMl": round(volume_ml, 3),
    }


def write_nifti(path: Path, data: np.ndarray, affine: np.ndarray, description: str) -> None:
    """Write a compressed NIfTI whose sform and qform agree, without a time stamp, so that bytes repeat."""
    image = nib.Nifti1Image(data, affine)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = description
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=9, mtime=0))


def write_json(path: Path, content: dict[str, object]) -> None:
    """Write a sidecar."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Parse the command line and make what it asks for."""
    parser = argparse.ArgumentParser(description="Make the simulated sample data.")
    parser.add_argument(
        "folder", nargs="?", type=Path, default=HERE, help="where to write (default: sample-data)"
    )
    parser.add_argument("--subject", choices=[s.name for s in SUBJECTS], help="only this one")
    arguments = parser.parse_args()
    for subject in SUBJECTS:
        if arguments.subject in (None, subject.name):
            make_subject(subject, arguments.folder)


if __name__ == "__main__":
    main()
