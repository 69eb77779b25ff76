"""Quantitative maps of many scans, and `estimates.csv`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from strokelabel.inference.batch.run import run_scans
from strokelabel.inference.batch.table import ScanRow, ScanTable
from strokelabel.inference.estimate.outputs import estimate_provenance, map_file_name, write_estimate
from strokelabel.inference.estimate.predictor import Estimate, QuantitativeEstimator
from strokelabel.inference.naming import ResultNames
from strokelabel.inference.network_input import OnProgress
from strokelabel.inference.provenance import known_sidecar
from strokelabel.io import Image
from strokelabel.io.file_search import SearchProblem, absolute_path
from strokelabel.networks.estimator import ESTIMATED_MAPS

TABLE_NAME = "estimates.csv"

OnEstimate = Callable[[Image, Estimate, str], None]
"""Called with a scan, its maps and the stem of its files when they are written."""


@dataclass(frozen=True)
class EstimateRow(ScanRow):
    """Result of one scan.

    Attributes:
        maps: names of the maps, in the table's folder, separated by "; ".
    """

    maps: str | None = None


def estimate_scans(
    estimator: QuantitativeEstimator,
    scans: Sequence[Path],
    folder: Path,
    *,
    flips: bool = True,
    overwrite: bool = False,
    on_estimate: OnEstimate | None = None,
    progress: OnProgress | None = None,
    problems: Sequence[SearchProblem] = (),
) -> Iterator[EstimateRow]:
    """Estimate the maps of scans one by one, write their files and the table, and yield each row as it comes.

    Args:
        flips: see `QuantitativeEstimator.estimate`.
        on_estimate: called for each scan that was done.
        estimator, scans, folder, overwrite, progress, problems: as `segment.batch.predict_scans`.

    Raises:
        OutputError: the table cannot be written.
    """
    return run_scans(
        _EstimateTask(estimator, folder, flips, overwrite, on_estimate), scans, problems, progress
    )


class _EstimateTask:
    """Batch task that estimates the maps of each scan."""

    def __init__(
        self,
        estimator: QuantitativeEstimator,
        folder: Path,
        flips: bool,
        overwrite: bool,
        on_estimate: OnEstimate | None,
    ) -> None:
        self.table = ScanTable(folder, TABLE_NAME, EstimateRow.columns())
        self._estimator = estimator
        self._folder = folder
        self._flips = flips
        self._overwrite = overwrite
        self._on_estimate = on_estimate

    def run(self, image: Image, names: ResultNames, progress: OnProgress) -> EstimateRow:
        estimate = self._estimator.estimate(image, flips=self._flips, progress=progress)
        written = write_estimate(estimate, image, self._folder, names.stem)
        if self._on_estimate is not None:
            self._on_estimate(image, estimate, names.stem)
        maps = "; ".join(path.name for path in written)
        return EstimateRow(image.source, maps=maps, reason="; ".join(estimate.notes))

    def failed(self, source: str, reason: str) -> EstimateRow:
        return EstimateRow(source, status="failed", reason=reason)

    def earlier(self, scan: Path, names: ResultNames) -> EstimateRow | None:
        maps = [self._folder / map_file_name(names.stem, name) for name in ESTIMATED_MAPS]
        if self._overwrite or not all(path.exists() for path in maps):
            return None
        made_by = estimate_provenance(self._estimator.spec, self._estimator.passes(self._flips))
        found = [known_sidecar(path, scan, made_by) for path in maps]
        known = found[-1]
        if known is None or None in found:
            return None
        return EstimateRow(
            source=str(absolute_path(scan)),
            maps="; ".join(path.name for path in maps),
            seconds=known["seconds"],
            status="kept",
            reason="; ".join(known["notes"]),
        )
