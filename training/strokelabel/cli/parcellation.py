"""`strokelabel predict` with a model for parcellation: its options, and scans in, structures and tables out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from strokelabel.cli.options import follow_scans, given_names, report_scan
from strokelabel.errors import OptionError

if TYPE_CHECKING:
    from strokelabel.adaptation.options import AdaptationOptions
    from strokelabel.inference.options import PredictionOptions
    from strokelabel.inference.parcellate import Parcellator
    from strokelabel.inference.parcellate_batch import ParcellationChoice, ParcellationRow
    from strokelabel.inference.segment.batch import OutputChoice
    from strokelabel.io.file_search import ImageSearch


def refuse_lesion_options(
    options: PredictionOptions,
    choice: OutputChoice,
    ensemble: bool,
    adaptation: AdaptationOptions | None,
    structures: str | None,
) -> None:
    """Refuse options that mean nothing to a model without lesions.

    Raises:
        OptionError: naming them.
    """
    given = {
        "--threshold": options.threshold is not None,
        "--min-size-ml": options.min_size_ml > 0,
        "--fill-holes": options.fill_holes,
        "--keep-outside-brain": options.keep_outside_brain,
        "--tissues": choice.tissues,
        "--dicom-seg": choice.dicom_seg,
        "--ensemble": ensemble,
        "--uncertainty": bool(choice.uncertainty),
        "--adapt": adaptation is not None,
        "--structures": structures is not None,
    }
    if names := given_names(given, ", "):
        raise OptionError(
            f"expected no options about lesions for a parcellation, got {names}; leave them out"
        )


def refuse_parcellation_options(resampled: bool, qc: bool, robust: bool, sharpen: bool) -> None:
    """Refuse options that mean nothing to a model of lesions.

    Raises:
        OptionError: naming them.
    """
    if names := given_names({"--resampled": resampled, "--qc": qc, "--robust": robust, "--sharpen": sharpen}):
        raise OptionError(f"expected {names} with a model for parcellation alone; leave it out")


def parcellation_choice(
    probabilities: bool, resampled: bool, qc: bool, device: str, options: PredictionOptions
) -> ParcellationChoice:
    """Return the results to write for each scan, with the model for quality control where it is wanted."""
    from strokelabel.inference.parcellate_batch import ParcellationChoice
    from strokelabel.inference.quality import load_quality_model

    return ParcellationChoice(probabilities, resampled, load_quality_model(device, options) if qc else None)


def load_parcellation_model(
    model: str, device: str, options: PredictionOptions, robust: bool, sharpen: bool
) -> Parcellator:
    """Load a model for parcellation, in the robust mode or not."""
    from strokelabel.inference.parcellate import Parcellator

    loaded = Parcellator.from_model(model, device, options)
    plain = Parcellator(loaded.spec, loaded.network, loaded.device, options, sharpen=sharpen)
    return plain.robust() if robust else plain


def parcellate(
    parcellator: Parcellator,
    search: ImageSearch,
    folder: Path,
    overwrite: bool,
    choice: ParcellationChoice,
) -> int:
    """Find the structures of scans; return how many failed."""
    from strokelabel.inference.parcellate_batch import parcellate_scans

    return follow_scans(
        lambda progress: parcellate_scans(
            parcellator, search.images, folder, overwrite, progress, search.problems, choice
        ),
        len(search.images) + len(search.problems),
        _report_parcellation,
    )


def _report_parcellation(row: ParcellationRow) -> None:
    """Report a scan's structures in one line, and the Dice that is predicted of them in another."""
    report_scan(
        row, "" if row.intracranial_ml is None else f"{row.intracranial_ml:.0f} ml intracranial volume"
    )
    if row.predicted_dice:
        dice = ", ".join(f"{name} {value:.2f}" for name, value in row.predicted_dice.items())
        typer.echo(f"    predicted Dice: {dice}")
