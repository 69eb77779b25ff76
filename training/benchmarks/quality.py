"""Predicted against true Dice of wrong parcellations of unseen brains.

    python training/benchmarks/quality.py --prepared prepared --model synthseg-quality

Images of brains that training does not see, their true parcellations made wrong as the recipe draws it, and with one
kind of error at a time; the seeds are not those of the training's validation. For each group of structures, for all
together, and for each kind of error: Pearson's correlation r of predicted and true Dice, the mean absolute error, and
of the groups whose true Dice is below 0.65, and of the others, the share that prediction would warn of. The peer is a
constant, the median of the true Dice: its error is in the column beside. Accepted when r is at least 0.6 over all
groups.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from strokelabel.errors import RecipeError
from strokelabel.fit.data.recipe_streams import check_unseen, make_synthesizer
from strokelabel.fit.quality import QualityCases, correlation
from strokelabel.fit.recipe import Recipe, load_recipe
from strokelabel.inference.quality import LOW_DICE
from strokelabel.networks.weights import load_weights
from strokelabel.registry import QUALITY_MODEL
from strokelabel.structures import QUALITY_GROUPS
from strokelabel.synthesis.label_noise.segmentation_errors import SegmentationErrorConfig
from strokelabel.synthesis.prepared.dataset import PreparedData

FIRST_SEED = 90_000
LEAST_CORRELATION = 0.6

ERRORS = ("moved", "border", "swapped", "jigsaw", "cut")
_NONE = {"correct_probability": 0.0} | {f"{name}_probability": 0.0 for name in ERRORS}


@dataclass(frozen=True)
class Scores:
    """Predicted and true Dice, each (parcellations, groups); NaN for a group that a case does not have."""

    predicted: Tensor
    true: Tensor


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--prepared", type=Path, default=Path("prepared"))
    parser.add_argument("--model", default=QUALITY_MODEL, help="name of a model, or a weights file")
    parser.add_argument("--recipe", default=QUALITY_MODEL)
    parser.add_argument(
        "--images", type=int, default=48, help="images, each with as many parcellations as the recipe has"
    )
    arguments = parser.parse_args()
    recipe, data = load_recipe(arguments.recipe), PreparedData.load(arguments.prepared)
    network, spec = load_weights(arguments.model)
    if recipe.segmentation_errors is None or spec.spacing_mm != recipe.synthesis.spacing_mm:
        raise RecipeError(f"{recipe.name}: expected the recipe of a quality model at {spec.spacing_mm:g} mm")
    check_unseen(data, recipe)
    print(f"{spec.name} {spec.version}, step {spec.training_step}, {arguments.images} images\n")
    scores = measure(network, cases(recipe, data, recipe.segmentation_errors), arguments.images)
    print_header("group")
    for number, name in enumerate(QUALITY_GROUPS):
        report(name, Scores(scores.predicted[:, number], scores.true[:, number]))
    reached = report("all", scores)
    print()
    print_header("errors")
    for kind in ERRORS:
        changes = {f"{kind}_probability": 1.0}
        report(
            kind,
            measure(
                network, cases(recipe, data, only(recipe.segmentation_errors, changes)), arguments.images // 2
            ),
        )
    print(f"\naccepted: {reached >= LEAST_CORRELATION} (r {reached:.3f}, at least {LEAST_CORRELATION})")


def only(config: SegmentationErrorConfig, changes: dict[str, Any]) -> SegmentationErrorConfig:
    """Return the settings of errors of one kind alone."""
    return SegmentationErrorConfig.model_validate(config.model_dump() | _NONE | changes)


def cases(recipe: Recipe, data: PreparedData, errors: SegmentationErrorConfig) -> QualityCases:
    """Return the maker of images of brains and lesions that the recipe does not train on."""
    return QualityCases(make_synthesizer(data, recipe, "validation", recipe.synthesis, "cpu"), errors)


@torch.no_grad()
def measure(network: torch.nn.Module, maker: QualityCases, images: int) -> Scores:
    """Return the scores of some images with several parcellations each."""
    predicted, true = [], []
    for index in range(images):
        first = FIRST_SEED + index * maker.errors.variations
        batch = maker.generate(FIRST_SEED + index, range(first, first + maker.errors.variations))
        predicted.append(network(batch.image))
        true.append(batch.target)
    return Scores(torch.cat(predicted), torch.cat(true))


def print_header(first: str) -> None:
    """Print the header of a table."""
    print(
        f"| {first} | r | mean absolute error | of a constant | warned, Dice < {LOW_DICE:g} | warned, others | n |"
    )
    print("|---|---|---|---|---|---|---|")


def report(name: str, scores: Scores) -> float:
    """Print a row; return the correlation."""
    known = ~scores.true.isnan()
    predicted, true = scores.predicted[known], scores.true[known]
    found = correlation(predicted, true)
    error, constant = (predicted - true).abs().mean(), (true - true.median()).abs().mean()
    low = true < LOW_DICE
    warned = [share(predicted[part] < LOW_DICE) for part in (low, ~low)]
    print(
        f"| {name} | {found:.3f} | {error:.3f} | {constant:.3f} | {' | '.join(warned)} | {len(true)} |",
        flush=True,
    )
    return found


def share(values: Tensor) -> str:
    """Return a share in per cent, n/a of none."""
    return f"{100 * values.float().mean():.0f} %" if len(values) else "n/a"


if __name__ == "__main__":
    main()
