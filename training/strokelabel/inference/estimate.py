"""Quantitative maps of a scan, on the scan's own grid (Chalcroft et al. 2025, qATLAS, section 2.1).

The estimator, and the estimation of many scans with the files that are written for each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from strokelabel import __version__
from strokelabel.inference.batch import ScanBatch, ScanRow, ScanTable, run_scans
from strokelabel.inference.naming import ResultNames
from strokelabel.inference.network_input import OnProgress, head_view, normalized_item, trained_flips
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.provenance import known_sidecar, provenance
from strokelabel.inference.scan_model import ScanModel
from strokelabel.io import Image, atomic_write_json, write_nifti
from strokelabel.io.bids import derivative_name, sidecar_path
from strokelabel.io.file_search import SearchProblem, absolute_path
from strokelabel.io.map_files import BIDS_SUFFIXES, MAP_UNITS, PLAIN_SUFFIXES
from strokelabel.networks.estimator import ESTIMATED_MAPS
from strokelabel.registry import ESTIMATION, ModelSpec
from strokelabel.types import ChannelVolume


@dataclass(frozen=True, eq=False)
class Estimate:
    """Maps of one scan.

    Attributes:
        maps: (4, i, j, k) float32 on the scan's grid, in the order of `networks.estimator.ESTIMATED_MAPS`: PD (p.u.),
            R1 (1/s), R2* (1/s), MT (p.u.); zero where the network was not shown the scan.
        spec: the model.
        passes: over how many flips the maps were averaged.
        seconds: time that it took.
        notes: what a user should know about the scan.
    """

    maps: ChannelVolume
    spec: ModelSpec
    passes: int
    seconds: float
    notes: tuple[str, ...] = ()


class QuantitativeEstimator(ScanModel):
    """Estimator of quantitative maps of T1-weighted (MPRAGE) scans of any orientation and spacing.

    Args:
        spec, network, device: see `ScanModel`; the network maps normalised scans to maps (1, 4, x, y, z).
        options: memory; nothing else is used.

    Raises:
        WeightsError: the model is not an estimator.
    """

    task = ESTIMATION
    purpose = "estimates quantitative maps"

    def passes(self, flips: bool) -> int:
        """Return the number of passes that `estimate` averages."""
        return 2 ** len(trained_flips(self.spec)) if flips else 1

    def estimate(
        self,
        image: Image,
        *,
        flips: bool = True,
        max_voxels: int | None = None,
        progress: OnProgress | None = None,
    ) -> Estimate:
        """Estimate the maps of one scan.

        Args:
            image: from `read_image`, or built from an array.
            flips: average over all flips that the network was trained with, eight as a rule. The average is over the
                maps themselves and divided by their true number (the public code averages logarithms of eight maps and
                divides by seven, which inflates them).
            max_voxels: largest box, in canonical voxels, to do in one pass; None for what memory allows.
            progress: told how far it is.

        Raises:
            ImageError: the scan cannot be used; see `strokelabel.errors`.
        """
        began = time.perf_counter()
        canonical, volume = self.canonical_volume(image)
        # Instance normalisation needs more than one voxel at the coarsest level, however small the head.
        box = head_view(volume, self.spec.spacing_mm, 2 * self.multiple)
        item = normalized_item(box.crop(volume), self.spec)
        engine = self.engine(replace(self.options, max_voxels=max_voxels or self.options.max_voxels))
        axes = trained_flips(self.spec) if flips else ()

        def on_pass(done: int, total: int) -> None:
            if progress is not None:
                progress("estimating", 0.9 * done / total)

        maps = engine.mean_output(item, axes, on_pass)
        return Estimate(
            maps=np.stack([canonical.inverse(box.paste(one)[np.newaxis])[0] for one in maps]),
            spec=self.spec,
            passes=self.passes(flips),
            seconds=time.perf_counter() - began,
            notes=image.notes,
        )

    def _advice(self, spec: ModelSpec) -> str:
        return "train one with `strokelabel train qatlas-estimator`"


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
    task = EstimateTask(estimator, folder, flips, overwrite, on_estimate)
    return run_scans(task, ScanBatch.of(scans, problems), progress)


class EstimateTask:
    """Batch task that estimates the maps of each scan.

    Args and errors: as `estimate_scans`.
    """

    def __init__(
        self,
        estimator: QuantitativeEstimator,
        folder: Path,
        flips: bool = True,
        overwrite: bool = False,
        on_estimate: OnEstimate | None = None,
    ) -> None:
        self.table = ScanTable(folder, TABLE_NAME, EstimateRow.columns())
        self._estimator = estimator
        self._folder = folder
        self._flips = flips
        self._overwrite = overwrite
        self._on_estimate = on_estimate

    def run(self, image: Image, names: ResultNames, progress: OnProgress) -> EstimateRow:
        """Estimate the maps of one scan and write them."""
        estimate = self._estimator.estimate(image, flips=self._flips, progress=progress)
        written = write_estimate(estimate, image, self._folder, names.stem)
        if self._on_estimate is not None:
            self._on_estimate(image, estimate, names.stem)
        maps = "; ".join(path.name for path in written)
        return EstimateRow(image.source, maps=maps, reason="; ".join(estimate.notes))

    def failed(self, source: str, reason: str) -> EstimateRow:
        """Return the row of a scan whose maps could not be estimated."""
        return EstimateRow(source, status="failed", reason=reason)

    def earlier(self, scan: Path, names: ResultNames) -> EstimateRow | None:
        """Return the row of maps that are there, made by the same model."""
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
            status="kept",
            reason="; ".join(known["notes"]),
        )


DESCRIPTIONS: dict[str, str] = {
    "pd": "Proton density; 100 is pure water",
    "r1": "Longitudinal relaxation rate",
    "r2_star": "Effective transverse relaxation rate",
    "mt": "Magnetisation transfer saturation",
}
"""Description of each map."""


def map_file_name(stem: str, name: str) -> str:
    """Return the file name of an estimated map.

    Args:
        stem: name of the scan without .nii.gz.
        name: of the map, one of `ESTIMATED_MAPS`.
    """
    if ResultNames(stem).is_bids:
        return derivative_name(stem, f"{BIDS_SUFFIXES[name]}.nii.gz", "estimated")
    return f"{stem}_{PLAIN_SUFFIXES[name]}.nii.gz"


def write_estimate(estimate: Estimate, image: Image, folder: Path, stem: str) -> list[Path]:
    """Write the maps of one scan on its own grid, each atomically and after its sidecar.

    Args:
        estimate: on the grid of `image`.
        image: the scan, whose geometry the files take.
        folder: where to.
        stem: name of the scan without .nii.gz.

    Returns:
        The maps' files.

    Raises:
        OutputError: a file cannot be written.
    """
    about = f"StrokeLabel {__version__} {estimate.spec.name} {estimate.spec.version}"
    paths = []
    for name, values in zip(ESTIMATED_MAPS, estimate.maps, strict=True):
        path = folder / map_file_name(stem, name)
        atomic_write_json(sidecar_path(path), _sidecar(estimate, image, name))
        write_nifti(path, values, image, np.float32, about)
        paths.append(path)
    return paths


def estimate_provenance(spec: ModelSpec, passes: int) -> dict[str, Any]:
    """Return what decides maps besides the scan: versions, weights, and the number of passes averaged."""
    made_by = provenance(spec, PredictionOptions())
    del made_by["options"]
    return made_by | {"averaged_flips": passes}


def _sidecar(estimate: Estimate, image: Image, name: str) -> dict[str, Any]:
    """Return the sidecar of a map: BIDS's keys, and ours in lower case."""
    return {
        "Description": f"{DESCRIPTIONS[name]}, estimated from one scan by a network; for research only",
        "Units": MAP_UNITS[name],
        "Sources": [image.source],
        "SpatialReference": "orig",
        **estimate_provenance(estimate.spec, estimate.passes),
        "notes": list(estimate.notes),
    }
