"""Dice that the denoising autoencoder of test-time adaptation adds to wrong label maps, and takes from correct ones.

    python training/benchmarks/denoiser.py --prepared prepared --denoiser denoiser

Label maps of brains and lesions that training does not see, each with one kind of error at a time and with all of
them, as the recipe draws them; the seeds are not those of the training's validation. Mean Dice over the foreground
classes, and Dice of the lesion, before and after; the peer is the map as it was given. Accepted when all errors
together gain at least 0.15, and correct maps lose at most 0.02.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from strokelabel.errors import RecipeError
from strokelabel.fit.data.recipe_streams import check_unseen, part_brains, split_lesions
from strokelabel.fit.recipe import Recipe, load_recipe
from strokelabel.fit.segmentation import foreground_dice, mask_dice
from strokelabel.labels import TissueClass
from strokelabel.networks.weights import load_weights
from strokelabel.synthesis.anatomy.head import load_heads
from strokelabel.synthesis.label_noise.errors import LabelNoiseConfig
from strokelabel.synthesis.label_noise.generator import LabelNoiseGenerator, NoisyLabels
from strokelabel.synthesis.prepared.dataset import PreparedData

FIRST_SEED = 80_000
LEAST_GAIN, MOST_LOSS = 0.15, 0.02

_NONE = {"correct_probability": 0.0} | {
    f"{name}_probability": 0.0 for name in ("jigsaw", "dropped", "moved", "resized", "invented")
}
KINDS: dict[str, dict[str, Any]] = {
    "correct": {},
    "jigsaw": {"jigsaw_probability": 1.0},
    "lesions moved": {"moved_probability": 1.0},
    "lesions resized": {"resized_probability": 1.0},
    "lesions invented": {"invented_probability": 1.0},
}
"""Errors of each row but the last, which has all of them as the recipe draws them."""


@dataclass(frozen=True)
class Score:
    """Dice of one label map before and after: mean over the foreground classes, and of the lesion."""

    given: float
    found: float
    given_lesion: float
    found_lesion: float


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--prepared", type=Path, default=Path("prepared"))
    parser.add_argument("--denoiser", default="denoiser", help="name of a model, or a weights file")
    parser.add_argument("--recipe", default="denoiser")
    parser.add_argument("--count", type=int, default=24, help="label maps of each kind")
    arguments = parser.parse_args()
    recipe, data = load_recipe(arguments.recipe), PreparedData.load(arguments.prepared)
    network, spec = load_weights(arguments.denoiser)
    if recipe.label_noise is None or spec.spacing_mm != recipe.synthesis.spacing_mm:
        raise RecipeError(f"{recipe.name}: expected the recipe of a denoiser at {spec.spacing_mm:g} mm")
    print(
        f"{spec.name} {spec.version}, step {spec.training_step}, {arguments.count} label maps of each kind\n"
    )
    print("| errors | Dice given | Dice denoised | difference | lesion given | lesion denoised |")
    print("|---|---|---|---|---|---|")
    gains = {}
    for kind, errors in [
        *KINDS.items(),
        ("all", recipe.label_noise.model_dump() | {"correct_probability": 0.0}),
    ]:
        noise = LabelNoiseConfig.model_validate(_NONE | errors)
        scores = measure(network, generator(recipe, data, noise), arguments.count)
        gains[kind] = report(kind, scores)
    accepted = gains["all"] >= LEAST_GAIN and -gains["correct"] <= MOST_LOSS
    print(f"\naccepted: {accepted} (all {gains['all']:+.3f}, correct {gains['correct']:+.3f})")


def generator(recipe: Recipe, data: PreparedData, noise: LabelNoiseConfig) -> LabelNoiseGenerator:
    """Return the maker of label maps of brains and lesions that the recipe does not train on."""
    check_unseen(data, recipe)
    heads = load_heads(data, part_brains(data, recipe, "validation"), recipe.synthesis.spacing_mm)
    lesions = split_lesions(data, "validation", recipe.synthesis.lesion.minimum_volume_ml)
    return LabelNoiseGenerator(heads, lesions, recipe.synthesis, noise)


@torch.no_grad()
def measure(network: torch.nn.Module, maker: LabelNoiseGenerator, count: int) -> list[Score]:
    """Return the scores of some label maps."""
    scores = []
    for index in range(count):
        noisy = maker.generate([FIRST_SEED + index])
        before, after = noisy.maps.argmax(dim=1), network(noisy.maps).argmax(dim=1)
        mean, lesion = ((score(before, noisy), score(after, noisy)) for score in (mean_dice, lesion_dice))
        scores.append(Score(*mean, *lesion))
    return scores


def mean_dice(classes: torch.Tensor, noisy: NoisyLabels) -> float:
    """Return the mean Dice over the foreground classes."""
    return float(foreground_dice(classes, noisy.target, len(TissueClass)))


def lesion_dice(classes: torch.Tensor, noisy: NoisyLabels) -> float:
    """Return the Dice of the lesion; 1 where there is none, in truth and in what was found."""
    return float(mask_dice(classes == TissueClass.LESION, noisy.target == TissueClass.LESION))


def report(kind: str, scores: list[Score]) -> float:
    """Print a row; return the mean difference of the Dice."""
    given, found, given_lesion, found_lesion = np.array(
        [list(vars(score).values()) for score in scores]
    ).mean(0)
    print(
        f"| {kind} | {given:.3f} | {found:.3f} | {found - given:+.3f} | {given_lesion:.3f} | {found_lesion:.3f} |",
        flush=True,
    )
    return float(found - given)


if __name__ == "__main__":
    main()
