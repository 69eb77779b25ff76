"""Synthetic images, slabs and painted scans, as pictures and as files."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import nibabel as nib
import numpy as np
from torch import Tensor

from strokelabel.fit.data.real_images.painting import PaintedScanStream
from strokelabel.fit.data.real_images.slabs import SlabStream
from strokelabel.io.atomic import atomic_path, atomic_write_text
from strokelabel.labels import TissueClass
from strokelabel.reports.contact_sheet import Panel, make_panel
from strokelabel.synthesis.generator import SampleParameters, SyntheticBatch
from strokelabel.synthesis.record import to_json


def synthetic_panel(batch: SyntheticBatch, lesion: int | None = TissueClass.LESION) -> Panel:
    """Return the first image of a batch with its lesion outlined.

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
    """Return the stage of the lesions, if any was drawn; contrasts of the physics name it themselves."""
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


def slab_panels(stream: SlabStream, first: int = 0) -> Iterator[Panel]:
    """Yield one picture of each slab of a stream, without end.

    Args:
        stream: of slabs.
        first: position of the first one.
    """
    for index in count(first):
        step, place = divmod(index, stream.config.count)
        shape, (part, *_) = stream.sample(step, place)
        parameters = part.parameters
        image, lesion = stream.render(step, place)
        middle = parameters.first + parameters.filled // 2
        title = f"{shape.view}, {parameters.appearance.recolouring.kind}"
        if parameters.filled < image.shape[shape.axis]:
            title += f", {parameters.filled * stream.spacing_mm:.0f} mm"
        plane, mask = (volume.select(shape.axis, middle)[..., None] for volume in (image, lesion))
        yield _panel(plane, mask, title)


def scan_panels(stream: PaintedScanStream, first: int = 0) -> Iterator[Panel]:
    """Yield one picture of each image of a stream, without end.

    Args:
        stream: of painted scans.
        first: position of the first one.
    """
    for index in count(first):
        parameters = stream.sample(index)
        image, lesion = stream.render(parameters)
        painted = f", {len(parameters.lesions)} painted" if parameters.lesions else ""
        yield _panel(image, lesion, f"{parameters.appearance.recolouring.kind}{painted}")


def _panel(image: Tensor, lesion: Tensor, title: str) -> Panel:
    values = image.cpu().numpy().astype(np.float32)
    return make_panel(values, {"red": lesion.cpu().numpy()}, title)
