"""`strokelabel estimate`: T1-weighted scans in, quantitative maps out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from strokelabel.inference.estimate.predictor import QuantitativeEstimator


def run(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="SCAN...",
            help="T1-weighted (MPRAGE) scans: NIfTI files, folders of DICOM files, folders to search, or patterns.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the maps.")],
    weights: Annotated[str, typer.Option(help="An estimator: its weights file, or its name.")],
    flips: Annotated[
        bool, typer.Option(help="Average over flips; without, up to eight times faster, a little rougher.")
    ] = True,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Processor threads; all cores without it.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace maps that are there.")] = False,
) -> None:
    """Estimate quantitative maps (PD, R1, R2*, MT) of T1-weighted scans.

    Each scan gets four maps on its own grid, with their units in a sidecar (JSON), and a picture. What a network
    makes of a scan that is no MPRAGE is meaningless. Train an estimator with `strokelabel train qatlas-estimator`.
    """
    from strokelabel.cli.predict import find_scans, set_threads
    from strokelabel.inference.estimate.predictor import QuantitativeEstimator
    from strokelabel.inference.naming import unique_stems
    from strokelabel.io.map_files import is_map_file

    named = {Path(item).expanduser().resolve() for item in inputs}
    scans = [path for path in find_scans(inputs) if path.resolve() in named or not is_map_file(path)]
    set_threads(threads)
    estimator = QuantitativeEstimator.from_model(weights, device)
    stems = unique_stems(scans)
    failed = [
        path
        for path, stem in zip(scans, stems, strict=True)
        if not _estimate(estimator, path, output, stem, flips=flips, overwrite=overwrite)
    ]
    if failed or not scans:
        raise typer.Exit(1)


def _estimate(
    estimator: QuantitativeEstimator, path: Path, folder: Path, stem: str, *, flips: bool, overwrite: bool
) -> bool:
    """Estimate one scan and say how it went; false if it failed, which does not stop the others."""
    from strokelabel.errors import OutputError, StrokeLabelError
    from strokelabel.inference.estimate.outputs import map_file_name, write_estimate
    from strokelabel.io import read_image
    from strokelabel.networks.estimator import ESTIMATED_MAPS
    from strokelabel.reports.estimates import save_estimate_picture

    try:
        there = [name for name in ESTIMATED_MAPS if (folder / map_file_name(stem, name)).exists()]
        if there and not overwrite:
            raise OutputError(f"{folder / map_file_name(stem, there[0])}: is there already; use --overwrite")
        image = read_image(path)
        estimate = estimator.estimate(image, flips=flips)
        written = write_estimate(estimate, image, folder, stem)
        picture = folder / f"{stem}_maps.png"
        save_estimate_picture(image, estimate.maps, picture, estimator.spec.spacing_mm)
    except StrokeLabelError as error:
        typer.echo(f"error: {error}", err=True)
        return False
    names = ", ".join(one.name for one in written)
    typer.echo(f"{path}: {names}, {picture.name} ({estimate.seconds:.1f} s)")
    return True
