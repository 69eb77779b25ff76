"""Tables of the benchmark of pre-training, as Markdown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from scipy import stats

from strokelabel.metrics.statistics import summarize

_UNITS = {
    "tissues": "Dice of four tissues",
    "lesion": "Dice of the lesion",
    "denoising": "PSNR (dB)",
}


def tables(plan: dict[str, Any], folder: Path) -> str:
    """Return the tables of what is finished in a folder.

    Args:
        plan: as read from YAML.
        folder: with retrieval.csv and downstream.csv, or one of them, or neither.
    """
    parts = [pretraining_table(plan, folder)]
    if (folder / "retrieval.csv").exists():
        parts.append(retrieval_table(plan, pd.read_csv(folder / "retrieval.csv")))
    if (folder / "downstream.csv").exists():
        parts.append(downstream_table(plan, pd.read_csv(folder / "downstream.csv")))
    return "\n\n".join(part for part in parts if part)


def pretraining_table(plan: dict[str, Any], folder: Path) -> str:
    """Return the best validation of each arm, by its loss."""
    lines = [
        "| arm | steps | best at step | loss | contrastive | reconstruction | retrieval in the batch |",
        "|" + "---|" * 7,
    ]
    for arm in plan["pretraining"]["arms"]:
        path = folder / arm / "metrics.csv"
        if not path.exists():
            continue
        record = pd.read_csv(path)
        rows = record.dropna(subset=["validation_loss"])
        if len(rows):
            best = rows.loc[rows["validation_loss"].idxmin()]
            cells = [
                f"{best[f'validation_{name}']:.3f}"
                for name in ("loss", "contrastive", "reconstruction", "retrieval")
            ]
            lines.append(f"| {arm} | {len(record)} | {best['step']:.0f} | {' | '.join(cells)} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def retrieval_table(plan: dict[str, Any], table: pd.DataFrame) -> str:
    """Return top-1 of each network with its interval (Wilson's, over the questions)."""
    heads = plan["retrieval"]["heads"]
    lines = ["| network | questions | top-1 by the projection | top-1 by the averages |", "|---|---|---|---|"]
    for arm in table["arm"].unique():
        own = table[table["arm"] == arm]
        cells = [share_text(own[own["feature"] == name]["right"]) for name in ("projection", "averages")]
        lines.append(f"| {arm} | {len(own) // 2} | {' | '.join(cells)} |")
    lines.append(f"\nWhich of {heads} heads is this, seen in another contrast? By chance {1 / heads:.3f}.")
    return "\n".join(lines)


def share_text(right: pd.Series[bool]) -> str:
    """Return "share [low, high]" with a 95 % interval."""
    result = stats.binomtest(int(right.sum()), len(right))
    interval = result.proportion_ci(0.95, method="wilson")
    return f"{right.mean():.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def downstream_table(plan: dict[str, Any], table: pd.DataFrame) -> str:
    """Return mean and 95 % t interval over the seeds, for each task and share of the images."""
    percents = plan["downstream"]["percent"]
    lines = [
        f"| task | start | {' | '.join(f'{p} % of the images' for p in percents)} |",
        "|" + "---|" * (2 + len(percents)),
    ]
    for task in plan["downstream"]["tasks"]:
        for start in plan["downstream"]["starts"]:
            own = table[(table["task"] == task) & (table["start"] == start)]
            cells = [seeds_text(own[own["percent"] == percent]["score"]) for percent in percents]
            if any(cells):
                lines.append(f"| {_UNITS.get(task, task)} | {start} | {' | '.join(cells)} |")
    seeds = table["seed"].nunique()
    lines.append(f"\nMean [95 % t interval] over {seeds} seeds, {len(table)} trainings.")
    return "\n".join(lines)


def seeds_text(scores: pd.Series[float]) -> str:
    """Return "mean [low, high]", the mean alone of one seed, or nothing."""
    if not len(scores):
        return ""
    found = summarize(scores.to_numpy())
    text = f"{found.mean:.3f}"
    return text if len(scores) == 1 else f"{text} [{found.low:.3f}, {found.high:.3f}]"
