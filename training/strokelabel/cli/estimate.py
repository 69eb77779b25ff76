"""`strokelabel estimate`: T1-weighted scans in, quantitative maps out."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strokelabel.cli.common.batches import DaskAddress, PartOption, Sharing, Workers, run_batch
from strokelabel.cli.common.options import (
    INPUT_KINDS,
    Device,
    SeriesNames,
    Threads,
    find_scans,
    report_scan,
    set_threads,
)
from strokelabel.io.file_search import absolute_path

if TYPE_CHECKING:
    from strokelabel.inference.estimate import EstimateTask


Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="SCAN...",
        help=f"T1-weighted (MPRAGE) scans. {INPUT_KINDS}, or patterns.",
    ),
]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the maps.")]
Weights = Annotated[str, typer.Option(help="An estimator: its weights file, or its name.")]
Flips = Annotated[
    bool, typer.Option(help="Average over flips; up to eight times slower, slightly more accurate.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing maps.")]


def run(  # noqa: PLR0913, PLR0917 - one argument per option of the command
    inputs: Inputs,
    output: Output,
    weights: Weights,
    flips: Flips = True,
    series: SeriesNames = None,
    device: Device = "auto",
    part: PartOption = None,
    workers: Workers = None,
    dask: DaskAddress = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
) -> None:
    """Estimate quantitative maps (PD, R1, R2*, MT) of T1-weighted scans.

    Each scan gets four maps on its own grid, with their units in a sidecar (JSON), and a picture. What a network
    makes of a scan that is no MPRAGE is meaningless. Train an estimator with `strokelabel train qatlas-estimator`.
    """
    from strokelabel.inference.batch import ScanBatch
    from strokelabel.io.map_files import is_map_file

    search = find_scans(inputs, series)
    named = {absolute_path(Path(item).expanduser()) for item in inputs}
    scans = [path for path in search.images if absolute_path(path) in named or not is_map_file(path)]
    sharing = Sharing.of(part, workers, dask)
    common = sharing.place(weights), device, sharing.threads(threads), output.absolute()
    make_task = partial(_make_task, *common, flips, overwrite)
    batch = ScanBatch.of(scans, search.problems)
    failed = run_batch(make_task, batch, sharing, lambda row: report_scan(row, row.maps or ""))
    if failed or not scans:
        raise typer.Exit(1)


def _make_task(
    weights: str, device: str, threads: int | None, output: Path, flips: bool, overwrite: bool
) -> EstimateTask:
    """Load the estimator, and write a picture beside the maps of each scan."""
    from strokelabel.inference.estimate import Estimate, EstimateTask, QuantitativeEstimator
    from strokelabel.io import Image
    from strokelabel.reports.simulation import save_estimate_picture

    set_threads(threads)
    estimator = QuantitativeEstimator.from_model(weights, device)

    def save_picture(image: Image, estimate: Estimate, stem: str) -> None:
        picture = output / f"{stem}_maps.png"
        save_estimate_picture(image, estimate.maps, picture, estimator.spec.spacing_mm)

    return EstimateTask(estimator, output, flips, overwrite, save_picture)
