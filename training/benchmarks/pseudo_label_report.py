"""Table and picture of `pseudo_labels.py`: means, and paired differences with intervals over cases and seeds."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from documents import put_into_document as put_text
from scipy import stats

from strokelabel.io.atomic import atomic_write_text
from strokelabel.reports.evaluation.plots import Interval, save_forest_plot
from strokelabel.reports.evaluation.slabs import SLAB_MM
from strokelabel.reports.real_validation.scores import LEAST_CM2

PICTURE = "pseudo-labels.png"
_SLAB_CM = SLAB_MM / 10
_SLICES = "real FLAIR slices"
_GROUPS = ("simulated", "T1w", "T2w", "FLAIR", _SLICES)


def read_scores(folders: list[Path]) -> pd.DataFrame:
    """Return the scores of finished runs: rows of `pseudo_labels.score` with `unit`, what is independent of others."""
    table = pd.concat([pd.read_csv(folder / "scores.csv") for folder in folders], ignore_index=True)
    real = table["group"].str.contains("slices")
    table.loc[real, "group"] = _SLICES
    table["unit"] = table["case"].str.split("_").str[0]
    return table


def write_report(folders: list[Path], plan: dict[str, Any], output: Path, about: str) -> str:
    """Write scores.csv, table.csv, table.md and the picture; return the Markdown.

    Args:
        folders: of finished runs.
        plan: content of the YAML file.
        output: receives the files.
        about: a sentence on the runs, for the head of the table.
    """
    scores = read_scores(folders)
    rows = table_rows(scores, plan)
    atomic_write_text(output / "scores.csv", scores.to_csv(index=False))
    atomic_write_text(output / "table.csv", pd.DataFrame(rows).to_csv(index=False))
    text = f"{about}\n\n{markdown(rows, list(plan['arms']))}\n\n{false_lesion(scores, plan)}"
    atomic_write_text(output / "table.md", text + "\n")
    drawn = {
        f"{row['arm']}: {row['group']}": Interval(row["difference"], row["low"], row["high"])
        for row in rows
        if "difference" in row
    }
    if drawn:
        save_forest_plot(
            drawn, "Lesion Dice with less without pseudo-labels (mean, 95 % interval)", output / PICTURE
        )
    return text


def table_rows(scores: pd.DataFrame, plan: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each arm and group: mean Dice, numbers of units and seeds, and the paired difference."""
    rows = []
    for arm in plan["arms"]:
        for group in _GROUPS:
            values = per_unit(scores, arm, group)
            if values.empty:
                continue
            row = {"arm": arm, "group": group, "n": len(values), "seeds": values.shape[1]}
            row |= {"dice": float(values.to_numpy().mean())}
            partner = plan["pairs"].get(arm)
            other = per_unit(scores, partner, group) if partner else values.iloc[:0]
            difference = values - other if not other.empty else other
            difference = difference.dropna(axis=1, how="all")
            if difference.size:
                found = crossed_interval(difference.to_numpy())
                row |= {"difference": found.mean, "low": found.low, "high": found.high}
            rows.append(row)
    return rows


def per_unit(scores: pd.DataFrame, arm: str, group: str) -> pd.DataFrame:
    """Return the mean Dice of each subject (rows) in each seed (columns); of slices, those that show lesion."""
    own = scores[(scores["arm"] == arm) & (scores["reference_ml"] > 0)]
    own = own[own["group"] != _SLICES] if group == "simulated" else own[own["group"] == group]
    if group == _SLICES:
        own = own[own["reference_ml"] / _SLAB_CM >= LEAST_CM2]
    return own.groupby(["unit", "seed"])["dice"].mean().unstack("seed")


def crossed_interval(values: np.ndarray) -> Interval:
    """Return the mean and its 95 % interval, where both cases and seeds are a sample of many.

    Args:
        values: (cases, seeds), every case scored in every seed.

    The variance of the mean is that of a two-way layout with random cases and random seeds, (MS cases + MS seeds -
    MS rest) / n, with Satterthwaite's degrees of freedom. With one seed, the interval is over the cases.
    """
    cases, seeds = values.shape
    mean = float(values.mean())
    if seeds == 1:
        half = float(stats.t.ppf(0.975, cases - 1) * stats.sem(values[:, 0])) if cases > 1 else float("nan")
        return Interval(mean, mean - half, mean + half)
    by_case, by_seed = values.mean(axis=1, keepdims=True), values.mean(axis=0, keepdims=True)
    rest = ((values - by_case - by_seed + mean) ** 2).sum() / ((cases - 1) * (seeds - 1))
    parts = seeds * by_case.var(ddof=1), cases * by_seed.var(ddof=1), -rest
    freedoms = cases - 1, seeds - 1, (cases - 1) * (seeds - 1)
    total = max(sum(parts), rest)
    freedom = (
        total**2 / sum(part**2 / f for part, f in zip(parts, freedoms, strict=True)) if total > 0 else 1.0
    )
    half = float(stats.t.ppf(0.975, max(freedom, 1.0)) * np.sqrt(total / (cases * seeds)))
    return Interval(mean, mean - half, mean + half)


def markdown(rows: list[dict[str, Any]], arms: list[str]) -> str:
    """Return mean Dice by arm and group, with the paired difference beneath it, as a Markdown table."""
    found = {(row["arm"], row["group"]): row for row in rows}
    groups = [group for group in _GROUPS if any(key[1] == group for key in found)]
    sizes = {group: max(row["n"] for (_, own), row in found.items() if own == group) for group in groups}
    heads = [f"{group} (n = {sizes[group]})" for group in groups]
    lines = [f"| arm | seeds | {' | '.join(heads)} |", "|" + "---|" * (len(groups) + 2)]
    for arm in arms:
        own = [found.get((arm, group)) for group in groups]
        seeds = max((row["seeds"] for row in own if row), default=0)
        if seeds:
            lines.append(f"| {arm} | {seeds} | {' | '.join(_cell(row) for row in own)} |")
    return "\n".join(lines)


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    text = f"{row['dice']:.3f}"
    if "difference" in row:
        text += f"<br>{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
    return text


def false_lesion(scores: pd.DataFrame, plan: dict[str, Any]) -> str:
    """Return what was found in the real slices without a lesion: the median area of each arm."""
    empty = scores[scores["reference_ml"] == 0]
    if empty.empty:
        return ""
    areas = (empty["found_ml"] / _SLAB_CM).groupby(empty["arm"]).median()
    listed = ", ".join(f"{arm} {areas[arm]:.1f}" for arm in plan["arms"] if arm in areas)
    count = empty["case"].nunique()
    return f"False lesion in the {count} slices without one, median in cm² over slices and seeds: {listed}."


def put_into_document(text: str, output: Path, document: Path) -> None:
    """Put the table and the picture into a page of the documentation; see `documents.put_into_document`."""
    shutil.copyfile(output / PICTURE, document.parent / "images" / PICTURE)
    image = f"![Paired differences in lesion Dice, with less without pseudo-labels](images/{PICTURE})"
    put_text(f"{text}\n\n{image}", document)
