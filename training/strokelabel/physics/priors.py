"""Priors of tissue properties: what a tissue's quantitative values are, between and within subjects.

The numbers are in `tissue_priors.tsv`, each with its source; `label_tissues.tsv` says which tissue a label is made of.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path

from strokelabel.errors import DataError
from strokelabel.labels import AnatomicalLabel
from strokelabel.physics.distributions import RandomSource
from strokelabel.physics.maps import MAP_NAMES

_COLUMNS = ("tissue", "parameter", "mean", "between", "within")
_MOST_DEVIATIONS = 2.5
"""Draws are kept within so many standard deviations of their mean."""

Values = tuple[float, float, float, float, float]
"""Of each map, in the order of `MAP_NAMES`."""


@dataclass(frozen=True)
class Prior:
    """One property of one tissue.

    Attributes:
        mean: over subjects.
        between: standard deviation of that mean between subjects.
        within: standard deviation inside the tissue of one subject.
        source: where the numbers come from.
    """

    mean: float
    between: float
    within: float
    source: str


@dataclass(frozen=True)
class TissueDraw:
    """A tissue of one subject: mean and standard deviation of each map, in the order of `MAP_NAMES`."""

    means: Values
    deviations: Values


@dataclass(frozen=True)
class TissuePriors:
    """Priors by tissue and map name."""

    tissues: Mapping[str, Mapping[str, Prior]]
    label_tissues: Mapping[int, str]

    def __getitem__(self, tissue: str) -> Mapping[str, Prior]:
        """Return the priors of a tissue by map name.

        Raises:
            DataError: no such tissue.
        """
        try:
            return self.tissues[tissue]
        except KeyError:
            raise DataError(
                f"expected a tissue of {', '.join(self.tissues)}, got {tissue!r}; add its rows to a table of priors"
            ) from None

    def tissue_of(self, label: AnatomicalLabel) -> str:
        """Return the tissue of a label: its own, or that of its group."""
        return self.label_tissues.get(label.id, label.group)

    def means(self, tissue: str) -> Values:
        """Return the mean of each map over subjects, in the order of `MAP_NAMES`."""
        prior = self[tissue]
        pd, r1, r2, r2_star, mt = (prior[name].mean for name in MAP_NAMES)
        return pd, r1, r2, r2_star, mt

    def draw(
        self,
        source: RandomSource,
        tissue: str,
        between: float = 1.0,
        within: tuple[float, float] = (0.5, 1.5),
    ) -> TissueDraw:
        """Draw the tissue of one subject.

        Values are at least 0, and R2* at least R2, as physics has it.

        Args:
            source: source of randomness.
            tissue: name of the tissue.
            between: factor on the spread between subjects.
            within: bounds of the factor on the spread within the tissue.
        """
        prior = self[tissue]
        pd, r1, r2, r2_star, mt = (_draw_mean(source, prior[name], between) for name in MAP_NAMES)
        factor = source.uniform(within)
        d_pd, d_r1, d_r2, d_r2_star, d_mt = (factor * prior[name].within for name in MAP_NAMES)
        return TissueDraw((pd, r1, r2, max(r2, r2_star), mt), (d_pd, d_r1, d_r2, d_r2_star, d_mt))


def _draw_mean(source: RandomSource, prior: Prior, scale: float) -> float:
    deviations = source.normal(0.0, 1.0)
    kept = min(max(deviations, -_MOST_DEVIATIONS), _MOST_DEVIATIONS)
    return max(prior.mean + scale * prior.between * kept, 0.0)


@lru_cache(maxsize=1)
def default_priors() -> TissuePriors:
    """Return the priors that ship with StrokeLabel."""
    folder = resources.files("strokelabel.physics")
    tissues = _read_rows(folder.joinpath("tissue_priors.tsv").read_text(), "tissue_priors.tsv")
    lines = _without_comments(folder.joinpath("label_tissues.tsv").read_text())
    labels = {int(row["id"]): row["tissue"] for row in csv.DictReader(lines, delimiter="\t")}
    return TissuePriors(_complete(tissues, "tissue_priors.tsv"), labels)


def read_priors(path: Path) -> TissuePriors:
    """Return the shipped priors with a user's numbers in their place.

    Args:
        path: tab-separated, columns tissue, parameter (pd, r1, r2, r2_star, mt), mean, between, within and, if
            wanted, source; lines that begin with # are skipped. A new tissue needs all five parameters.

    Raises:
        DataError: the file cannot be read, or a row is malformed or impossible.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected a readable table of tissue priors, but {error}") from error
    shipped = default_priors()
    merged = {tissue: dict(rows) for tissue, rows in shipped.tissues.items()}
    for tissue, rows in _read_rows(text, str(path)).items():
        merged.setdefault(tissue, {}).update(rows)
    return TissuePriors(_complete(merged, str(path)), shipped.label_tissues)


def _without_comments(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def _read_rows(text: str, source: str) -> dict[str, dict[str, Prior]]:
    reader = csv.DictReader(_without_comments(text), delimiter="\t")
    missing = [column for column in _COLUMNS if column not in (reader.fieldnames or [])]
    if missing:
        raise DataError(
            f"{source}: expected tab-separated columns {', '.join(_COLUMNS)}, missing {', '.join(missing)}"
        )
    tissues: dict[str, dict[str, Prior]] = {}
    for row in reader:
        tissues.setdefault(row["tissue"], {})[row["parameter"]] = _read_prior(row, source)
    return tissues


def _read_prior(row: Mapping[str, str], source: str) -> Prior:
    where = f"{source}: {row['tissue']} {row['parameter']}"
    if row["parameter"] not in MAP_NAMES:
        raise DataError(f"{where}: expected a parameter of {', '.join(MAP_NAMES)}; correct its name")
    try:
        mean, between, within = (float(row[column]) for column in ("mean", "between", "within"))
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: expected numbers for mean, between and within ({error})") from error
    if not all(0 <= value < float("inf") for value in (mean, between, within)):
        raise DataError(f"{where}: expected numbers of at least 0, got {mean:g}, {between:g}, {within:g}")
    return Prior(mean, between, within, row.get("source") or "")


def _complete(tissues: Mapping[str, Mapping[str, Prior]], source: str) -> Mapping[str, Mapping[str, Prior]]:
    """Refuse tissues with parameters missing."""
    for tissue, rows in tissues.items():
        _require(tissue, rows, source)
    return tissues


def _require(tissue: str, rows: Iterable[str], source: str) -> None:
    missing = [name for name in MAP_NAMES if name not in rows]
    if missing:
        raise DataError(
            f"{source}: {tissue}: expected all of {', '.join(MAP_NAMES)}, missing {', '.join(missing)}"
        )
