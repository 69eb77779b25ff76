"""Tables of an evaluation in the papers' form, as Markdown and as LaTeX."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, isnan
from typing import Final, Literal

import pandas as pd


@dataclass(frozen=True)
class Column:
    """A metric as tables and plots show it.

    Attributes:
        key: field of `metrics.case.CaseMetrics`.
        title: abbreviation, as in the papers.
        unit: empty for ratios and counts.
        decimals: shown in tables.
        higher_is_better: or else lower.
        factor: values are shown multiplied by this.
        most: largest possible value; the least is 0.
    """

    key: str
    title: str
    unit: str
    decimals: int
    higher_is_better: bool
    factor: float = 1.0
    most: float = inf

    @property
    def heading(self) -> str:
        """Title and unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    def text(self, value: float) -> str:
        """Return a value as shown; a dash where it is not defined."""
        return "–" if isnan(value) else f"{value * self.factor:z.{self.decimals}f}"

    def limited(self, value: float) -> float:
        """Return a value, or the nearest that is possible: a t interval has no limits."""
        return min(max(value, 0.0), self.most)


COLUMNS: Final = (
    Column("dice", "Dice", "", 3, True, most=1.0),
    Column("hd95_mm", "HD95", "mm", 1, False),
    Column("volume_difference_ml", "AVD", "ml", 2, False),
    Column("lesion_difference", "ALD", "", 2, False),
    Column("lesion_f1", "LF1", "", 3, True, most=1.0),
    Column("tpr", "TPR", "", 3, True, most=1.0),
    Column("fpr", "FPR", "per 1000", 3, False, factor=1000.0, most=1.0),
)
"""In the order of SynthStroke's appendix A."""

MAIN_COLUMNS: Final = COLUMNS[:2]
"""Of the papers' main tables."""


Statistic = Literal["mean", "median"]

_LATEX: Final = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "–": "--",
}


@dataclass(frozen=True)
class Cell:
    """Text in a table; the best of a column is bold."""

    text: str
    bold: bool = False


@dataclass(frozen=True)
class Table:
    """A table to be written.

    Attributes:
        caption: a sentence or two above it.
        heading: titles of the columns.
        rows: cells; as many as titles.
        text_columns: number of columns, from the left, that are not numbers.
    """

    caption: str
    heading: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    text_columns: int = 2

    def markdown(self) -> str:
        """Return the table as Markdown."""
        rule = ["---"] * self.text_columns + ["---:"] * (len(self.heading) - self.text_columns)
        rows = [[f"**{cell.text}**" if cell.bold else cell.text for cell in row] for row in self.rows]
        lines = [f"| {' | '.join(cells)} |" for cells in (self.heading, rule, *rows)]
        return "\n".join([self.caption, "", *lines])

    def latex(self) -> str:
        """Return the table as LaTeX; it needs the package booktabs."""
        rows = [[_latex_cell(cell) for cell in row] for row in self.rows]
        lines = [f"{' & '.join(cells)} \\\\" for cells in rows]
        columns = "l" * self.text_columns + "r" * (len(self.heading) - self.text_columns)
        heading = " & ".join(_escape(title) for title in self.heading)
        return "\n".join([
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_escape(self.caption)}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            rf"{heading} \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ])  # fmt: skip


def main_table(summary: pd.DataFrame) -> Table:
    """Return the Dice and HD95: median, mean and its confidence interval; the best median of a group is bold.

    Args:
        summary: from `summary.summary_table`.
    """
    return Table(
        "Median / mean [95 % t interval of the mean, cut to the possible]; the best median in bold.",
        ("Modality", "Method", "n", *(column.heading for column in MAIN_COLUMNS)),
        _rows(summary, MAIN_COLUMNS, "median", _median_and_interval, with_n=True),
    )


def metric_table(summary: pd.DataFrame, statistic: Statistic) -> Table:
    """Make the table of means or medians of all metrics; the best of a group is bold.

    Args:
        summary: from `summary.summary_table`.
        statistic: which.
    """

    def text(column: Column, row: pd.Series) -> str:
        return column.text(row[statistic])

    return Table(
        f"{statistic.capitalize()} of each metric; the best in bold.",
        ("Modality", "Method", *(column.heading for column in COLUMNS)),
        _rows(summary, COLUMNS, statistic, text),
    )


def comparison_table(tests: pd.DataFrame) -> Table:
    """Return the paired tests of Dice and HD95 between methods.

    Args:
        tests: from `report.paired_tests`.
    """
    rows = []
    for column in MAIN_COLUMNS:
        for _, row in tests[tests["metric"] == column.key].iterrows():
            words = [column.title, row["group"], f"{row['first']} – {row['second']}", str(row["n"])]
            words += [column.text(row["mean_difference"]), column.text(row["median_difference"])]
            words += [_p(row[name]) for name in ("wilcoxon_p_bonferroni", "t_p_bonferroni")]
            rows.append(tuple(Cell(word) for word in words))
    return Table(
        "Paired tests, two-sided; p by Bonferroni for all tests of a metric.",
        (
            "Metric",
            "Modality",
            "Methods",
            "n",
            "mean difference",
            "median difference",
            "Wilcoxon p",
            "t test p",
        ),
        tuple(rows),
        text_columns=3,
    )


def _rows(
    summary: pd.DataFrame,
    columns: tuple[Column, ...],
    best_by: Statistic,
    text: Callable[[Column, pd.Series], str],
    with_n: bool = False,
) -> tuple[tuple[Cell, ...], ...]:
    """Return a row of cells for each group and method."""
    rows = []
    for group, part in summary.groupby("group", sort=False):
        best = {column.key: _best(part, column, best_by) for column in columns}
        for method, own in part.groupby("method", sort=False):
            by_metric = own.set_index("metric")
            cells = [Cell(str(group)), Cell(str(method))]
            if with_n:
                cells.append(Cell(str(by_metric.loc[columns[0].key, "n"])))
            for column in columns:
                row = by_metric.loc[column.key]
                is_best = column.text(row[best_by]) == best[column.key]
                cells.append(Cell(text(column, row), bold=is_best))
            rows.append(tuple(cells))
    return tuple(rows)


def _best(part: pd.DataFrame, column: Column, statistic: Statistic) -> str | None:
    """Return the best value among a group's methods, as shown; None without a comparison."""
    values = part[part["metric"] == column.key][statistic].dropna()
    if len(values) < 2:
        return None
    return column.text(values.max() if column.higher_is_better else values.min())


def _median_and_interval(column: Column, row: pd.Series) -> str:
    text = f"{column.text(row['median'])} / {column.text(row['mean'])}"
    if isnan(row["low"]):
        return text
    low, high = (column.text(column.limited(row[name])) for name in ("low", "high"))
    return f"{text} [{low}, {high}]"


def _p(value: float) -> str:
    if isnan(value):
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _latex_cell(cell: Cell) -> str:
    text = _escape(cell.text)
    return rf"\textbf{{{text}}}" if cell.bold else text


def _escape(text: str) -> str:
    """Escape characters that are special to LaTeX, and replace those missing in its default fonts."""
    return "".join(_LATEX.get(character, character) for character in text)
