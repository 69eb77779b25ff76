"""`strokelabel predict`: scans in, lesion masks and a table out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from strokelabel.errors import OptionError

if TYPE_CHECKING:
    from strokelabel.inference.batch import Row
    from strokelabel.inference.outputs import OutputChoice
    from strokelabel.inference.predictor import Predictor


class ViewChoice(StrEnum):
    """What the network is shown."""

    BRAIN = "brain"
    HEAD = "head"


def run(  # noqa: PLR0913, PLR0917 - one argument per option of the command
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="NIfTI files, folders of DICOM files, folders to search, or patterns in quotes.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the results.")],
    model: Annotated[
        str, typer.Option(help="Name of a model (see `strokelabel info`), or a weights file.")
    ] = "base",
    probabilities: Annotated[
        bool,
        typer.Option(
            "--probabilities", help="Write the lesion's probability; with --tissues, all classes' too."
        ),
    ] = False,
    tissues: Annotated[
        bool, typer.Option("--tissues", help="Write the likeliest class of each voxel.")
    ] = False,
    tta: Annotated[
        bool, typer.Option("--tta", help="Average over flips; two to eight times slower.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Lesion from this probability on (0 to 1); without it, where lesion is the likeliest class."
        ),
    ] = None,
    min_size_ml: Annotated[float, typer.Option(min=0, help="Drop lesions smaller than this, in ml.")] = 0.0,
    fill_holes: Annotated[bool, typer.Option("--fill-holes", help="Fill what a lesion encloses.")] = False,
    ct: Annotated[
        bool, typer.Option("--ct", help="The scans are CT: show 0 to 80 Hounsfield units.")
    ] = False,
    view: Annotated[
        ViewChoice,
        typer.Option(help="Show the network its field of view around the brain, or the whole head."),
    ] = ViewChoice.BRAIN,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Processor threads; all cores without it.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Predict again, replacing results that are there.")
    ] = False,
) -> None:
    """Segment stroke lesions in scans of any contrast, orientation or spacing.

    Each scan gets a mask on its own grid (<name>_lesion_mask.nii.gz, or a BIDS derivative name) and a row in
    predictions.csv. Results of an interrupted run with the same model and options are kept. Exit code 0 when
    all scans are done, 1 when any failed, 2 for wrong usage, 130 when interrupted.
    """
    scans = find_scans(inputs)

    from strokelabel.inference.options import CT_WINDOW_HU, PredictionOptions

    options = PredictionOptions(
        tta=tta,
        threshold=threshold,
        min_size_ml=min_size_ml,
        fill_holes=fill_holes,
        ct_window=CT_WINDOW_HU if ct else None,
        view=view.value,
    )
    # Torch is imported only once the arguments are known to make sense.
    from strokelabel.inference.outputs import OutputChoice
    from strokelabel.inference.predictor import Predictor

    set_threads(threads)
    predictor = Predictor.from_model(model, device, options)
    failed = predict_all(predictor, scans, output, OutputChoice(probabilities, tissues), overwrite)
    if failed:
        raise typer.Exit(1)


def find_scans(inputs: Sequence[str]) -> list[Path]:
    """The scans that the inputs stand for; results of earlier runs are taken only when named themselves.

    Raises:
        OptionError: the inputs hold results and nothing else.
    """
    from strokelabel.inference.naming import is_result
    from strokelabel.io import find_images

    named = {Path(item).expanduser().resolve() for item in inputs}
    scans = [path for path in find_images(inputs) if path.resolve() in named or not is_result(path)]
    if not scans:
        raise OptionError(f"expected scans, found only masks and probability maps in {', '.join(inputs)}")
    return scans


def set_threads(threads: int | None) -> None:
    """Limit the processor threads of a prediction; None leaves torch's own choice."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def predict_all(
    predictor: Predictor, scans: list[Path], folder: Path, choice: OutputChoice, overwrite: bool
) -> int:
    """Predict scans with a progress bar and a line for each; return how many failed."""
    from strokelabel.inference.batch import predict_scans

    rows: list[Row] = []
    with _progress() as bar:
        task = bar.add_task("starting", total=len(scans))

        def on_progress(stage: str, fraction: float) -> None:
            bar.update(task, completed=len(rows) + fraction, description=stage)

        try:
            for row in predict_scans(predictor, scans, folder, choice, overwrite, on_progress):
                rows.append(row)
                bar.update(task, completed=len(rows))
                _report(row)
        except KeyboardInterrupt:
            typer.echo(
                f"interrupted after {len(rows)} of {len(scans)} scans; the same command goes on", err=True
            )
            raise
    return sum(row.status == "failed" for row in rows)


def _progress() -> Progress:
    """A progress bar on stderr; silent where that is not a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(
        *columns,
        console=console,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # else the lines for a pipe would go to the terminal
        disable=not console.is_terminal,
    )


def _report(row: Row) -> None:
    """One line for a scan: on stdout what was found, on stderr why it failed."""
    name = Path(row.source).name
    if row.status == "failed":
        typer.echo(f"error: {row.reason}", err=True)
        return
    earlier = " (kept from an earlier run)" if row.status == "kept" else ""
    lesions = "lesion" if row.lesion_count == 1 else "lesions"
    typer.echo(
        f"{name}: {row.volume_ml:.1f} ml in {row.lesion_count} {lesions}, {row.seconds:.1f} s{earlier}"
    )
    if row.reason:
        typer.echo(f"note: {name}: {row.reason}", err=True)
