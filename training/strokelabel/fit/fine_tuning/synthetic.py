"""Sources of the synthetic samples and the benchmark of a fine-tuning session."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from strokelabel.errors import DataError, OutputError
from strokelabel.fit.data.recipe_streams import split_lesions
from strokelabel.fit.data.synthetic_stream import SyntheticStream, SyntheticValidation
from strokelabel.fit.fine_tuning.lesions import with_submitted
from strokelabel.fit.fine_tuning.options import FineTuneOptions
from strokelabel.fit.fine_tuning.template_heads import template_data
from strokelabel.labels import CLASS_NAMES
from strokelabel.networks.unet import UNetConfig
from strokelabel.registry import ModelSpec
from strokelabel.synthesis.anatomy.head_cache import load_heads
from strokelabel.synthesis.benchmark import BENCHMARK_VERSION, validation_cases, validation_config
from strokelabel.synthesis.config import SynthesisConfig
from strokelabel.synthesis.generator import Synthesizer
from strokelabel.synthesis.lesions.bank import Lesion, LesionBank
from strokelabel.synthesis.prepared.dataset import PreparedData, stable_split

_LOG = logging.getLogger(__name__)


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
