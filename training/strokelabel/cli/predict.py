"""`strokelabel predict`: scans in, lesion masks or structures and a table out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from strokelabel.cli import predict_options as option
from strokelabel.errors import OptionError

if TYPE_CHECKING:
    from strokelabel.inference.batch.run import Row
    from strokelabel.inference.network_input import OnProgress
    from strokelabel.inference.parcellate.batch import ParcellationRow
    from strokelabel.inference.segment.options import PredictionOptions
    from strokelabel.inference.segment.outputs import OutputChoice


class _AnyRow(Protocol):
    @property
    def status(self) -> str: ...


_Row = TypeVar("_Row", bound=_AnyRow)


def run(  # noqa: PLR0913, PLR0917 - one argument per option of the command
    inputs: option.Inputs,
    output: option.Output,
    model: option.Model = "base",
    probabilities: option.Probabilities = False,
    tissues: option.Tissues = False,
    dicom_seg: option.DicomSeg = False,
    tta: option.Tta = False,
    device: option.Device = "auto",
    threshold: option.Threshold = None,
    min_size_ml: option.MinSize = 0.0,
    fill_holes: option.FillHoles = False,
    keep_outside_brain: option.KeepOutsideBrain = False,
    ct: option.Ct = False,
    view: option.View = option.ViewChoice.BRAIN,
    threads: option.Threads = None,
    overwrite: option.Overwrite = False,
) -> None:
    """Segment stroke lesions in scans of any contrast, orientation or spacing.

    Each scan gets a mask on its own grid (<name>_lesion_mask.nii.gz, or a BIDS derivative name) and a row in
    predictions.csv; a model for parcellation gives structures (<name>_parcellation_dseg.nii.gz), their volumes and
    a row in parcellations.csv. Results of an interrupted run with the same model and options are kept. Exit code 0
    when all scans are done, 1 when any failed, 2 for wrong usage, 130 when interrupted.
    """
    scans = find_scans(inputs)

    from strokelabel.inference.segment.options import CT_WINDOW_HU, PredictionOptions
    from strokelabel.inference.segment.outputs import OutputChoice
    from strokelabel.registry import PARCELLATION, find_model

    options = PredictionOptions(
        tta=tta,
        threshold=threshold,
        min_size_ml=min_size_ml,
        fill_holes=fill_holes,
        keep_outside_brain=keep_outside_brain,
        ct_window=CT_WINDOW_HU if ct else None,
        view=view.value,
    )
    choice = OutputChoice(probabilities, tissues, dicom_seg)
    set_threads(threads)
    if find_model(model).task == PARCELLATION:
        _refuse_lesion_options(options, choice)
        failed = _parcellate(model, device, options, scans, output, overwrite)
    else:
        failed = _segment(model, device, options, scans, output, choice, overwrite)
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


def _segment(
    model: str,
    device: str,
    options: PredictionOptions,
    scans: list[Path],
    folder: Path,
    choice: OutputChoice,
    overwrite: bool,
) -> int:
    """Find the lesions of scans; return how many failed."""
    # Torch is imported only once the arguments are known to make sense.
    from strokelabel.inference.batch.run import predict_scans
    from strokelabel.inference.segment.predictor import Predictor

    predictor = Predictor.from_model(model, device, options)
    return _follow(
        lambda progress: predict_scans(predictor, scans, folder, choice, overwrite, progress),
        len(scans),
        _report,
    )


def _parcellate(
    model: str, device: str, options: PredictionOptions, scans: list[Path], folder: Path, overwrite: bool
) -> int:
    """Find the structures of scans; return how many failed."""
    from strokelabel.inference.parcellate.batch import parcellate_scans
    from strokelabel.inference.parcellate.predictor import Parcellator

    parcellator = Parcellator.from_model(model, device, options)
    return _follow(
        lambda progress: parcellate_scans(parcellator, scans, folder, overwrite, progress),
        len(scans),
        _report_parcellation,
    )


def _refuse_lesion_options(options: PredictionOptions, choice: OutputChoice) -> None:
    """Refuse options that mean nothing to a model without lesions.

    Raises:
        OptionError: naming them.
    """
    given = {
        "--threshold": options.threshold is not None,
        "--min-size-ml": options.min_size_ml > 0,
        "--fill-holes": options.fill_holes,
        "--keep-outside-brain": options.keep_outside_brain,
        "--probabilities": choice.probabilities,
        "--tissues": choice.tissues,
        "--dicom-seg": choice.dicom_seg,
    }
    if any(given.values()):
        raise OptionError(
            f"expected no options about lesions for a parcellation, got "
            f"{', '.join(name for name, is_given in given.items() if is_given)}; leave them out"
        )


def _follow(start: Callable[[OnProgress], Iterator[_Row]], count: int, report: Callable[[_Row], None]) -> int:
    """Go through scans with a progress bar and a line for each; return how many failed."""
    rows: list[_Row] = []
    with _progress() as bar:
        task = bar.add_task("starting", total=count)

        def on_progress(stage: str, fraction: float) -> None:
            bar.update(task, completed=len(rows) + fraction, description=stage)

        try:
            for row in start(on_progress):
                rows.append(row)
                bar.update(task, completed=len(rows))
                report(row)
        except KeyboardInterrupt:
            typer.echo(f"interrupted after {len(rows)} of {count} scans; the same command goes on", err=True)
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
    lesions = "lesion" if row.lesion_count == 1 else "lesions"
    _report_scan(
        row, "" if row.volume_ml is None else f"{row.volume_ml:.1f} ml in {row.lesion_count} {lesions}"
    )


def _report_parcellation(row: ParcellationRow) -> None:
    """The same for structures."""
    _report_scan(row, "" if row.intracranial_ml is None else f"{row.intracranial_ml:.0f} ml inside the skull")


def _report_scan(row: Row | ParcellationRow, found: str) -> None:
    if row.status == "failed":
        typer.echo(f"error: {row.reason}", err=True)
        return
    name = Path(row.source).name
    earlier = " (kept from an earlier run)" if row.status == "kept" else ""
    typer.echo(f"{name}: {found}, {row.seconds:.1f} s{earlier}")
    if row.reason:
        typer.echo(f"note: {name}: {row.reason}", err=True)
