"""The metrics of the tables: their names, units, and which way is better."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isnan
from typing import Final


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
        """A value as shown; a dash where it is not defined."""
        return "–" if isnan(value) else f"{value * self.factor:z.{self.decimals}f}"

    def limited(self, value: float) -> float:
        """A value, or the nearest that is possible: a t interval knows no limits."""
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
