"""`strokelabel pseudo-label`: lesion masks of an unlabelled cohort, for training."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strokelabel.cli.common.batches import DaskAddress, PartOption, Sharing, Workers, run_batch
from strokelabel.cli.common.options import Device, SeriesNames, Threads, find_scans, set_threads

if TYPE_CHECKING:
    from strokelabel.fit.pseudo_labels.cohort import PseudoLabeler, PseudoRow
    from strokelabel.fit.pseudo_labels.record import QualityGate
    from strokelabel.inference.batch import ScanBatch
    from strokelabel.inference.distributed import MakeTask
    from strokelabel.inference.options import PredictionOptions
    from strokelabel.inference.segment.predictor import Predictor


Inputs = Annotated[
    list[str],
    typer.Argument(metavar="INPUT...", help="Folder of scans (BIDS or any other), files, or patterns."),
]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for masks and records.")]
ModelOption = Annotated[str, typer.Option(help="Model that segments the lesions: a name, or a weights file.")]
Tissues = Annotated[
    str,
    typer.Option(help="Model whose tissues align scans with ICBM space, where the first has no tissues."),
]
MinimumConfidence = Annotated[
    float, typer.Option(min=0, max=1, help="Smallest mean lesion probability inside an accepted mask.")
]
MinimumMl = Annotated[float, typer.Option(min=0, help="Smallest volume of an accepted mask, in ml.")]
MinimumSimilarity = Annotated[
    float, typer.Option(min=0, max=1, help="Smallest correlation with the ICBM template after alignment.")
]
Tta = Annotated[bool, typer.Option("--tta/--no-tta", help="Average over flips, as the paper does.")]
Threshold = Annotated[
    float | None,
    typer.Option(
        min=0, max=1, help="Least lesion probability of a voxel of a mask; default: the most likely class."
    ),
]
MinSizeMl = Annotated[float, typer.Option(min=0, help="Drop lesions smaller than this from a mask, in ml.")]
ReviewOption = Annotated[
    Path | None,
    typer.Option(
        metavar="TABLE",
        help="Table with the columns mask and review (accepted, corrected or rejected): take over its decisions first.",
    ),
]
Sheets = Annotated[
    bool, typer.Option("--sheets", help="Write review-01.png, ... with every mask on its scan.")
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite", help="Label again and replace masks that no annotator accepted or corrected."
    ),
]


def run(  # noqa: PLR0913, PLR0917 - one argument per option of the command
    inputs: Inputs,
    output: Output,
    model: ModelOption = "base",
    tissues: Tissues = "base",
    minimum_confidence: MinimumConfidence = 0.7,
    minimum_ml: MinimumMl = 1.0,
    minimum_similarity: MinimumSimilarity = 0.8,
    threshold: Threshold = None,
    min_size_ml: MinSizeMl = 0.0,
    tta: Tta = True,
    review: ReviewOption = None,
    sheets: Sheets = False,
    series: SeriesNames = None,
    device: Device = "auto",
    part: PartOption = None,
    workers: Workers = None,
    dask: DaskAddress = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
) -> None:
    """Predict lesion masks for an unlabelled cohort, and accept those that are good enough for training.

    Each scan gets a mask (a BIDS derivative) with a record of weights, options, confidence, volume, alignment with
    ICBM space, and whether the gate accepted it or why not; pseudo-labels.csv lists them all. A person who looks at
    the masks (--sheets) has the last word: fill in the column review in a copy of that table, and name it with
    --review. If it is interrupted, run the same command to continue; with another gate it only applies that gate.
    Exit code 0 when all scans are done, 1 if any failed, 2 for wrong usage, 130 when interrupted.
    """

    search = find_scans(inputs, series)

    from strokelabel.fit.pseudo_labels.record import QualityGate, write_reviews
    from strokelabel.inference.batch import ScanBatch
    from strokelabel.inference.options import PredictionOptions

    sharing = Sharing.of(part, workers, dask)
    if review is not None:
        typer.echo(f"{review}: {write_reviews(review, output)} reviews taken over", err=True)
    options = PredictionOptions(
        tta=tta, threshold=threshold, min_size_ml=min_size_ml, keep_probabilities=False
    )
    gate = QualityGate(minimum_confidence, minimum_ml, minimum_similarity)
    models = sharing.place(model), sharing.place(tissues)
    make_task = partial(
        _make_task, *models, device, sharing.threads(threads), options, output.absolute(), gate, overwrite
    )
    count, accepted, failed = _label(make_task, ScanBatch.of(search.images, search.problems), sharing)
    typer.echo(
        f"{output}: {count} scans, {accepted} masks accepted, {count - accepted - failed} rejected, {failed} failed",
        err=True,
    )
    if sheets:
        _write_sheets(output)
    if failed:
        raise typer.Exit(1)


def _label(make_task: MakeTask[PseudoRow], batch: ScanBatch, sharing: Sharing) -> tuple[int, int, int]:
    """Label scans; return how many there were, how many were accepted, and how many failed."""
    accepted = 0

    def report(row: PseudoRow) -> None:
        nonlocal accepted
        accepted += row.label is not None and row.label.trains()
        _report(row)

    failed = run_batch(make_task, batch, sharing, report)
    return len(batch.part(sharing.part)), accepted, failed


def _make_task(
    model: str,
    tissues: str,
    device: str,
    threads: int | None,
    options: PredictionOptions,
    output: Path,
    gate: QualityGate,
    overwrite: bool,
) -> PseudoLabeler:
    """Load the models."""
    from strokelabel.fit.pseudo_labels.cohort import PseudoLabeler
    from strokelabel.inference.segment.predictor import Predictor

    set_threads(threads)
    predictor = Predictor.from_model(model, device, options)
    return PseudoLabeler(predictor, output, gate, _tissue_model(predictor, tissues, device), overwrite)


def _tissue_model(predictor: Predictor, tissues: str, device: str) -> Predictor | None:
    """Return a second model where the first knows no tissues, which the gate needs."""
    from strokelabel.fit.pseudo_labels.lesions import has_tissues
    from strokelabel.inference.options import PredictionOptions

    if has_tissues(predictor.spec.class_names):
        return None
    return type(predictor).from_model(tissues, device, PredictionOptions(keep_probabilities=False))


def _write_sheets(output: Path) -> None:
    """Write the sheets for a review, and say where."""
    from strokelabel.reports.contact_sheet import write_review_sheets

    for path in write_review_sheets(output):
        typer.echo(f"written: {path}", err=True)


def _report(row: PseudoRow) -> None:
    """Report a scan in one line: its result on stdout, or the reason of a failure on stderr."""
    name = Path(row.source).name
    if row.label is None:
        typer.echo(f"error: {row.reason}", err=True)
        return
    measures, earlier = row.label.measures, " (kept from an earlier run)" if row.status == "kept" else ""
    taken = "" if row.seconds is None else f", {row.seconds:.1f} s"
    verdict = "accepted" if row.label.accepted else f"rejected: {'; '.join(row.label.reasons)}"
    if row.label.status != "pseudo":
        verdict = f"{row.label.status} by the reviewer"
    typer.echo(
        f"{name}: {measures.volume_ml:.1f} ml, confidence {measures.mean_confidence:.2f}{taken}{earlier}: {verdict}"
    )
