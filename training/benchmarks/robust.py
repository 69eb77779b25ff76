"""Compare the robust mode of a parcellation with the plain one, on hard simulated scans of unseen brains.

    python training/benchmarks/robust.py synthseg --prepared prepared -o runs/robust

Every brain is simulated in T1w, T2w, FLAIR and random contrast, several times each, as low-field scanners see it: axial
slices of 7 mm, blur by motion, much noise. Both modes go through the predictor that `strokelabel predict` uses.

Scores go to `scores.csv` in the output folder, a row per scan, mode and structure; printed is a table of the mean Dice
of the scans: mean, fifth percentile and lowest, and the differences scan by scan. What is finished is not repeated.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from active_learning_cases import low_field
from parcellation import CONTRASTS, Case, check_settings, median, score, unseen_synthesizer

from strokelabel.fit.recipe import Recipe
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.parcellate import Parcellator
from strokelabel.io import Image
from strokelabel.io.atomic import atomic_write_text
from strokelabel.reports.validation import as_scan
from strokelabel.synthesis.benchmark import ValidationCase, case_parameters
from strokelabel.synthesis.generator import Synthesizer

SLICE_MM = 7.0
_SEED = 46_000
"""Seed of the first scan; none is a seed of another benchmark."""

PLAIN, ROBUST = "plain", "robust"


def main() -> None:
    """Score what is missing, and print the table."""
    arguments = parse_arguments()
    plain = Parcellator.from_model(arguments.weights, arguments.device, PredictionOptions(tta=arguments.tta))
    modes = {PLAIN: plain, ROBUST: plain.robust(arguments.denoiser)}
    check_settings(arguments.output / "settings.json", modes[ROBUST], arguments)
    path = arguments.output / "scores.csv"
    done = pd.read_csv(path) if path.exists() else pd.DataFrame({"scan": []})
    for case in hard_cases(plain, arguments):
        if case.name in set(done["scan"]):
            continue
        once = replace(case, make=cache(case.make))  # both modes are shown the same scan
        rows = [pd.DataFrame(score(model, once)).assign(mode=mode) for mode, model in modes.items()]
        done = pd.concat([done, *rows], ignore_index=True)
        atomic_write_text(path, done.to_csv(index=False))
        told = ", ".join(f"{mode} {one['dice'].mean():.3f}" for mode, one in zip(modes, rows, strict=True))
        print(f"{case.name}: mean Dice {told}", flush=True)
    print(described(done))


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("weights", help="name of a model, or a weights file")
    parser.add_argument("--denoiser", help="of tissue groups, for the robust mode: a name, or a file")
    parser.add_argument("--prepared", type=Path, default=Path("prepared"))
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/robust"))
    parser.add_argument("--brains", nargs="+", help="not trained on; default: the recipe's own")
    parser.add_argument("--draws", type=int, default=4, help="scans of each brain and contrast")
    parser.add_argument(
        "--spacing-mm", type=float, default=1.5, help="voxel size of the scans, in the slices"
    )
    parser.add_argument("--tta", action="store_true", help="average over flips")
    parser.add_argument("--device", default="auto")
    return parser.parse_args()


def hard_cases(parcellator: Parcellator, arguments: argparse.Namespace) -> Iterator[Case]:
    """Yield the scans, all brains and contrasts once, then again."""
    recipe = Recipe.model_validate(parcellator.spec.recipe)
    brains = arguments.brains or (recipe.brains.validation if recipe.brains else ())
    ids = np.array([structure.id for structure in parcellator.structures])
    heads = {
        brain: unseen_synthesizer(parcellator, arguments.prepared, (brain,), arguments.spacing_mm)
        for brain in brains
    }
    chosen = product(range(1, arguments.draws + 1), brains, CONTRASTS.items())
    for number, (draw, brain, (family, contrast)) in enumerate(chosen):
        case = ValidationCase(0, family, SLICE_MM, _SEED + number, lesion_free=True)
        name = f"{brain}_{contrast}_{draw}"
        yield Case(name, contrast, SLICE_MM, partial(hard_scan, heads[brain], case, name, ids))


def hard_scan(
    heads: Synthesizer, case: ValidationCase, name: str, ids: np.ndarray
) -> tuple[Image, np.ndarray]:
    """Return one scan, and FreeSurfer's ids (i, j, k) on its grid."""
    batch = heads.apply([low_field(case_parameters(heads, case), case.seed, SLICE_MM)])
    return as_scan(batch, heads.config.spacing_mm, name), ids[batch.target[0].numpy()]


def described(scores: pd.DataFrame) -> str:
    """Return the table as Markdown: a row per mode, then the differences between the modes, scan by scan."""
    lines = [
        "| mode | n | mean Dice | 5th percentile | lowest | SD95 (mm) | volume error (%) | wrong side (%) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    scores = scores.assign(volume_error=(scores["found_ml"] / scores["true_ml"] - 1).abs() * 100)
    by_scan = scores.groupby(["scan", "mode"])["dice"].mean().unstack()
    for mode in (PLAIN, ROBUST):
        rows, dice = scores[scores["mode"] == mode], by_scan[mode]
        sides = 100 * rows.groupby("scan")["wrong_side"].first().mean()
        numbers = f"{dice.mean():.3f} | {np.percentile(dice, 5):.3f} | {dice.min():.3f}"
        others = f"{median(rows['sd95_mm'])} | {rows['volume_error'].median():.0f} | {sides:.2f}"
        lines.append(f"| {mode} | {len(dice)} | {numbers} | {others} |")
    change = by_scan[ROBUST] - by_scan[PLAIN]
    span = f"mean {change.mean():+.3f}, from {change.min():+.3f} to {change.max():+.3f}"
    lines.append(f"\nRobust less plain, scan by scan: {span}; {(change > 0).sum()} of {len(change)} gain.")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
