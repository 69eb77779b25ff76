"""`strokelabel adapt`: a model trained on its own pseudo-labels of a cohort."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from strokelabel.cli.common.options import (
    Ct,
    Device,
    SeriesNames,
    Threads,
    find_scans,
    follow_scans,
    report_scan,
    scan_progress,
    set_threads,
)

if TYPE_CHECKING:
    from strokelabel.adaptation.cohort.report import CohortReport, CohortRow
    from strokelabel.adaptation.cohort.run import CohortAdaptation


class MethodChoice(StrEnum):
    """Choice of the voxels that are trained on."""

    PL = "pl"
    UPL = "upl"
    DPL = "dpl"


Inputs = Annotated[
    list[str],
    typer.Argument(metavar="COHORT...", help="Folder of scans (BIDS or any other), files, or patterns."),
]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the model.")]
Method = Annotated[
    MethodChoice,
    typer.Option(
        help="Train on confident voxels (pl); of these, on those that dropout hardly changes (upl); of these, on "
        "those whose features are like their class's (dpl)."
    ),
]
ModelOption = Annotated[
    str, typer.Option(help="Model to adapt: a name, or a weights file. It does not change.")
]
Steps = Annotated[int | None, typer.Option(min=0, help="Training steps; default: 2000.")]
Confidence = Annotated[
    float | None,
    typer.Option(help="Probability that a confident voxel exceeds; default: (n - 1/2) / n with n classes."),
]
Dropout = Annotated[
    float | None,
    typer.Option(help="Dropout rate of the passes of upl and dpl; default: that of the model's training."),
]
LearningRate = Annotated[float | None, typer.Option(help="Learning rate; default: 0.0001.")]
Seed = Annotated[int, typer.Option(min=0, help="Decides windows and dropout.")]
Force = Annotated[bool, typer.Option("--force", help="Write the model even if it fails the safety checks.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace another adaptation in the folder.")]


def run(  # noqa: PLR0913, PLR0917 - one argument per option of the command
    inputs: Inputs,
    output: Output,
    method: Method,
    model: ModelOption = "base",
    steps: Steps = None,
    confidence: Confidence = None,
    dropout: Dropout = None,
    learning_rate: LearningRate = None,
    seed: Seed = 0,
    ct: Ct = False,
    series: SeriesNames = None,
    device: Device = "auto",
    threads: Threads = None,
    force: Force = False,
    overwrite: Overwrite = False,
) -> None:
    """Adapt a model to an unlabelled cohort by training it on its own answers, where they can be relied on.

    The folder gets the adapted model (model.safetensors, for --model) and adaptation.json: voxels kept of each scan,
    and lesion volume and entropy before and after. A model that fails the safety checks is not written, unless
    forced. If it is interrupted, run the same command to continue. Exit code 0 when the model is written and
    all scans were used, 1 if it was refused or any scan failed, 2 for wrong usage, 130 when interrupted.
    """
    from strokelabel.adaptation.options import CohortOptions

    given: dict[str, Any] = {
        "steps": steps, "confidence": confidence, "dropout": dropout, "learning_rate": learning_rate,
    }  # fmt: skip
    options = CohortOptions(method.value, seed=seed, **{k: v for k, v in given.items() if v is not None})
    search = find_scans(inputs, series)

    from strokelabel.adaptation.cohort.run import CohortAdaptation
    from strokelabel.inference.options import CT_WINDOW_HU, PredictionOptions
    from strokelabel.inference.segment.predictor import Predictor

    set_threads(threads)
    prediction = PredictionOptions(ct_window=CT_WINDOW_HU if ct else None)
    predictor = Predictor.from_model(model, device, prediction)
    adaptation = CohortAdaptation(predictor, search.images, output, options, search.problems, overwrite)
    if adaptation.earlier is not None:
        typer.echo("the same adaptation was done before: kept", err=True)
        _report(adaptation.earlier, output)
        return
    failed = follow_scans(adaptation.label, len(search.images) + len(search.problems), _report_labels)
    result = adaptation.train()
    if result is not None and not result.finished:
        typer.echo(f"stopped after {result.steps} steps; run the same command to continue", err=True)
        raise typer.Exit(130)
    report = _compare(adaptation, force)
    _report(report, output)
    if failed or not report.accepted:
        raise typer.Exit(1)


def _compare(adaptation: CohortAdaptation, force: bool) -> CohortReport:
    """Compare the outputs before and after with a progress bar."""
    with scan_progress() as bar:
        task = bar.add_task("comparing", total=100)
        return adaptation.finish(
            lambda stage, fraction: bar.update(task, completed=int(100 * fraction), description=stage), force
        )


def _report_labels(row: CohortRow) -> None:
    """Report a scan in one line: what is trained on, or the reason of a failure on stderr."""
    report_scan(row, "" if row.kept is None else f"{row.volume_ml:.1f} ml, {row.kept:.0%} of the voxels kept")


def _report(report: CohortReport, folder: Path) -> None:
    """Report the outcome: the model, or what speaks against it."""
    entropies = f"{report.mean('entropy_before'):.4f} to {report.mean('entropy_after'):.4f}"
    volumes = f"{report.mean('volume_before_ml'):.2f} to {report.mean('volume_after_ml'):.2f} ml"
    typer.echo(f"{len(report.changes)} scans: mean entropy {entropies}, mean lesion {volumes}")
    for objection in report.objections:
        typer.echo(f"{'note' if report.accepted else 'error'}: {objection}", err=True)
    if report.accepted:
        typer.echo(f"{folder / 'model.safetensors'}: {report.adapted['name']} {report.adapted['version']}")
    else:
        typer.echo(
            "error: the adapted model was not written; lower the learning rate or the steps, or use --force",
            err=True,
        )
