"""Tasks of `strokelabel predict`, made in each process that does scans.

What computes is imported here only once arguments are known to make sense.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from strokelabel.cli.common.lesion_report import OutcomeChoice
from strokelabel.cli.common.options import set_threads

if TYPE_CHECKING:
    from strokelabel.adaptation.options import AdaptationOptions
    from strokelabel.cli.common.options import EngineName
    from strokelabel.inference.options import PredictionOptions
    from strokelabel.inference.parcellate_batch import ParcellateTask
    from strokelabel.inference.segment.batch import OutputChoice, SegmentTask
    from strokelabel.inference.segment.session_batch import SessionTask


@dataclass(frozen=True)
class LesionResults:
    """Results to write for the lesion of each scan.

    Attributes:
        folder: where they go.
        overwrite: predict again, whatever is there.
        choice: maps beside the mask.
        structures: model of the structures that each lesion touches; None for no such tables.
        outcome: to estimate.
        sessions: all scans, where those of a session are predicted together; None where each is by itself.
        report: write pages with pictures.
    """

    folder: Path
    overwrite: bool
    choice: OutputChoice
    structures: str | None
    outcome: OutcomeChoice
    sessions: Sequence[Path] | None
    report: bool = False


@dataclass(frozen=True)
class ParcellationResults:
    """Results to write for the structures of each scan.

    Attributes:
        folder: where they go.
        overwrite: predict again, whatever is there.
        probabilities, resampled: see `inference.parcellate_batch.ParcellationChoice`.
        quality: predict the Dice of groups of structures.
        robust: average over views, for scans of low quality.
        sharpen: let the scan's own intensities decide about borders.
    """

    folder: Path
    overwrite: bool
    probabilities: bool
    resampled: bool
    quality: bool
    robust: bool = False
    sharpen: bool = False


def make_segment_task(
    model: str,
    device: str,
    engine: EngineName,
    threads: int | None,
    options: PredictionOptions,
    adaptation: AdaptationOptions | None,
    results: LesionResults,
) -> SegmentTask | SessionTask:
    """Load the model, or the model that is adapted to each scan, and that of the structures that lesions touch.

    Raises:
        StrokeLabelError: they cannot be loaded, or the folder cannot be written.
    """
    from strokelabel.inference.segment.batch import SegmentTask
    from strokelabel.inference.segment.predictor import Predictor
    from strokelabel.inference.segment.session_batch import SessionTask
    from strokelabel.inference.segment.structure_tables import load_parcellator

    set_threads(threads)
    predictor = Predictor.from_model(model, device, options, engine if adaptation is None else "torch")
    if adaptation is not None:
        from strokelabel.adaptation.adapt import AdaptingPredictor

        predictor = AdaptingPredictor(predictor, adaptation)
    structures = load_parcellator(results.structures or "none", device, options)
    common = results.folder, _choice(results), results.overwrite, structures
    if results.sessions is None:
        return SegmentTask(predictor, *common)
    return SessionTask(predictor, results.sessions, *common)


def _choice(results: LesionResults) -> OutputChoice:
    """Return the choice of files, with the tables of outcomes and the pages."""
    tables = results.outcome.tables(results.folder, results.sessions is not None)
    choice = replace(results.choice, tables=tables)
    if not results.report:
        return choice
    from strokelabel.reports.lesions.page import LesionPages

    return replace(choice, pages=LesionPages(results.folder))


def make_parcellate_task(
    model: str,
    device: str,
    engine: EngineName,
    threads: int | None,
    options: PredictionOptions,
    results: ParcellationResults,
) -> ParcellateTask:
    """Load the model, and that for quality control where it is wanted.

    Raises:
        StrokeLabelError: they cannot be loaded, or the folder cannot be written.
    """
    from strokelabel.inference.parcellate import Parcellator
    from strokelabel.inference.parcellate_batch import ParcellateTask, ParcellationChoice
    from strokelabel.inference.quality import load_quality_model

    set_threads(threads)
    quality = load_quality_model(device, options) if results.quality else None
    choice = ParcellationChoice(results.probabilities, results.resampled, quality)
    parcellator = Parcellator.from_model(model, device, options, engine)
    if results.sharpen:
        parcellator = parcellator.sharpening()
    if results.robust:
        parcellator = parcellator.robust()
    return ParcellateTask(parcellator, results.folder, choice, results.overwrite)
