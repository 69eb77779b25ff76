"""Value of pre-training: retrieval across contrasts, and trainings that start from the encoder.

    python training/benchmarks/pretraining.py training/benchmarks/pretraining.yaml --prepared prepared \\
        -o runs/pretraining --document training/docs/pretraining.md

1. Every arm of the plan is pre-trained for the same number of steps, from the same random weights, on the same
   subjects.
2. Retrieval: heads of brains that no arm has seen, each deformed into another head, are shown in one contrast each,
   and again in another one, moved and disturbed. Which of the heads is this? The nearest by the cosine of its
   projection; and by that of the averages that the projector is given. Random weights are asked too.
3. Downstream (`pretraining_downstream.py`): tissues, lesions and denoising, trained on all, a tenth and a hundredth of
   the images, from a pre-trained encoder that is free or frozen, and from random weights.

Finished parts are not repeated and an interrupted training continues, so the command can be stopped and given again.
Written are retrieval.csv, downstream.csv and tables.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
import yaml
from documents import put_into_document
from pretraining_downstream import Downstream
from pretraining_report import tables
from torch import Tensor

from strokelabel.fit.data.recipe_streams import make_synthesizer
from strokelabel.fit.data.synthetic_streams import stream_seed
from strokelabel.fit.export import export_weights
from strokelabel.fit.pretraining.config import Arm
from strokelabel.fit.pretraining.views import ContrastPairs, PairBatch, joined
from strokelabel.fit.recipe import Recipe, load_recipe
from strokelabel.fit.train import describe_model, train_recipe
from strokelabel.io.atomic import atomic_write_text
from strokelabel.networks.contrastive import ContrastiveNetwork
from strokelabel.networks.weights import load_weights, make_network
from strokelabel.synthesis.prepared.dataset import PreparedData

RANDOM = "random weights"
"""Name of the arm that is not trained."""

_RETRIEVAL_SEED = 90_000
"""Beyond the seeds that training validates on."""


@dataclass(frozen=True)
class Place:
    """Data that the benchmark reads, and the folder that it writes."""

    data: PreparedData
    folder: Path
    device: str


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what is missing, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("plan", type=Path, help="YAML: pretraining, retrieval, downstream")
    parser.add_argument("--prepared", type=Path, default=Path("prepared"))
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/pretraining"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--document", type=Path, help="Markdown page whose results are replaced")
    parser.add_argument("--tables", action="store_true", help="no training: the tables of what there is")
    options = parser.parse_args(arguments)
    plan = yaml.safe_load(options.plan.read_text(encoding="utf-8"))
    torch.set_num_threads(1)
    if not options.tables:
        place = Place(PreparedData.load(options.prepared), options.output, options.device)
        weights = {arm: pretrained(arm, plan["pretraining"], place) for arm in plan["pretraining"]["arms"]}
        retrieval(weights, plan, place)
        Downstream(plan["downstream"], place.data, place.folder, weights, place.device).finish()
    text = tables(plan, options.output)
    atomic_write_text(options.output / "tables.md", text)
    print(text)
    if options.document is not None:
        put_into_document(text, options.document)


def arm_recipe(arm: Arm, plan: dict[str, Any]) -> Recipe:
    """Return the recipe of an arm: the plan's, with its changes."""
    content = load_recipe(plan["recipe"]).model_dump(mode="json")
    for key, value in {**plan["changes"], "pretraining.arm": arm}.items():
        *sections, last = key.split(".")
        section = content
        for name in sections:
            section = section[name]
        section[last] = value
    return Recipe.model_validate(content | {"name": f"contrast-squared-{arm}"})


def pretrained(arm: Arm, plan: dict[str, Any], place: Place) -> Path:
    """Train an arm, unless that is done, and return its weights with the lowest loss in validation."""
    recipe, folder = arm_recipe(arm, plan), place.folder / arm
    weights = folder / "model.safetensors"
    if not weights.exists():
        if not train_recipe(recipe, place.data, folder, device=place.device).finished:
            raise SystemExit(f"{folder}: stopped; give the command again to continue")
        export_weights(folder, describe_model(recipe, weights, "0", "Apache-2.0"), weights)
    return weights


def retrieval(weights: dict[Arm, Path], plan: dict[str, Any], place: Place) -> None:
    """Ask every network which head is which, unless that is done; writes retrieval.csv."""
    path = place.folder / "retrieval.csv"
    if path.exists():
        return
    recipe = arm_recipe("seq-invariant", plan["pretraining"])
    sets = [
        asked_heads(recipe, place, plan["retrieval"]["heads"], number)
        for number in range(plan["retrieval"]["sets"])
    ]
    torch.manual_seed(recipe.seed)
    networks: dict[str, torch.nn.Module] = {RANDOM: make_network(recipe.network).eval()}
    networks |= {arm: load_weights(file)[0] for arm, file in weights.items()}
    rows = [
        (name, feature, number, question, right)
        for name, network in networks.items()
        for number, pairs in enumerate(sets)
        for feature, vectors in described(network, pairs).items()
        for question, right in enumerate(top_1(vectors))
    ]
    table = pd.DataFrame(rows, columns=["arm", "feature", "set", "question", "right"])
    atomic_write_text(path, table.to_csv(index=False))


def asked_heads(recipe: Recipe, place: Place, heads: int, number: int) -> PairBatch:
    """Return heads of unseen brains, each in two contrasts; the same ones for every network."""
    assert recipe.pretraining is not None
    unseen = make_synthesizer(place.data, recipe, "validation", recipe.synthesis, "cpu")
    pairs = ContrastPairs(unseen, recipe.pretraining)
    return joined(
        [pairs.generate(stream_seed(_RETRIEVAL_SEED, number * heads + head)) for head in range(heads)]
    )


@torch.no_grad()
def described(network: torch.nn.Module, pairs: PairBatch) -> dict[str, Tensor]:
    """Return what a network says of images (n, 1, x, y, z), by the name of the feature: (n, length) each."""
    assert isinstance(network, ContrastiveNetwork)
    found = [(network(image[None]).projection, network.averages(image[None])) for image in pairs.image]
    return {
        name: torch.cat(vectors)
        for name, vectors in zip(("projection", "averages"), zip(*found, strict=True), strict=True)
    }


def top_1(vectors: Tensor) -> list[bool]:
    """Return for each view whether, of all heads in their other view, its own is the nearest.

    Args:
        vectors: (2 * heads, length), the first views of all heads, then the second ones.

    Returns:
        One answer per view: first the first views among the second ones, then the other way round.
    """
    first, second = F.normalize(vectors, dim=1).chunk(2)
    similarity = first @ second.T
    own = torch.arange(len(first))
    return [*(similarity.argmax(dim=1) == own).tolist(), *(similarity.argmax(dim=0) == own).tolist()]


if __name__ == "__main__":
    main()
