"""Streams of a recipe for training and validation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import torch

from strokelabel.errors import DataError, RecipeError
from strokelabel.fit.config import EstimationConfig, PredictionsConfig, TrainingConfig
from strokelabel.fit.data.annotated_scans.config import RealConfig
from strokelabel.fit.data.annotated_scans.stream import RealStream, RealValidation
from strokelabel.fit.data.generation.pool import ImageSource, LocalSource
from strokelabel.fit.data.generation.processes import GeneratorProcesses
from strokelabel.fit.data.generation.replay import ReplayConfig
from strokelabel.fit.data.generation.stream import ReplayStream
from strokelabel.fit.data.parts import check_unseen, make_synthesizer, part_brains, split_lesions
from strokelabel.fit.data.real_images.mixture import with_real_images
from strokelabel.fit.data.stream import (
    ItemStream,
    JoinedValidation,
    MixedStream,
    ValidationStream,
    WithoutGaps,
)
from strokelabel.fit.data.synthetic_streams import (
    EstimatorStream,
    EstimatorValidation,
    LabelNoiseStream,
    LabelNoiseValidation,
    QuantitativeStream,
    SyntheticStream,
    SyntheticValidation,
    stream_seed,
)
from strokelabel.fit.denoising import PredictedMaps, PredictedMapsStream, PredictedMapsValidation
from strokelabel.fit.loop.devices import process_count
from strokelabel.fit.loop.objective import ScoringStream, TrainingStream
from strokelabel.fit.pretraining.streams import pair_streams
from strokelabel.fit.quality import QualityCases, QualityStream, QualityValidation
from strokelabel.fit.recipe import Recipe
from strokelabel.synthesis.anatomy.head import load_heads
from strokelabel.synthesis.benchmark import (
    VALIDATION_FAMILIES,
    ValidationCase,
    lesion_free_cases,
    validation_cases,
    validation_config,
)
from strokelabel.synthesis.generator import Synthesizer
from strokelabel.synthesis.label_noise.errors import LabelNoiseConfig
from strokelabel.synthesis.label_noise.generator import LabelNoiseGenerator
from strokelabel.synthesis.label_noise.segmentation_errors import SegmentationErrorConfig
from strokelabel.synthesis.prepared.dataset import PreparedData
from strokelabel.synthesis.quantitative.samples import EstimationSynthesizer

__all__ = ["Streams", "check_unseen", "make_streams", "make_synthesizer", "part_brains", "split_lesions"]

_PHYSICS = "physics"
"""Apart, so that images of the two models are not drawn with the same numbers."""


@dataclass(frozen=True)
class Streams:
    """Streams of a training: images to train on, and cases to validate on."""

    training: TrainingStream[Any]
    validation: ScoringStream[Any]
    generators: ReplayStream | None = None
    """Generated images of the training, where they come from other processes or from a pool."""

    def close(self) -> None:
        """End the processes that make images; called when no more batches are needed."""
        if self.generators is not None:
            self.generators.close()


def make_streams(
    recipe: Recipe, data: PreparedData | None, device: torch.device | str, cache: Path
) -> Streams:
    """Make the streams of a recipe; training and validation have no data in common.

    Args:
        recipe: which data, and how many to a batch.
        data: prepared label maps and lesions; None for a recipe without synthetic images.
        device: where images are computed.
        cache: folder that prepared real scans are kept in.

    Raises:
        RecipeError: a pattern of the recipe matches no brain, brains of training are in validation too, or the
            recipe needs a folder that it does not name.
        DataError: a part of the data is empty or missing.
    """
    if (of_task := _streams_of_task(recipe, data, device)) is not None:
        return of_task
    synthetic = _synthetic_streams(recipe, _needed(data), device) if recipe.is_synthetic else None
    real = _real_streams(recipe, recipe.real, device, cache) if recipe.real is not None else None
    if synthetic is None or real is None or recipe.real is None:
        only = synthetic or real
        assert only is not None, "a recipe has images of some kind"
        volumes, validation = only.training, only.validation
    else:
        volumes = _with_annotated(synthetic.training, real.training, recipe.real.fraction, recipe)
        validation = JoinedValidation([synthetic.validation, real.validation])
    made = synthetic.training if synthetic and isinstance(synthetic.training, ReplayStream) else None
    if data is None or (recipe.slabs is None and recipe.scans is None):
        return Streams(volumes, validation, made)
    bank = split_lesions(data, "train", recipe.synthesis.lesion.minimum_volume_ml)
    return Streams(with_real_images(volumes, recipe, data, bank, device), validation, made)


_Training: TypeAlias = SyntheticStream | ReplayStream | RealStream | MixedStream


@dataclass(frozen=True)
class _ItemStreams:
    """Streams of one kind of images, whose items can be requested one by one."""

    training: _Training
    validation: ValidationStream


def _synthetic_streams(recipe: Recipe, data: PreparedData, device: torch.device | str) -> _ItemStreams:
    check_unseen(data, recipe)
    config = validation_config(recipe.synthesis.shape, recipe.synthesis.spacing_mm)
    if data.table.has_clusters:
        config = recipe.synthesis  # the benchmark's contrasts and lesions are those of brains
    unseen = make_synthesizer(data, recipe, "validation", config, device)
    training = _generated_stream(recipe, data, device)
    return _ItemStreams(training, SyntheticValidation(unseen, _validation_cases(recipe, data)))


def _generated_stream(
    recipe: Recipe, data: PreparedData, device: torch.device | str
) -> SyntheticStream | MixedStream | ReplayStream:
    """Return the synthetic images for training, made where and used as often as the recipe says."""
    places, batch_size = generator_places(recipe.training, device), recipe.training.batch_size
    if recipe.replay is None and not places:
        return synthetic_stream(recipe, data, device)
    # Without replay, images are made in the batches in which the trainer would make them: the same to the last bit.
    once = ReplayConfig(reuse=1, pool=1, together=1 if recipe.real is not None else batch_size)
    replay = recipe.replay or once
    source: ImageSource
    if places:
        load_heads(
            data, part_brains(data, recipe, "train"), recipe.synthesis.spacing_mm
        )  # into the cache, once
        opener = partial(open_synthetic_stream, recipe, data.folder)
        source = GeneratorProcesses(opener, places, recipe.synthesis.shape, replay.together)
    else:
        source = LocalSource(synthetic_stream(recipe, data, device), replay.together)
    return ReplayStream(source, replay, batch_size, recipe.seed, device, stride=process_count())


def _with_annotated(made: _Training, real: _Training, fraction: float, recipe: Recipe) -> MixedStream:
    """Mix annotated scans into synthetic images; no image that is to be replayed is left out for them."""
    main: ItemStream = made if recipe.replay is None else WithoutGaps(made, fraction)
    return MixedStream(main, real, fraction, recipe.training.batch_size)


def generator_places(config: TrainingConfig, device: torch.device | str) -> list[str]:
    """Return the devices of the processes that make images; none if the trainer makes them itself.

    Raises:
        RecipeError: processes on a GPU are requested where there is none.
    """
    place = torch.device(device)
    if config.gpu_generators and place.type != "cuda":
        raise RecipeError(
            f"training.gpu_generators: expected 0 where the network is trained on the {place.type}, got "
            f"{config.gpu_generators}; use training.generators"
        )
    return [str(place)] * config.gpu_generators + ["cpu"] * config.generators


def open_synthetic_stream(recipe: Recipe, folder: Path, device: str) -> SyntheticStream | MixedStream:
    """Open the same stream as `synthetic_stream`, in a process that has nothing but the folder of the data."""
    return synthetic_stream(recipe, PreparedData.load(folder), device)


def synthetic_stream(
    recipe: Recipe, data: PreparedData, device: torch.device | str
) -> SyntheticStream | MixedStream:
    """Return the synthetic images of a recipe's training, each made once."""
    synthesizer = make_synthesizer(data, recipe, "train", recipe.synthesis, device)
    kind = SyntheticStream if recipe.maps is None else QuantitativeStream
    plain = kind(synthesizer, recipe.training.batch_size, recipe.seed)
    return _with_physics(plain, synthesizer, recipe, device) if recipe.physics_fraction else plain


def _with_physics(
    main: SyntheticStream, synthesizer: Synthesizer, recipe: Recipe, device: torch.device | str
) -> MixedStream:
    """Return the stream with a part of its images made by the physics model, from the same heads and lesions."""
    config = recipe.physics_synthesis
    physics = Synthesizer(synthesizer.heads, synthesizer.lesions, synthesizer.table, config, device)
    batch_size, seed = recipe.training.batch_size, stream_seed(recipe.seed, 0, _PHYSICS)
    return MixedStream(main, SyntheticStream(physics, batch_size, seed), recipe.physics_fraction, batch_size)


def _validation_cases(recipe: Recipe, data: PreparedData) -> list[ValidationCase]:
    """Prepare the validation cases, with lesions unless they are not a class; of random contrast for clusters."""
    if recipe.lesion_class is None:
        cases = lesion_free_cases(recipe.validation.per_family * len(VALIDATION_FAMILIES))
        return [replace(case, family="random") for case in cases] if data.table.has_clusters else cases
    return validation_cases(recipe.validation.per_family)


def _real_streams(
    recipe: Recipe, config: RealConfig, device: torch.device | str, cache: Path
) -> _ItemStreams:
    # Other recipes do without what these need: packages for DICOM files and for evaluation.
    from strokelabel.fit.data.annotated_scans.augmentation import RealAugmentation
    from strokelabel.fit.data.annotated_scans.scans import prepare_real, split_subjects

    dataset = prepare_real(config, recipe.synthesis.spacing_mm, cache)
    parts = split_subjects(config, dataset.subjects)
    augmentation = RealAugmentation(
        recipe.synthesis.shape, recipe.synthesis.deformation, config.augmentation, device
    )
    lesion = recipe.lesion_class
    assert lesion is not None, "a recipe with real scans has a lesion class"
    seen, unseen = (dataset.of_subjects(parts[part]).scans for part in ("train", "validation"))
    return _ItemStreams(
        RealStream(seen, augmentation, lesion, recipe.training.batch_size, recipe.seed),
        RealValidation(unseen, recipe.network.multiple, lesion, device),
    )


def _streams_of_task(recipe: Recipe, data: PreparedData | None, device: torch.device | str) -> Streams | None:
    """Return the streams of a task that is not segmentation; None for segmentation."""
    if recipe.estimation is not None:
        return _estimation_streams(recipe, recipe.estimation, _needed(data), device)
    if recipe.label_noise is not None:
        return _label_noise_streams(recipe, recipe.label_noise, _needed(data), device)
    if recipe.predictions is not None:
        return _predicted_streams(recipe, recipe.predictions, _needed(data), device)
    if recipe.segmentation_errors is not None:
        return _quality_streams(recipe, recipe.segmentation_errors, _needed(data), device)
    if recipe.pretraining is not None:
        return Streams(*pair_streams(recipe, _needed(data), *_both_parts(recipe, _needed(data), device)))
    return None


def _estimation_streams(
    recipe: Recipe, config: EstimationConfig, data: PreparedData, device: torch.device | str
) -> Streams:
    """Return streams of simulated scans with their maps."""
    seen, unseen = (EstimationSynthesizer(one, config.mprage) for one in _both_parts(recipe, data, device))
    return Streams(
        EstimatorStream(seen, recipe.training.batch_size, recipe.seed),
        EstimatorValidation(unseen, recipe.validation.per_family),
    )


def _label_noise_streams(
    recipe: Recipe, config: LabelNoiseConfig, data: PreparedData, device: torch.device | str
) -> Streams:
    """Return streams of label maps with errors; validation has other brains and lesions, and half its maps correct."""
    _refuse_generators(recipe, device)
    check_unseen(data, recipe)
    seen, unseen = (
        LabelNoiseGenerator(
            load_heads(data, part_brains(data, recipe, part), recipe.synthesis.spacing_mm),
            split_lesions(data, part, recipe.synthesis.lesion.minimum_volume_ml),
            recipe.synthesis,
            config,
        )
        for part in ("train", "validation")
    )
    return Streams(
        LabelNoiseStream(seen, recipe.training.batch_size, recipe.seed),
        LabelNoiseValidation(unseen, recipe.validation.per_family * len(VALIDATION_FAMILIES)),
    )


def _quality_streams(
    recipe: Recipe, config: SegmentationErrorConfig, data: PreparedData, device: torch.device | str
) -> Streams:
    """Return streams of images with wrong parcellations."""
    seen, unseen = (QualityCases(one, config) for one in _both_parts(recipe, data, device))
    return Streams(
        QualityStream(seen, recipe.training.batch_size, recipe.seed),
        QualityValidation(unseen, recipe.validation.per_family * len(VALIDATION_FAMILIES)),
    )


def _predicted_streams(
    recipe: Recipe, config: PredictionsConfig, data: PreparedData, device: torch.device | str
) -> Streams:
    """Return streams of predicted maps with the true ones."""
    seen, unseen = (PredictedMaps(one, config) for one in _both_parts(recipe, data, device))
    return Streams(
        PredictedMapsStream(seen, config.images, recipe.training.batch_size, recipe.seed),
        PredictedMapsValidation(unseen, recipe.validation.per_family * len(VALIDATION_FAMILIES)),
    )


def _both_parts(recipe: Recipe, data: PreparedData, device: torch.device | str) -> Iterator[Synthesizer]:
    """Yield the generators of training and of validation, which differ only in their brains and lesions."""
    _refuse_generators(recipe, device)
    check_unseen(data, recipe)
    for part in ("train", "validation"):
        yield make_synthesizer(data, recipe, part, recipe.synthesis, device)


def _refuse_generators(recipe: Recipe, device: torch.device | str) -> None:
    if generator_places(recipe.training, device):
        raise RecipeError(
            f"training.generators: expected 0 for the task {recipe.task}, whose trainer makes all of its data"
        )


def _needed(data: PreparedData | None) -> PreparedData:
    if data is None:
        raise DataError("expected prepared label maps and lesions for synthetic images, got none")
    return data
