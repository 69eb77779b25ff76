"""Structures of a scan and their volumes, on the scan's own grid (Billot et al. 2023, SynthSeg, section 3.3)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from strokelabel.errors import LabelMapError, WeightsError
from strokelabel.inference.engine import EngineNetwork
from strokelabel.inference.network_input import (
    SMOOTHING_VOXELS,
    OnProgress,
    likeliest_on_source_grid,
    normalized_item,
    on_source_grid,
    prepare_intensities,
    shown_probabilities,
    silent,
    smoothed_views,
)
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.postprocessing import keep_largest_pieces
from strokelabel.inference.quality import Quality, made_by
from strokelabel.inference.scan_model import ScanModel, image_notes
from strokelabel.inference.sharpen import sharpened_on_source_grid
from strokelabel.io import Image
from strokelabel.metrics.lesion_structures import little_brain_note
from strokelabel.registry import PARCELLATION, ROBUST_MODEL, ModelSpec, list_models
from strokelabel.structures import Structure, mirrored_classes, structures_of
from strokelabel.types import LabelVolume, PathLike, Volume

if TYPE_CHECKING:
    import torch
    from torch import nn

    from strokelabel.inference.robust import GroupDenoiser

TOTAL_INTRACRANIAL = "total intracranial"
"""Name of the volume of all structures together, fluid included."""

TOTAL = "total"
"""The same for structures that are not SynthSeg's."""


@dataclass(frozen=True, eq=False)
class Parcellation:
    """Structures of one scan.

    Attributes:
        labels: (i, j, k) FreeSurfer's number of the most likely structure, or that of the model's own table, which may
            need more than uint8; 0 is background.
        volumes_ml: ml by the structure's name, `TOTAL_INTRACRANIAL` (or `TOTAL`) first: sums of probabilities, not of
            voxels.
        spec: the model.
        options: how it was asked.
        seconds: time that it took.
        notes: what a user should know about the scan or the result.
        resampled: scan and labels at the model's voxel size; None where they were not requested.
        quality: predicted Dice of groups of structures; None where they were not requested.
        robust: settings of the robust mode, as the sidecar has them; None for a plain parcellation.
        sharpened: True where the scan's own intensities decided about borders.
    """

    labels: LabelVolume
    volumes_ml: dict[str, float]
    spec: ModelSpec
    options: PredictionOptions
    seconds: float
    notes: tuple[str, ...] = ()
    resampled: ResampledScan | None = None
    quality: Quality | None = None
    robust: Mapping[str, Any] | None = None
    sharpened: bool = False

    @property
    def intracranial_ml(self) -> float | None:
        """Volume of all structures, fluid included, ml; None for structures that are not SynthSeg's."""
        return self.volumes_ml.get(TOTAL_INTRACRANIAL)


@dataclass(frozen=True, eq=False)
class ResampledScan:
    """A scan on the grid of isotropic voxels that the network was shown, axes to the right, the front and the top.

    Attributes:
        image: the scan, linearly interpolated, its intensities as they are.
        labels: (x, y, z) numbers of the structures, as the network found them.
    """

    image: Image
    labels: LabelVolume


def has_own_structures(spec: ModelSpec) -> bool:
    """Return whether a model's structures came with the data that it was trained on, as other organs' do."""
    return isinstance(spec.recipe.get("structure_table"), list | tuple)


def total_name(spec: ModelSpec) -> str:
    """Return the name of the volume of all structures of a model together."""
    return TOTAL if has_own_structures(spec) else TOTAL_INTRACRANIAL


def structures_of_model(spec: ModelSpec) -> tuple[Structure, ...]:
    """Return the structures of a model's channels.

    Raises:
        LabelMapError: there are some that are not known.
    """
    return structures_of(spec.class_ids, spec.recipe.get("structure_table"))


class Parcellator(ScanModel):
    """Parcellation of scans of any contrast, orientation and spacing.

    Attributes:
        structures: of the network's channels.
        is_robust: True in the robust mode.
        denoiser: corrects the tissue groups in the robust mode; None for none.
        sharpens: True where the scan's own intensities decide about borders.

    Args:
        spec, network, device: see `ScanModel`; the network gives logits (1, structures, x, y, z).
        options: flips, CT window, view and memory; what concerns lesions is not used.
        robust: averages over flips and views, for scans of low quality.
        sharpen: lets the scan's own intensities decide about borders; see `inference.sharpen`.
        denoiser: of tissue groups, for the robust mode.

    Raises:
        WeightsError: the model is of another task, or of structures that are not known.
    """

    task = PARCELLATION
    purpose = "parcellates"

    def __init__(
        self,
        spec: ModelSpec,
        network: nn.Module | EngineNetwork,
        device: torch.device | str = "cpu",
        options: PredictionOptions | None = None,
        robust: bool = False,
        sharpen: bool = False,
        denoiser: GroupDenoiser | None = None,
    ) -> None:
        super().__init__(spec, network, device, options)
        try:
            self.structures = structures_of_model(spec)
        except LabelMapError as error:
            raise WeightsError(
                f"{spec.path}: {error}; use the release of StrokeLabel that wrote it"
            ) from error
        self.is_robust, self.denoiser, self.sharpens = robust, denoiser, sharpen

    def robust(self, denoiser: PathLike | None = None) -> Self:
        """Return a parcellator of the same model in the robust mode, which averages over flips, too.

        Args:
            denoiser: name or path of a model of the recipe `synthseg-robust`; None for the one of that name, where it
                is installed.

        Raises:
            UnknownModelError, WeightsError: there is none of that name, or it does not suit the model.
        """
        found, options = None, replace(self.options, tta=True)
        if denoiser is not None or ROBUST_MODEL in {one.name for one in list_models()}:
            from strokelabel.inference.robust import GroupDenoiser  # torch, which nothing else here needs

            found = GroupDenoiser.load(self.spec, self.device, denoiser or ROBUST_MODEL)
        return self._with(options, True, self.sharpens, found)

    def with_options(self, options: PredictionOptions) -> Self:
        """Return the same model in the same mode, sharing its network, with other options."""
        return self._with(options, self.is_robust, self.sharpens, self.denoiser)

    def sharpening(self) -> Self:
        """Return a parcellator of the same model that lets the scan's own intensities decide about borders."""
        return self._with(self.options, self.is_robust, True, self.denoiser)

    def _with(
        self, options: PredictionOptions, robust: bool, sharpen: bool, denoiser: GroupDenoiser | None
    ) -> Self:
        return type(self)(self.spec, self._network, self._device, options, robust, sharpen, denoiser)

    @property
    def robust_settings(self) -> dict[str, Any] | None:
        """Settings of the robust mode, as JSON; None for a plain parcellation."""
        if not self.is_robust:
            return None
        told = None if self.denoiser is None else made_by(self.denoiser.spec)
        return {"smoothing_voxels": SMOOTHING_VOXELS, "denoiser": told}

    def parcellate(
        self,
        image: Image,
        progress: OnProgress | None = None,
        each: Callable[[Volume], None] | None = None,
        resample: bool = False,
    ) -> Parcellation:
        """Find the structures of one scan.

        Args:
            image: from `read_image`, or built from an array.
            progress: told how far it is.
            each: given the probability (i, j, k) of each structure in turn, background first.
            resample: return the scan and its labels at the model's voxel size too.

        Raises:
            ImageError: the scan cannot be used; see `strokelabel.errors`.
        """
        began = time.perf_counter()
        report, options = progress or silent, self.options
        report("preparing", 0.0)
        canonical, volume = self.canonical_volume(image, options.ct_window)
        engine = self.engine(options, mirrored_classes(self.structures))
        seen = {"views": smoothed_views} if self.is_robust else {}
        box, probabilities = shown_probabilities(
            volume, self.spec, engine, self.multiple, options, report, **seen
        )
        if self.denoiser is not None:
            shown = normalized_item(box.crop(volume), self.spec)
            probabilities = self.denoiser.correct(probabilities, shown)
        keep_largest_pieces(probabilities, self.structures)
        report("writing to the scan's grid", 0.9)
        if each is not None:
            for channel in on_source_grid(probabilities, box, canonical):
                each(channel)
        if self.sharpens:
            values = prepare_intensities(image.data, options.ct_window)
            likeliest = sharpened_on_source_grid(probabilities, box, canonical, values)
        else:
            likeliest = likeliest_on_source_grid(probabilities, box, canonical)
        found = self._described(*likeliest, image)
        if resample:
            ids = np.array([structure.id for structure in self.structures], found.labels.dtype)
            isotropic = Image(canonical.forward(image.data), canonical.target.affine, source=image.source)
            labels = box.paste(ids[probabilities.argmax(axis=0)])
            found = replace(found, resampled=ResampledScan(isotropic, labels))
        report("done", 1.0)
        return replace(found, seconds=time.perf_counter() - began)

    def _described(self, classes: LabelVolume, sums: list[float], image: Image) -> Parcellation:
        """Return the result for the class of each voxel (i, j, k), and the sum of each class's probabilities."""
        ids = np.array(self.spec.class_ids, np.min_scalar_type(max(self.spec.class_ids)))
        total, voxel_ml = total_name(self.spec), image.grid.voxel_volume_ml
        volumes = {
            one.name: found * voxel_ml for one, found in zip(self.structures, sums, strict=True) if one.id
        }
        volumes = {total: sum(volumes.values()), **volumes}
        notes = image.notes + image_notes(image, self.options)
        if not has_own_structures(self.spec):
            notes += little_brain_note(volumes[total])
        return Parcellation(
            ids[classes],
            volumes,
            self.spec,
            self.options,
            seconds=0.0,
            notes=notes,
            robust=self.robust_settings,
            sharpened=self.sharpens,
        )

    def _advice(self, spec: ModelSpec) -> str:
        return "train one with `strokelabel train synthseg`"
