"""Score weights for parcellation on synthetic scans of a brain that they were not trained on, and draw some of them.

    python training/benchmarks/parcellation.py runs/synthseg/model.safetensors --brain brain-15 --picture example.png

Scans go through the predictor that `strokelabel predict` uses. Printed are the Dice of each structure against the
label map, and how many voxels of structures with a side were given to the other side.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from strokelabel.fit.data.recipe_streams import make_synthesizer
from strokelabel.fit.recipe import Recipe
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.parcellate import Parcellator
from strokelabel.io.atomic import atomic_path
from strokelabel.metrics import dice
from strokelabel.reports.validation import as_scan
from strokelabel.structures import Structure
from strokelabel.synthesis.benchmark import (
    VALIDATION_FAMILIES,
    ValidationCase,
    lesion_free_cases,
    make_case,
    validation_config,
)
from strokelabel.synthesis.generator import Synthesizer
from strokelabel.synthesis.prepared.dataset import PreparedData

FIELD_MM = np.array([176, 208, 176])
RIGHT_SHADE = 0.55
"""Colours of right-hand structures are darkened by this factor, so that a picture shows the sides."""


@dataclass(frozen=True)
class Scored:
    """One scan: (x, y, z) intensities, true and predicted FreeSurfer ids."""

    case: ValidationCase
    image: np.ndarray
    truth: np.ndarray
    found: np.ndarray


def main() -> None:
    """Score, print, draw."""
    arguments = parse_arguments()
    parcellator = Parcellator.from_model(
        arguments.weights, arguments.device, PredictionOptions(tta=arguments.tta)
    )
    synthesizer = unseen_synthesizer(parcellator, arguments)
    cases = lesion_free_cases(len(VALIDATION_FAMILIES) * arguments.per_family)
    scored = [score(parcellator, synthesizer, case, arguments.spacing_mm) for case in cases]
    report(parcellator.structures, scored)
    if arguments.picture:
        draw(parcellator.structures, scored[: len(VALIDATION_FAMILIES)], arguments.picture)


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("--prepared", type=Path, default=Path("prepared"))
    parser.add_argument("--brain", default="brain-15", help="a brain that was not trained on")
    parser.add_argument(
        "--per-family", type=int, default=2, help="scans of each contrast, thin and thick slices in turn"
    )
    parser.add_argument("--spacing-mm", type=float, default=2.0, help="voxel size of the scans")
    parser.add_argument("--tta", action="store_true", help="average over flips")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--picture", type=Path)
    return parser.parse_args()


def unseen_synthesizer(parcellator: Parcellator, arguments: argparse.Namespace) -> Synthesizer:
    """Return the scans of the held-out brain with the settings of the synthetic benchmark."""
    recipe = Recipe.model_validate(parcellator.spec.recipe)
    assert recipe.brains is not None
    brains = recipe.brains.model_copy(update={"validation": (arguments.brain,)})
    data = PreparedData.load(arguments.prepared)
    x, y, z = (int(side) for side in np.round(FIELD_MM / arguments.spacing_mm))
    config = validation_config((x, y, z), arguments.spacing_mm)
    return make_synthesizer(data, recipe.model_copy(update={"brains": brains}), "validation", config, "cpu")


def score(
    parcellator: Parcellator, synthesizer: Synthesizer, case: ValidationCase, spacing_mm: float
) -> Scored:
    """Make one scan and find its structures."""
    batch = make_case(synthesizer, case)
    scan = as_scan(batch, spacing_mm, f"case {case.index}")
    ids = np.array([structure.id for structure in parcellator.structures])
    return Scored(case, scan.data, ids[batch.target[0].numpy()], parcellator.parcellate(scan).labels)


def report(structures: tuple[Structure, ...], scored: list[Scored]) -> None:
    """Print Markdown: Dice of each structure, of each contrast, and errors of side."""
    table = np.array([[dice(s.truth == one.id, s.found == one.id) for one in structures[1:]] for s in scored])
    print(f"{len(scored)} scans\n\n| structure | mean Dice | lowest |\n|---|---|---|")
    for structure, values in zip(structures[1:], table.T, strict=True):
        print(f"| {structure.name} | {values.mean():.2f} | {values.min():.2f} |")
    print(f"| mean over structures | {table.mean():.2f} | {table.mean(axis=1).min():.2f} |")
    for family in VALIDATION_FAMILIES:
        rows = [index for index, s in enumerate(scored) if s.case.family == family]
        print(f"{family}: mean Dice {table[rows].mean():.2f}")
    print(f"voxels on the wrong side: {100 * wrong_side(structures, scored):.2f} %")


def wrong_side(structures: tuple[Structure, ...], scored: list[Scored]) -> float:
    """Return the share of voxels on the wrong side, of all that have a side in truth and prediction."""
    sides = np.zeros(100, dtype=int)
    for structure in structures:
        sides[structure.id] = {"left": -1, "midline": 0, "right": 1}[structure.side]
    products = np.concatenate([(sides[s.truth] * sides[s.found]).ravel() for s in scored])
    return float((products < 0).sum() / max(1, (products != 0).sum()))


def draw(structures: tuple[Structure, ...], scored: list[Scored], path: Path) -> None:
    """Draw coronal slices in rows: scan, label map, prediction; front view, the patient's left on the right."""
    colors = np.zeros((100, 3))
    for structure in structures[1:]:
        rgb = np.array([int(structure.color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        colors[structure.id] = rgb * (RIGHT_SHADE if structure.side == "right" else 1)
    figure = Figure(figsize=(6.6, 2.25 * len(scored)), facecolor="black", layout="tight")
    FigureCanvasAgg(figure)
    for row, one in enumerate(scored):
        level = int(
            np.isin(one.truth, (17, 53)).sum(axis=(0, 2)).argmax()
        )  # where the hippocampus is largest
        pictures = (one.image[:, level], colors[one.truth[:, level]], colors[one.found[:, level]])
        for column, (picture, title) in enumerate(
            zip(pictures, (one.case.family, "truth", "found"), strict=True)
        ):
            axes = figure.add_subplot(len(scored), 3, 3 * row + column + 1)
            axes.imshow(np.swapaxes(picture[::-1], 0, 1), cmap="gray", origin="lower")
            axes.set_title(title, color="white", fontsize=8)
            axes.axis("off")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


if __name__ == "__main__":
    main()
