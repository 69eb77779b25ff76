"""Synthetic samples of a fine-tuning session: submitted lesions, brought to ICBM space and pasted into heads."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError

from strokelabel.errors import DataError, OutputError, StrokeLabelError
from strokelabel.fit.data.recipe_streams import split_lesions
from strokelabel.fit.data.synthetic_streams import SyntheticStream, SyntheticValidation
from strokelabel.fit.fine_tuning.cases import FineTuneCase, read_submitted
from strokelabel.fit.fine_tuning.options import FineTuneOptions
from strokelabel.fit.fine_tuning.template_heads import template_data
from strokelabel.fit.pseudo_labels.lesions import (
    align_with_icbm,
    fraction_inside,
    has_tissues,
    place_in_icbm,
)
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.io.atomic import atomic_write_json
from strokelabel.io.images import Image
from strokelabel.labels import CLASS_NAMES, TissueClass
from strokelabel.networks.unet import UNetConfig
from strokelabel.registry import ModelSpec
from strokelabel.synthesis.anatomy.head import load_heads
from strokelabel.synthesis.benchmark import BENCHMARK_VERSION, validation_cases, validation_config
from strokelabel.synthesis.config import SynthesisConfig
from strokelabel.synthesis.generator import Synthesizer
from strokelabel.synthesis.lesions.bank import Lesion, LesionBank
from strokelabel.synthesis.prepared.dataset import PreparedData, stable_split
from strokelabel.synthesis.prepared.registration import MINIMUM_SIMILARITY
from strokelabel.synthesis.prepared.source_files import MINIMUM_INSIDE, crop_to_mask
from strokelabel.types import Affine, Mask

SOURCE = "submitted"
"""Data set that the lesions of a bank name as their source."""

SHARE = 0.25
"""Of the lesions of a bank, how many are submitted ones, counting repetitions: a few labels beside an archive of a
thousand lesions would never be drawn."""

_LOG = logging.getLogger(__name__)


def submitted_lesions(cases: Sequence[FineTuneCase], predictor: Predictor, cache: Path) -> list[Lesion]:
    """Return the lesions of submitted labels on the ICBM grid; those that cannot be aligned are left out and logged.

    Args:
        cases: to be trained on.
        predictor: its tissues say where a scan's brain lies.
        cache: folder that alignments are kept in.
    """
    if not has_tissues(predictor.spec.class_names):
        _LOG.info(
            "submitted lesions are not pasted into synthetic heads: the model predicts no tissues to align by"
        )
        return []
    found = []
    for case in cases:
        try:
            lesion, problem = _place(case, predictor, cache)
        except StrokeLabelError as error:
            lesion, problem = None, str(error)
        if lesion is None:
            _LOG.info("the lesion of %s is not pasted into synthetic heads: %s", case.submitted.name, problem)
        else:
            found.append(lesion)
    return found


def with_submitted(bank: LesionBank, lesions: Sequence[Lesion]) -> LesionBank:
    """Append submitted lesions to a bank, repeated until they make up `SHARE`."""
    if not lesions:
        return bank
    times = max(1, math.ceil(SHARE / (1 - SHARE) * len(bank) / len(lesions)))
    own = [bank.lesion(index) for index in range(len(bank))]
    return LesionBank.from_lesions([*own, *(list(lesions) * times)], bank.grid_shape, bank.affine)


def _place(case: FineTuneCase, predictor: Predictor, cache: Path) -> tuple[Lesion | None, str]:
    """Return the lesion, or the reason why there is none."""
    image, mask = read_submitted(case.submitted)
    if not mask.any():
        return None, "its label is empty"
    to_icbm, similarity = _alignment(case, image, mask, predictor, cache)
    if to_icbm is None or similarity < MINIMUM_SIMILARITY:
        return (
            None,
            f"its tissues correlate with the ICBM template by {similarity:.2f}, expected {MINIMUM_SIMILARITY:g}",
        )
    index_to_icbm = to_icbm @ image.affine
    if fraction_inside(mask, index_to_icbm) < MINIMUM_INSIDE:
        return None, "most of it lies outside the ICBM template's brain"
    placed = place_in_icbm(mask, index_to_icbm)
    if not placed.any():
        return None, "nothing of it is left on the ICBM grid"
    offset, cropped = crop_to_mask(placed)
    return Lesion(f"{SOURCE}_{case.submitted.name}", SOURCE, case.label_sha256, offset, cropped), ""


def _alignment(
    case: FineTuneCase, image: Image, mask: Mask, predictor: Predictor, cache: Path
) -> tuple[Affine | None, float]:
    """Return the map from RAS mm to ICBM mm, and the agreement of the tissues; from the cache, or by registration."""
    path = cache / f"{case.image_sha256[:32]}.icbm.json"
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return np.array(stored["to_icbm"], dtype=np.float64).reshape(4, 4), float(stored["similarity"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    _LOG.info(
        "aligning %s with ICBM space, once, to paste its lesion into synthetic heads", case.submitted.name
    )
    labels = np.where(mask, np.uint8(TissueClass.LESION), predictor.predict(image).labels)
    registration = align_with_icbm(labels, image.grid)
    if registration is None:
        return None, 0.0
    content = {"to_icbm": registration.to_icbm.tolist(), "similarity": registration.similarity}
    atomic_write_json(path, content)
    return registration.to_icbm, registration.similarity


@dataclass(frozen=True)
class SyntheticPart:
    """Synthetic data of a session.

    Attributes:
        data: label maps and lesions.
        brains: "train" and "validation", each with at least one name.
        synthesis: how the model's training images were made, at its size and voxels.
        device: where images are computed.
        source: "prepared" or "template".
    """

    data: PreparedData
    brains: dict[str, list[str]]
    synthesis: SynthesisConfig
    device: torch.device
    source: str

    def training(self, lesions: Sequence[Lesion], options: FineTuneOptions) -> SyntheticStream:
        """Return the training items; submitted lesions are pasted as well."""
        bank = split_lesions(self.data, "train", self.synthesis.lesion.minimum_volume_ml)
        synthesizer = self._synthesizer("train", with_submitted(bank, lesions), self.synthesis)
        return SyntheticStream(synthesizer, options.batch_size, options.seed)

    def benchmark(self, per_family: int) -> SyntheticValidation:
        """Return the fixed benchmark, on heads and lesions that are never trained on."""
        config = validation_config(self.synthesis.shape, self.synthesis.spacing_mm)
        bank = split_lesions(self.data, "validation", config.lesion.minimum_volume_ml)
        return SyntheticValidation(
            self._synthesizer("validation", bank, config), validation_cases(per_family)
        )

    def identity(self, per_family: int) -> dict[str, Any]:
        """Return the identity of the benchmark, which makes its scores comparable."""
        return {
            "version": BENCHMARK_VERSION,
            "source": self.source,
            "digest": self.data.digest,
            "volumes": len(validation_cases(per_family)),
            "shape": list(self.synthesis.shape),
            "spacing_mm": self.synthesis.spacing_mm,
        }

    def _synthesizer(self, part: str, lesions: LesionBank, config: SynthesisConfig) -> Synthesizer:
        heads = load_heads(self.data, self.brains[part], config.spacing_mm)
        return Synthesizer(heads, lesions, self.data.table, config, self.device)


def synthetic_part(
    spec: ModelSpec, prepared: Path | None, cache: Path, device: torch.device
) -> SyntheticPart | None:
    """Return the synthetic data that are available on this machine for a model.

    Args:
        spec: the model.
        prepared: folder of `strokelabel prepare`; None, or one that cannot be used, for the ICBM template's.
        cache: folder that the template's data are kept in.
        device: where images are computed.

    Returns:
        None, with a line of log, where the model has other classes or nothing can be written.
    """
    if spec.class_names != CLASS_NAMES:
        _LOG.warning(
            "no synthetic samples and no benchmark: the model's classes are %s", ", ".join(spec.class_names)
        )
        return None
    synthesis = synthesis_of(spec)
    if prepared is not None:
        try:
            data = PreparedData.load(prepared)
            brains = _brains(spec, data)
            _LOG.info("synthetic samples come from %s (%d label maps)", prepared, len(data.brain_names))
            return SyntheticPart(data, brains, synthesis, device, "prepared")
        except DataError as error:
            _LOG.warning("%s; using the ICBM template instead", error)
    try:
        data = template_data(cache, spec.spacing_mm)
        _LOG.info(
            "synthetic samples come from the ICBM template and simulated lesions: no prepared data were named"
        )
        return SyntheticPart(data, _brains(spec, data), synthesis, device, "template")
    except (DataError, OutputError) as error:
        _LOG.warning("no synthetic samples and no benchmark, other contrasts may be forgotten: %s", error)
        return None


def synthesis_of(spec: ModelSpec) -> SynthesisConfig:
    """Return the generator's settings of a model's recipe, or its defaults, at the model's voxels and field of view."""
    multiple = UNetConfig(**spec.network).multiple
    shape = [
        max(2, math.ceil(round(side / spec.spacing_mm) / multiple)) * multiple
        for side in spec.field_of_view_mm
    ]
    own = spec.recipe.get("synthesis") if isinstance(spec.recipe, dict) else None
    size = {"shape": shape, "spacing_mm": spec.spacing_mm}
    try:
        return SynthesisConfig.model_validate({**(own or {}), **size})
    except ValidationError as error:
        _LOG.warning("using the generator's defaults: the model's recipe cannot be read (%s)", error)
        return SynthesisConfig.model_validate(size)


def _brains(spec: ModelSpec, data: PreparedData) -> dict[str, list[str]]:
    """Label maps to train and to validate on: as the model's recipe has them, or by the stable split.

    Raises:
        DataError: there are fewer than two.
    """
    names = list(data.brain_names)
    patterns = spec.recipe.get("brains") or {} if isinstance(spec.recipe, dict) else {}
    parts = {
        part: [
            name for name in names if any(fnmatch(name, str(pattern)) for pattern in patterns.get(part, ()))
        ]
        for part in ("train", "validation")
    }
    if all(parts.values()) and not set(parts["train"]) & set(parts["validation"]):
        return parts
    if len(names) < 2:
        raise DataError(f"{data.folder}: expected at least two label maps, found {names}")
    held_out = [name for name in names if stable_split(name) != "train"][: len(names) - 1] or names[-1:]
    return {"train": [name for name in names if name not in held_out], "validation": held_out}
