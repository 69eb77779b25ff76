"""`strokelabel pseudo-label`: lesion masks of an unlabelled cohort, for training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from strokelabel.fit.pseudo_labels.cohort import PseudoLabeler, PseudoRow


def run(  # noqa: PLR0913, PLR0917 - one argument per option of the command
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT...", help="Folder of scans (BIDS or any other), files, or patterns."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for masks and records.")
    ],
    model: Annotated[
        str, typer.Option(help="Model that draws the lesions: a name, or a weights file.")
    ] = "base",
    tissues: Annotated[
        str,
        typer.Option(help="Model whose tissues align scans with ICBM space, where the first has no tissues."),
    ] = "base",
    minimum_confidence: Annotated[
        float, typer.Option(min=0, max=1, help="Gate: mean lesion probability inside the mask.")
    ] = 0.7,
    minimum_ml: Annotated[float, typer.Option(min=0, help="Gate: volume of the mask, in ml.")] = 1.0,
    minimum_similarity: Annotated[
        float, typer.Option(min=0, max=1, help="Gate: correlation with the ICBM template after alignment.")
    ] = 0.8,
    tta: Annotated[
        bool, typer.Option("--tta/--no-tta", help="Average over flips, as the paper does.")
    ] = True,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Processor threads; all cores without it.")
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Label again, replacing what no annotator accepted or corrected."),
    ] = False,
) -> None:
    """Draw lesion masks on an unlabelled cohort, and judge which are fit to train on.

    Each scan gets a mask (a BIDS derivative) with a record of weights, options, confidence, volume, alignment with
    ICBM space, and whether the gate accepted it or why not; pseudo-labels.csv lists them all. Interrupted, the same
    command goes on; with another gate it only judges anew. Exit code 0 when all scans are done, 1 when any failed, 2
    for wrong usage, 130 when interrupted.
    """
    from strokelabel.cli.predict import find_scans, set_threads

    scans = find_scans(inputs)

    from strokelabel.fit.pseudo_labels.alignment import has_tissues
    from strokelabel.fit.pseudo_labels.cohort import PseudoLabeler
    from strokelabel.fit.pseudo_labels.record import QualityGate
    from strokelabel.inference.segment.options import PredictionOptions
    from strokelabel.inference.segment.predictor import Predictor

    set_threads(threads)
    options = PredictionOptions(tta=tta, keep_probabilities=False)
    gate = QualityGate(minimum_confidence, minimum_ml, minimum_similarity)
    predictor = Predictor.from_model(model, device, options)
    second = None
    if not has_tissues(predictor.spec.class_names):
        second = Predictor.from_model(tissues, device, PredictionOptions(keep_probabilities=False))
    labeler = PseudoLabeler(predictor, output, gate, second, overwrite)
    if any(row.status == "failed" for row in _label_all(labeler, scans)):
        raise typer.Exit(1)


def _label_all(labeler: PseudoLabeler, scans: list[Path]) -> list[PseudoRow]:
    """Label scans with a progress bar, a line for each, and the sum of it at the end."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    rows: list[PseudoRow] = []
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("starting", total=len(scans))

        def on_progress(stage: str, fraction: float) -> None:
            bar.update(task, completed=len(rows) + fraction, description=stage)

        try:
            for row in labeler.label_scans(scans, on_progress):
                rows.append(row)
                bar.update(task, completed=len(rows))
                _report(row)
        except KeyboardInterrupt:
            typer.echo(
                f"interrupted after {len(rows)} of {len(scans)} scans; the same command goes on", err=True
            )
            raise
    accepted = sum(row.label is not None and row.label.accepted for row in rows)
    failed = sum(row.status == "failed" for row in rows)
    console.print(
        f"{labeler.folder}: {len(rows)} scans, {accepted} masks accepted, {len(rows) - accepted - failed} rejected, "
        f"{failed} failed",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )
    return rows


def _report(row: PseudoRow) -> None:
    """One line for a scan: on stdout what became of it, on stderr why it failed."""
    name = Path(row.source).name
    if row.label is None:
        typer.echo(f"error: {row.problem}", err=True)
        return
    measures, earlier = row.label.measures, " (kept from an earlier run)" if row.status == "kept" else ""
    verdict = "accepted" if row.label.accepted else f"rejected: {'; '.join(row.label.reasons)}"
    typer.echo(
        f"{name}: {measures.volume_ml:.1f} ml, confidence {measures.mean_confidence:.2f}, "
        f"{row.seconds:.1f} s{earlier}: {verdict}"
    )
