"""Synthetic images, quantitative maps with scans made from them, and label maps with errors, as streams."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from strokelabel.errors import RecipeError
from strokelabel.fit.config import MapsConfig
from strokelabel.fit.data.stream import Batch
from strokelabel.fit.estimation import EstimatorBatch
from strokelabel.fit.recipe import Recipe
from strokelabel.labels import LabelTable
from strokelabel.synthesis.anatomy.head import Head
from strokelabel.synthesis.benchmark import ValidationCase, make_case
from strokelabel.synthesis.config import ContrastConfig, SynthesisConfig
from strokelabel.synthesis.generator import Synthesizer, SyntheticBatch
from strokelabel.synthesis.label_noise.generator import LabelNoiseGenerator, NoisyLabels
from strokelabel.synthesis.prepared.dataset import PreparedData
from strokelabel.synthesis.quantitative.files import load_quantitative_heads
from strokelabel.synthesis.quantitative.heads import QuantitativeHead, simulate_quantitative_head
from strokelabel.synthesis.quantitative.samples import EstimationSample, EstimationSynthesizer


def stream_seed(seed: int, index: int, purpose: str = "") -> int:
    """Seed of the item at this position of a stream: well mixed, and the same on every machine.

    Args:
        seed: of the stream.
        index: position.
        purpose: what is drawn, where one position needs several seeds.
    """
    digest = hashlib.sha256(f"{seed}/{index}{purpose}".encode()).digest()
    return int.from_bytes(digest[:7], "little") + 2**40


class SyntheticStream:
    """An endless stream of synthetic batches.

    Args:
        synthesizer: makes the images.
        batch_size: items per batch.
        seed: decides every image of the stream.
    """

    def __init__(self, synthesizer: Synthesizer, batch_size: int, seed: int) -> None:
        self.synthesizer = synthesizer
        self.batch_size = batch_size
        self.seed = seed

    def batch(self, step: int) -> Batch:
        """Return the batch of a step; a pure function of the step and the stream's seed."""
        first = step * self.batch_size
        return self.items(range(first, first + self.batch_size))

    def items(self, indices: Sequence[int]) -> Batch:
        """Return the items at these positions of the stream, as a batch; each depends on its own position alone."""
        return as_batch(self.synthesizer.generate([stream_seed(self.seed, index) for index in indices]))


class SyntheticValidation:
    """Synthetic validation set as a stream of single images.

    Args:
        synthesizer: with the validation settings, unseen heads and unseen lesions.
        cases: which images.
    """

    def __init__(self, synthesizer: Synthesizer, cases: list[ValidationCase]) -> None:
        self.synthesizer = synthesizer
        self.cases = cases

    def __len__(self) -> int:
        return len(self.cases)

    def batch(self, index: int) -> Batch:
        """Return the image at this position."""
        return as_batch(make_case(self.synthesizer, self.cases[index]))


def as_batch(synthetic: SyntheticBatch) -> Batch:
    """Return a synthetic batch as the training loop takes it; every voxel's class is known."""
    partial = torch.zeros(len(synthetic.image), dtype=torch.bool)
    return Batch(synthetic.image, synthetic.target, partial)


_SIMULATION_SEED = 7
"""Apart from a recipe's own, so that all recipes have the same simulated subjects."""

_LOG = logging.getLogger(__name__)


class QuantitativeStream(SyntheticStream):
    """A synthetic stream over quantitative heads: those without tissue labels give partial items.

    Args:
        synthesizer: over quantitative heads only.
        batch_size: items per batch.
        seed: decides every image of the stream.
    """

    def __init__(self, synthesizer: Synthesizer, batch_size: int, seed: int) -> None:
        super().__init__(synthesizer, batch_size, seed)
        heads = synthesizer.heads
        self._partial = [isinstance(head, QuantitativeHead) and not bool(head.labelled) for head in heads]

    def items(self, indices: Sequence[int]) -> Batch:
        """Return the items at these positions."""
        synthetic = self.synthesizer.generate([stream_seed(self.seed, index) for index in indices])
        partial = torch.tensor([self._partial[p.head] for p in synthetic.parameters])
        return Batch(synthetic.image, synthetic.target, partial)


def with_maps(recipe: Recipe, folder: Path | None) -> Recipe:
    """Return a recipe with the given folder of maps in place of its own.

    Raises:
        RecipeError: the recipe has no use for maps.
    """
    if folder is None:
        return recipe
    if recipe.maps is None:
        raise RecipeError(
            f"{recipe.name}: expected a recipe with a section `maps` for --maps, such as qatlas"
        )
    return recipe.model_copy(update={"maps": recipe.maps.model_copy(update={"folder": str(folder)})})


def quantitative_heads(
    maps: MapsConfig, heads: list[Head], data: PreparedData, config: SynthesisConfig
) -> list[Head]:
    """Return the heads that images are simulated from, all of them in memory.

    Args:
        maps: the folder of their maps, or how many subjects to simulate where there is none.
        heads: labelled heads to simulate maps for.
        data: prepared data; heads of a folder are kept beside it.
        config: voxel size, and the priors of simulated maps.

    Raises:
        DataError: the folder holds no maps that can be used.
    """
    if maps.folder is None:
        return _simulated_heads(heads, data.table, config.contrast, maps.simulated_per_brain)
    cache = Path(data.folder) / "quantitative-heads"
    found = load_quantitative_heads(Path(maps.folder), config.spacing_mm, cache)
    unlabelled = sum(not bool(head.labelled) for head in found)
    _LOG.info("%s: quantitative maps of %d heads, %d without tissues", maps.folder, len(found), unlabelled)
    return list(found)


def _simulated_heads(heads: list[Head], table: LabelTable, config: ContrastConfig, count: int) -> list[Head]:
    """Simulate several subjects from each label map, and log it."""
    _LOG.warning(
        "no folder of quantitative maps is named (--maps): training on maps simulated from %d label maps",
        len(heads),
    )
    return [
        simulate_quantitative_head(head, table, config, stream_seed(_SIMULATION_SEED, index * count + number))
        for index, head in enumerate(heads)
        for number in range(count)
    ]


_VALIDATION_SEED = 40_000
"""First seed of the validation scans; training seeds are hashed and never this small."""


class EstimatorStream:
    """An endless stream of simulated scans.

    Args:
        synthesizer: makes the scans.
        batch_size: items per batch.
        seed: decides every scan of the stream.
    """

    def __init__(self, synthesizer: EstimationSynthesizer, batch_size: int, seed: int) -> None:
        self.synthesizer = synthesizer
        self.batch_size = batch_size
        self.seed = seed

    def batch(self, step: int) -> EstimatorBatch:
        """Return the batch of a step; a pure function of the step and the stream's seed."""
        first = step * self.batch_size
        seeds = [stream_seed(self.seed, first + i) for i in range(self.batch_size)]
        return _as_batch(self.synthesizer.generate(seeds))


class EstimatorValidation:
    """Simulated scans of unseen heads with unseen lesions, the same ones every time, one to a batch.

    Args:
        synthesizer: with heads and lesions that training does not see.
        count: how many.
    """

    def __init__(self, synthesizer: EstimationSynthesizer, count: int) -> None:
        self.synthesizer = synthesizer
        self.count = count

    def __len__(self) -> int:
        return self.count

    def batch(self, index: int) -> EstimatorBatch:
        """Return the scan at this position."""
        return _as_batch(self.synthesizer.generate([_VALIDATION_SEED + index]))


def _as_batch(sample: EstimationSample) -> EstimatorBatch:
    return EstimatorBatch(sample.image, sample.maps)


_MAP_VALIDATION_SEED = 60_000
"""First seed of the validation; training seeds are hashed and never this small."""


class LabelNoiseStream:
    """An endless stream of label maps with errors, as images, and the correct ones, as targets.

    Args:
        generator: makes them.
        batch_size: items per batch.
        seed: decides every label map of the stream.
    """

    def __init__(self, generator: LabelNoiseGenerator, batch_size: int, seed: int) -> None:
        self.generator, self.batch_size, self.seed = generator, batch_size, seed

    def batch(self, step: int) -> Batch:
        """Return the batch of a step; a pure function of the step and the stream's seed."""
        first = step * self.batch_size
        items, variations = range(first, first + self.batch_size), self.generator.noise.variations
        anatomies = {
            number: self.generator.sample_anatomy(stream_seed(self.seed, number, "anatomy"))
            for number in sorted({item // variations for item in items})
        }
        return _as_map_batch(
            self.generator.apply(
                [
                    self.generator.sample(stream_seed(self.seed, item), anatomy=anatomies[item // variations])
                    for item in items
                ]
            )
        )


class LabelNoiseValidation:
    """Label maps of unseen heads, the same ones every time, one to a batch: with errors and correct, in turn.

    Args:
        generator: with heads and lesions that training does not see.
        count: how many.
    """

    def __init__(self, generator: LabelNoiseGenerator, count: int) -> None:
        self.generator, self.count = generator, count

    def __len__(self) -> int:
        return self.count

    def batch(self, index: int) -> Batch:
        """Return the label map at this position."""
        parameters = self.generator.sample(_MAP_VALIDATION_SEED + index // 2, correct=index % 2 == 1)
        return _as_map_batch(self.generator.apply([parameters]))


def _as_map_batch(noisy: NoisyLabels) -> Batch:
    return Batch(noisy.maps, noisy.target, torch.zeros(len(noisy.maps), dtype=torch.bool))
