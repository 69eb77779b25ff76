"""Table and picture of `adaptation_table.py`: means, and paired differences with the model as it is."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
from documents import put_into_document as put_text

from strokelabel.metrics.statistics import bonferroni, paired_test, summarize
from strokelabel.reports.evaluation.plots import Interval, save_forest_plot

PICTURE = "adaptation-table.png"
_GROUPS = ("T1w", "T2w", "FLAIR", "dwi", "ensemble", "ct-like", "low-field")
_TITLES = {"none": "as it is", "dwi": "DWI", "ct-like": "CT-like (unseen)", "low-field": "low-field (unseen)"}
_SIGNIFICANT = 0.05


def write_report(scores: pd.DataFrame, plan: dict[str, Any], output: Path) -> str:
    """Write table.md, table.csv and the picture; return the Markdown.

    Args:
        scores: rows of `adaptation_table.Benchmark.scores`.
        plan: content of the YAML file.
        output: receives the files.
    """
    rows = table_rows(scores)
    parts = [about(plan)]
    for model in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == model]
        parts += [f"**{model}**", markdown(own)]
    parts += [choices(scores)]
    text = "\n\n".join(part for part in parts if part)
    pd.DataFrame(rows).to_csv(output / "table.csv", index=False)
    (output / "table.md").write_text(text + "\n", encoding="utf-8")
    intervals = {
        f"{_title(row['method'])}: {_title(row['group'])}": Interval(
            row["difference"], row["low"], row["high"]
        )
        for row in rows
        if "difference" in row
    }
    if intervals:
        label = "Lesion Dice minus that of the model as it is (mean, 95 % interval)"
        save_forest_plot(intervals, label, output / PICTURE)
    return text


def table_rows(scores: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a row for each model, method and group: mean Dice, and the paired difference with method "none".

    Counted are the subjects that all methods of a model have scored.

    The p values, of Wilcoxon's test, are corrected by Bonferroni for all of a model.
    """
    rows: list[dict[str, Any]] = []
    for model, of_model in scores.groupby("model", sort=False):
        wide = of_model.pivot_table(index=["group", "unit"], columns="method", values="dice", sort=False)
        wide = wide.dropna()  # means of different subjects cannot be compared
        own = []
        for method in dict.fromkeys(of_model["method"]):
            for group in _GROUPS:
                values = wide.loc[group] if group in wide.index.get_level_values(0) else wide.iloc[:0]
                row = _row(values, method)
                if row["n"]:
                    own.append({"model": model, "method": method, "group": group, **row})
        tested = [row for row in own if "p" in row]
        for row, p in zip(tested, bonferroni([row["p"] for row in tested]), strict=True):
            row["p_bonferroni"] = p
        rows += own
    return rows


def _row(values: pd.DataFrame, method: str) -> dict[str, Any]:
    """Return the summary of a method in a group, and its paired difference with "none".

    Args:
        values: Dice of each subject (rows) by method (columns).
        method: which.
    """
    found = summarize(values[method])
    row = {"n": found.n, "dice": found.mean, "dice_low": found.low, "dice_high": found.high}
    if method == "none" or "none" not in values:
        return row
    difference = summarize(values[method] - values["none"])
    test = paired_test(values[method], values["none"])
    return row | {
        "difference": difference.mean,
        "low": difference.low,
        "high": difference.high,
        "p": test.wilcoxon_p,
    }


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return mean Dice by method and group, with the paired difference beneath it, as a Markdown table."""
    found = {(row["method"], row["group"]): row for row in rows}
    groups = [group for group in _GROUPS if any(key[1] == group for key in found)]
    sizes = {group: max(row["n"] for (_, own), row in found.items() if own == group) for group in groups}
    heads = [f"{_title(group)}, n = {sizes[group]}" for group in groups]
    lines = [f"| | {' | '.join(heads)} |", "|" + "---|" * (len(groups) + 1)]
    for method in dict.fromkeys(row["method"] for row in rows):
        cells = [_cell(found.get((method, group))) for group in groups]
        lines.append(f"| {_title(method)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    if "difference" not in row:
        return f"{row['dice']:.3f} [{row['dice_low']:.3f}, {row['dice_high']:.3f}]"
    star = r" \*" if row["p_bonferroni"] < _SIGNIFICANT else ""
    return f"{row['dice']:.3f}<br>{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]{star}"


def about(plan: dict[str, Any]) -> str:
    """Return sentences on the cohort and on what the table shows."""
    cohorts = plan["cohorts"]
    return (
        "Mean lesion Dice [95 % interval], and beneath it the paired difference with the model as it is; \\* p < 0.05 "
        "by Wilcoxon's test, corrected by Bonferroni for all differences. Simulated subjects of unseen brains, with "
        f"unseen lesions of {cohorts['least_ml']:g} ml and more, at {cohorts['spacing_mm']:g} mm. "
        f"TENT and DAE: {plan['iterations']} iterations. PL, UPL, DPL: {plan['steps']} steps on "
        f"{cohorts['unlabelled']} other subjects."
    )


def choices(scores: pd.DataFrame) -> str:
    """Return how often an adaptation to a scan was kept, and the reasons why not."""
    if "kept" not in scores:
        return ""
    sentences = []
    for method, own in scores[scores["kept"].notna()].groupby("method", sort=False):
        adapted = own["kept"] == "adapted"
        lowered = own["objective_after"] < own["objective_before"]
        reasons = own.loc[~adapted, "reason"].str.replace(r"\s*\(.*", "", regex=True).value_counts()
        why = "".join(f", {reason} ({number})" for reason, number in reasons.items())
        sentences.append(
            f"{_title(method)} lowered its objective in {int(lowered.sum())} of {len(own)} scans, and the adapted "
            f"result was kept in {int(adapted.sum())}{'; the plain one otherwise' + why if why else ''}."
        )
    return " ".join(sentences)


def put_into_document(text: str, output: Path, document: Path) -> None:
    """Put the table and the picture into a page of the documentation; see `documents.put_into_document`."""
    shutil.copyfile(output / PICTURE, document.parent / "images" / PICTURE)
    image = f"![Paired differences in lesion Dice with the model as it is](images/{PICTURE})"
    put_text(f"{text}\n\n{image}", document)


def _title(name: str) -> str:
    return _TITLES.get(name, name if name in _GROUPS else name.upper())
