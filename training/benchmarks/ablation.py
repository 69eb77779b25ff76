"""Ablation of a recipe: the same short training with and without each part, scored on the synthetic benchmark.

    python training/benchmarks/ablation.py training/benchmarks/ablation.yaml --prepared prepared -o runs/ablation

Every variant of the plan starts from the same weights and takes the same number of steps, once per seed, then is
scored on the benchmark's volumes at the training's own voxel size, and on heads without lesions. Runs that are
finished are not repeated, so the command can be stopped and given again; `--part i/n` shares them out.

Printed are the mean lesion Dice per contrast with a 95 % t interval over volumes (a volume's Dice is first averaged
over seeds), the paired difference to the plan's reference with its interval, and false lesion in lesion-free heads.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from scipy import stats

from strokelabel.fit.data.recipe_streams import make_synthesizer
from strokelabel.fit.loop.checkpoint import load_newest_checkpoint
from strokelabel.fit.recipe import Recipe, load_recipe
from strokelabel.fit.train import train_recipe
from strokelabel.io.atomic import atomic_write_text
from strokelabel.labels import TissueClass
from strokelabel.metrics import dice
from strokelabel.networks.weights import make_network
from strokelabel.reports.evaluation.plots import Interval, save_forest_plot
from strokelabel.synthesis.benchmark import (
    VALIDATION_FAMILIES,
    lesion_free_cases,
    make_case,
    validation_cases,
    validation_config,
)
from strokelabel.synthesis.prepared.dataset import PreparedData


@dataclass(frozen=True)
class Run:
    """One training of the plan."""

    variant: str
    seed: int
    recipe: Recipe

    @property
    def name(self) -> str:
        """Folder of the run."""
        return f"{self.variant.replace(' ', '-')}-seed-{self.seed}"


def main() -> None:
    """Train what is missing, score it, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("plan", type=Path, help="YAML: recipe, weights, steps, seeds, reference, variants")
    parser.add_argument("--prepared", type=Path, default=Path("prepared"))
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--part", default="1/1", help="i/n: the i-th of n shares of the runs")
    parser.add_argument("--per-family", type=int, default=15)
    parser.add_argument("--lesion-free", type=int, default=15)
    parser.add_argument("--table", action="store_true", help="no training: the table of the runs there are")
    arguments = parser.parse_args()
    plan = yaml.safe_load(arguments.plan.read_text())
    data = PreparedData.load(arguments.prepared)
    share, shares = (int(n) for n in arguments.part.split("/"))
    runs = list(planned_runs(plan))
    for run in [] if arguments.table else runs[share - 1 :: shares]:
        folder = arguments.output / run.name
        if not (folder / "scores.csv").exists():
            train_recipe(run.recipe, data, folder, device=arguments.device, weights=plan["weights"])
            scores = score(run, data, folder, arguments)
            atomic_write_text(folder / "scores.csv", scores.to_csv(index=False))
    done = [run for run in runs if (arguments.output / run.name / "scores.csv").exists()]
    table = pd.concat([pd.read_csv(arguments.output / run.name / "scores.csv") for run in done])
    print(f"{len(done)} of {len(runs)} runs of {plan['steps']} steps from the weights {plan['weights']!r}\n")
    print(markdown(table, plan["reference"]))
    draw(table, plan["reference"], arguments.output / "ablation.png")


def planned_runs(plan: dict[str, Any]) -> Iterator[Run]:
    """Yield every variant once per seed, the seeds in turn, so that a plan cut short has all variants."""
    base = load_recipe(plan["recipe"]).model_dump(mode="json")
    for seed in range(1, plan["seeds"] + 1):
        for variant, changes in plan["variants"].items():
            content = copy.deepcopy(base)
            training = {"steps": plan["steps"], "validate_every": 0, "checkpoint_every": plan["steps"]}
            content["training"] |= training | plan.get("training", {})
            for key, value in (changes or {}).items():
                set_value(content, key, value)
            yield Run(variant, seed, Recipe.model_validate(content | {"name": variant, "seed": seed}))


def set_value(content: dict[str, Any], key: str, value: object) -> None:
    """Set one entry of a nested mapping by its dotted key."""
    *sections, last = key.split(".")
    for section in sections:
        content = content[section]
    content[last] = value


@torch.no_grad()
def score(run: Run, data: PreparedData, folder: Path, arguments: argparse.Namespace) -> pd.DataFrame:
    """Return one row per volume: Dice, and for lesion-free heads the false lesion in ml."""
    checkpoint = load_newest_checkpoint(folder)
    assert checkpoint is not None
    network = make_network(run.recipe.network)
    network.load_state_dict(checkpoint.weights)
    network.eval().to(arguments.device)
    spacing = run.recipe.synthesis.spacing_mm
    config = validation_config(run.recipe.synthesis.shape, spacing)
    unseen = make_synthesizer(data, run.recipe, "validation", config, arguments.device)
    rows = []
    for case in validation_cases(arguments.per_family) + lesion_free_cases(arguments.lesion_free):
        batch = make_case(unseen, case)
        found = network(batch.image).argmax(dim=1) == TissueClass.LESION
        overlap = dice((batch.target == TissueClass.LESION).cpu().numpy(), found.cpu().numpy())
        false_ml = float(found.sum()) * spacing**3 / 1000 if case.lesion_free else float("nan")
        family = "lesion-free" if case.lesion_free else case.family
        rows.append((run.variant, run.seed, family, case.index, overlap, false_ml))
    return pd.DataFrame(rows, columns=["variant", "seed", "family", "case", "dice", "false_ml"])


def markdown(table: pd.DataFrame, reference: str) -> str:
    """Return the whole table as Markdown."""
    families = [*VALIDATION_FAMILIES]
    lines = [
        f"| variant | seeds | {' | '.join(families)} | all | difference to '{reference}' | false lesion (ml) |",
        "|" + "---|" * (len(families) + 5),
    ]
    for variant in table["variant"].unique():
        own = table[table["variant"] == variant]
        cells = [interval_text(per_volume(own, [family])) for family in families]
        cells.append(interval_text(per_volume(own, families)))
        difference = paired_difference(table, variant, reference)
        cells.append("reference" if variant == reference else interval_text(difference, signed=True))
        cells.append(false_lesion_text(own))
        lines.append(f"| {variant} | {own['seed'].nunique()} | {' | '.join(cells)} |")
    n = len(per_volume(table, families))
    lines.append(f"\nMean [95 % t interval] of the lesion Dice over {n} volumes, {n // 4} per contrast; ")
    lines[-1] += "false lesion: median and mean over lesion-free heads and seeds."
    return "\n".join(lines)


def per_volume(table: pd.DataFrame, families: Sequence[str]) -> pd.Series[float]:
    """Return the Dice per volume of these contrasts, averaged over seeds."""
    rows = table[table["family"].isin(families)]
    return rows.groupby("case")["dice"].mean()


def paired_difference(table: pd.DataFrame, variant: str, reference: str) -> pd.Series[float]:
    """Return the Dice of a variant less that of the reference, per volume, over the seeds that both have."""
    families = [*VALIDATION_FAMILIES]
    both = set.intersection(*(set(table[table["variant"] == v]["seed"]) for v in (variant, reference)))
    rows = table[table["seed"].isin(both)]
    own, other = (per_volume(rows[rows["variant"] == v], families) for v in (variant, reference))
    return own - other


def interval(values: pd.Series[float]) -> Interval:
    """Return the mean and 95 % t interval."""
    mean = float(values.mean())
    half = float(stats.t.ppf(0.975, len(values) - 1) * values.sem()) if len(values) > 1 else float("nan")
    return Interval(mean, mean - half, mean + half)


def interval_text(values: pd.Series[float], signed: bool = False) -> str:
    """Return "mean [low, high]"."""
    i = interval(values)
    sign = "+" if signed else ""
    return f"{i.mean:{sign}.3f} [{i.low:{sign}.3f}, {i.high:{sign}.3f}]"


def false_lesion_text(own: pd.DataFrame) -> str:
    """Return "median / mean"."""
    values = own["false_ml"].dropna()
    return f"{np.median(values):.2f} / {values.mean():.2f}" if len(values) else ""


def draw(table: pd.DataFrame, reference: str, path: Path) -> None:
    """Draw the differences to the reference as a forest plot."""
    others = [v for v in table["variant"].unique() if v != reference]
    if others and reference in set(table["variant"]):
        rows = {v: interval(paired_difference(table, v, reference)) for v in others}
        save_forest_plot(rows, f"Lesion Dice less that of '{reference}' (mean, 95 % interval)", path)


if __name__ == "__main__":
    main()
