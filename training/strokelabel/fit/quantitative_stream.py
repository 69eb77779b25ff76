"""Images simulated from quantitative volumes as a training stream (qATLAS)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from strokelabel.errors import RecipeError
from strokelabel.fit.maps_config import MapsConfig
from strokelabel.fit.recipe import Recipe
from strokelabel.fit.streams import Batch
from strokelabel.fit.synthetic_stream import SyntheticStream, stream_seed
from strokelabel.labels import LabelTable
from strokelabel.synthesis.config import ContrastConfig, SynthesisConfig
from strokelabel.synthesis.generator import Synthesizer
from strokelabel.synthesis.head import Head
from strokelabel.synthesis.prepared import PreparedData
from strokelabel.synthesis.quantitative_cache import load_quantitative_heads
from strokelabel.synthesis.quantitative_head import QuantitativeHead, simulate_quantitative_head

_SIMULATION_SEED = 7
"""Apart from a recipe's own, so that all recipes have the same simulated subjects."""

_LOG = logging.getLogger(__name__)


class QuantitativeStream(SyntheticStream):
    """A synthetic stream over quantitative heads: those whose tissues nobody labelled give partial items.

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
        """The items at these positions."""
        synthetic = self.synthesizer.generate([stream_seed(self.seed, index) for index in indices])
        partial = torch.tensor([self._partial[p.head] for p in synthetic.parameters])
        return Batch(synthetic.image, synthetic.target, partial)


def with_maps(recipe: Recipe, folder: Path | None) -> Recipe:
    """A recipe with the folder of maps that somebody names, in place of its own.

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
    """The heads that images are simulated from, all of them kept in memory.

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
    """Several subjects from each label map, and a line in the log that says so."""
    _LOG.warning(
        "no folder of quantitative maps is named (--maps): training on maps simulated from %d label maps",
        len(heads),
    )
    return [
        simulate_quantitative_head(head, table, config, stream_seed(_SIMULATION_SEED, index * count + number))
        for index, head in enumerate(heads)
        for number in range(count)
    ]
