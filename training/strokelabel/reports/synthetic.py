"""Synthetic images as pictures and as files."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from strokelabel.io.atomic import atomic_path, atomic_write_text
from strokelabel.labels import TissueClass
from strokelabel.reports.contact_sheet import Panel, make_panel
from strokelabel.synthesis.generator import SampleParameters, SyntheticBatch
from strokelabel.synthesis.record import to_json


def synthetic_panel(batch: SyntheticBatch, lesion: int | None = TissueClass.LESION) -> Panel:
    """The first image of a batch with its lesion outlined.

    Args:
        batch: see `Synthesizer.generate`.
        lesion: class of the lesion in its target; None if it is no class.
    """
    parameters = batch.parameters[0]
    resolution = max(parameters.artefacts.resolution_mm)
    slices = f", {resolution:.0f} mm" if resolution else ""
    return make_panel(
        image=batch.image[0, 0].cpu().numpy(),
        outlines={} if lesion is None else {"red": (batch.target[0] == lesion).cpu().numpy()},
        title=f"{parameters.contrast.family}{_stage(parameters)}{slices}",
    )


def _stage(parameters: SampleParameters) -> str:
    """Stage of the lesions, if any was drawn; contrasts of the physics name it themselves."""
    lesions = parameters.lesions.draws or parameters.lesions.fragments
    if parameters.realism is None or parameters.contrast.scan is not None or not lesions:
        return ""
    return f", {parameters.realism.stage.stage}"


def write_synthetic(batch: SyntheticBatch, folder: Path, spacing_mm: float) -> None:
    """Write the first image of a batch: image, classes, and the parameters that make it again.

    Args:
        batch: see `Synthesizer.generate`.
        folder: receives <name>_image.nii.gz, <name>_dseg.nii.gz and <name>_parameters.json.
        spacing_mm: voxel size; the image's centre becomes the origin of world space.
    """
    image = batch.image[0, 0].cpu().numpy().astype(np.float32)
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = [-(n - 1) / 2 * spacing_mm for n in image.shape]
    for name, data in (("image", image), ("dseg", batch.target[0].cpu().numpy())):
        with atomic_path(folder / f"{folder.name}_{name}.nii.gz") as temporary:
            nib.Nifti1Image(data, affine).to_filename(temporary)
    atomic_write_text(folder / f"{folder.name}_parameters.json", to_json(batch.parameters[0]))
