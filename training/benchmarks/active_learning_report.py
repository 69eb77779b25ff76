"""Tables and the picture of `active_learning.py`."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from documents import put_into_document as put_text
from matplotlib.figure import Figure

from strokelabel.io.atomic import atomic_path, atomic_write_text
from strokelabel.metrics.statistics import Summary, paired_test, summarize

PICTURE = "active-learning.png"

_REFERENCE = "random"
_COLOURS = {"random": "tab:gray", "uncertainty": "tab:blue", "diversity": "tab:orange"}
_PARTS = {"all": "all test scans", "new": "new contrasts", "known": "known contrasts"}


def write_report(rows: list[dict[str, Any]], plan: dict[str, Any], folder: Path) -> str:
    """Write scores.csv, choices.csv, summary.md and active-learning.png.

    Args:
        rows: one per seed, strategy, round and test scan.
        plan: sizes of the simulation.
        folder: where to.

    Returns:
        The summary as Markdown.
    """
    table = pd.DataFrame(rows)
    choices = table[table["round"] > 0].drop_duplicates(["seed", "strategy", "round"])
    choices = choices[["seed", "strategy", "round", "chosen"]].explode("chosen")
    atomic_write_text(folder / "scores.csv", table.drop(columns="chosen").to_csv(index=False))
    atomic_write_text(folder / "choices.csv", choices.to_csv(index=False))
    summary = markdown(table, choices, plan)
    atomic_write_text(folder / "summary.md", summary)
    draw(table, int(plan["per_round"]), folder / PICTURE)
    return summary


def put_into_document(summary: str, picture: Path, document: Path) -> None:
    """Put the summary and the picture into a page of the documentation; see `documents.put_into_document`."""
    shutil.copyfile(picture, document.with_name(picture.name))
    image = f"![Dice over submitted labels, by strategy]({picture.name})"
    put_text(f"{summary}\n{image}\n\nThin lines are seeds, thick ones their means.", document)


def per_seed(table: pd.DataFrame, strategy: str, number: int, part: str) -> pd.Series[float]:
    """Return the mean Dice over the test scans of a part ("all", "new" or "known"), by seed."""
    rows = table[(table["strategy"] == strategy) & (table["round"] == number)]
    if part != "all":
        rows = rows[rows["new"] == (part == "new")]
    return rows.groupby("seed")["dice"].mean()


def markdown(table: pd.DataFrame, choices: pd.DataFrame, plan: dict[str, Any]) -> str:
    """Return the settings, the final Dice, and the paired comparison with random choice."""
    seeds = table["seed"].nunique()
    last = int(table["round"].max())
    strategies = list(table["strategy"].unique())
    new = sum(kind in ("ct-like", "low-field") for kind in plan["pool"])
    lines = [
        f"{seeds} seeds; each: a pool of {len(plan['pool'])} scans ({new} of new contrasts), {plan['rounds']} rounds "
        f"of {plan['per_round']} labels, {plan['steps']} steps of fine-tuning after each, {len(plan['test'])} test "
        f"scans of other heads and lesions. {_machine()}.",
        "",
        "| strategy | " + " | ".join(_PARTS.values()) + " | labels spent on new contrasts |",
        "|---" * (len(_PARTS) + 2) + "|",
        "| before | "
        + " | ".join(_text(summarize(per_seed(table, strategies[0], 0, p))) for p in _PARTS)
        + " | |",
    ]
    for strategy in strategies:
        cells = [_text(summarize(per_seed(table, strategy, last, part))) for part in _PARTS]
        lines.append(f"| {strategy} | {' | '.join(cells)} | {_spent(choices, strategy)} |")
    lines += ["", f"Mean lesion Dice after {last} rounds [95 % t interval over seeds].", ""]
    lines += _comparisons(table, strategies, last)
    return "\n".join(lines) + "\n"


def _comparisons(table: pd.DataFrame, strategies: list[str], last: int) -> list[str]:
    """Return a row for each strategy and part: paired by seed with random choice."""
    lines = [
        f"| compared with {_REFERENCE}, paired by seed | test scans | n | difference | Wilcoxon p | t test p |",
        "|---|---|---|---|---|---|",
    ]
    for strategy in strategies:
        for part, title in _PARTS.items() if strategy != _REFERENCE else ():
            own, other = (per_seed(table, s, last, part) for s in (strategy, _REFERENCE))
            test = paired_test(own, other)
            difference = _text(summarize(own - other), signed=True)
            lines.append(
                f"| {strategy} | {title} | {test.n} | {difference} | {_p(test.wilcoxon_p)} | {_p(test.t_p)} |"
            )
    return lines


def draw(table: pd.DataFrame, per_round: int, path: Path) -> None:
    """Draw Dice over the number of labels: each seed thin, the mean thick."""
    figure = Figure(figsize=(11, 4.0), layout="constrained")
    rounds = sorted(table["round"].unique())
    labels = [number * per_round for number in rounds]
    for axes, (part, title) in zip(figure.subplots(1, len(_PARTS)), _PARTS.items(), strict=True):
        for strategy in table["strategy"].unique():
            curves = pd.DataFrame({n: per_seed(table, strategy, n, part) for n in rounds})
            colour = _COLOURS.get(strategy)
            axes.plot(labels, curves.T.to_numpy(), color=colour, linewidth=0.7, alpha=0.35)
            axes.plot(labels, curves.mean(), color=colour, linewidth=2.5, marker="o", label=strategy)
        axes.set_title(title)
        axes.set_xlabel("submitted labels")
        axes.set_xticks(labels)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("mean lesion Dice")
    figure.legend(
        *figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False
    )
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def _spent(choices: pd.DataFrame, strategy: str) -> str:
    own = choices[choices["strategy"] == strategy]["chosen"].astype(str)
    return f"{int(own.str.contains('ct-like|low-field').sum())} of {len(own)}"


def _text(summary: Summary, signed: bool = False) -> str:
    form = "+.3f" if signed else ".3f"
    middle = f"{summary.mean:{form}}"
    return middle if np.isnan(summary.low) else f"{middle} [{summary.low:{form}}, {summary.high:{form}}]"


def _p(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3f}"


def _machine() -> str:
    """Return the name of the processor, if the system knows it."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"One thread of {name} ({os.cpu_count()} cores)"
