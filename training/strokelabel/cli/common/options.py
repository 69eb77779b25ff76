"""Options that several commands share, and what those on many scans have in common: progress, lines, threads."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from strokelabel.inference.batch import ScanRow
    from strokelabel.inference.network_input import OnProgress
    from strokelabel.io.file_search import ImageSearch


EngineName = Literal["auto", "onnx", "torch"]
Engine = Annotated[
    EngineName,
    typer.Option(
        help="onnx (ONNX Runtime), torch, or auto: onnx on CPUs for the models that can, torch else."
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<index>.")]
Ct = Annotated[bool, typer.Option("--ct", help="Treat scans as CT: clip to 0 to 80 Hounsfield units.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Number of CPU threads; default: all cores.")]
Prepared = Annotated[Path, typer.Option("--prepared", help="Folder written by `strokelabel prepare`.")]


SeriesNames = Annotated[
    list[str] | None,
    typer.Option(
        "--series",
        metavar="NAME",
        help="Of DICOM series, take only those of this number, description (* and ? allowed) or UID, as "
        "`strokelabel series` lists them; repeat for more.",
    ),
]
INPUT_KINDS = (
    "Image files (NIfTI, NRRD, MetaImage, .mgz), folders of DICOM files, archives, folders to search"
)
Inputs = Annotated[
    list[str], typer.Argument(metavar="INPUT...", help=f"{INPUT_KINDS}, or patterns in quotes.")
]


_Row = TypeVar("_Row", bound="ScanRow")


def find_scans(inputs: list[str], series: list[str] | None = None) -> ImageSearch:
    """Return the scans that the inputs stand for; of DICOM series only those of the given names.

    Raises:
        OptionError: no series is called so; the error lists those that are there.
    """
    from strokelabel.io import search_images

    search = search_images(inputs)
    if not series:
        return search
    from strokelabel.io.series_choice import choose_series  # pydicom is only needed where DICOM is

    return replace(search, images=choose_series(search.images, series))


def set_threads(threads: int | None) -> None:
    """Limit the processor threads of a command; None leaves the choice as it is."""
    from strokelabel.inference.device import set_threads as limit

    limit(threads)


def given_names(given: dict[str, bool], separator: str = " and ") -> str:
    """Return the names of the options that are given; "" for none."""
    return separator.join(name for name, is_given in given.items() if is_given)


def follow_scans(
    start: Callable[[OnProgress], Iterator[_Row]], count: int, report: Callable[[_Row], None]
) -> int:
    """Go through scans with a progress bar and a line for each; return how many failed."""
    rows: list[_Row] = []
    with scan_progress() as bar:
        task = bar.add_task("starting", total=count)

        def on_progress(stage: str, fraction: float) -> None:
            bar.update(task, completed=len(rows) + fraction, description=stage)

        try:
            for row in start(on_progress):
                rows.append(row)
                bar.update(task, completed=len(rows))
                report(row)
        except KeyboardInterrupt:
            typer.echo(
                f"interrupted after {len(rows)} of {count} scans; run the same command to continue", err=True
            )
            raise
    return sum(row.status == "failed" for row in rows)


def scan_progress() -> Progress:
    """Return a progress bar on stderr; silent where that is not a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(
        *columns,
        console=console,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # else the lines for a pipe would go to the terminal
        disable=not console.is_terminal,
    )


def report_scan(row: ScanRow, found: str) -> None:
    """Report a scan in one line: its result on stdout, or the reason of a failure on stderr."""
    if row.status == "failed":
        typer.echo(f"error: {row.reason}", err=True)
        return
    name = Path(row.source).name
    earlier = " (kept from an earlier run)" if row.status == "kept" else ""
    taken = "" if row.seconds is None else f", {row.seconds:.1f} s"
    typer.echo(f"{name}: {found}{taken}{earlier}")
    if row.reason:
        typer.echo(f"note: {name}: {row.reason}", err=True)
