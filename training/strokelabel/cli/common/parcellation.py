"""Options of `strokelabel predict` about parcellations: what goes together, and the lines about a scan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from strokelabel.cli.common.options import given_names, report_scan
from strokelabel.errors import OptionError, UnknownModelError, WeightsError

if TYPE_CHECKING:
    from strokelabel.adaptation.options import AdaptationOptions
    from strokelabel.inference.options import PredictionOptions
    from strokelabel.inference.parcellate_batch import ParcellationRow
    from strokelabel.inference.segment.batch import OutputChoice


Resampled = Annotated[
    bool,
    typer.Option(
        "--resampled", help="For parcellation: write scan and structures at the model's voxel size too."
    ),
]
Quality = Annotated[
    bool,
    typer.Option(
        "--qc", help="For parcellation: predict the Dice of eight groups of structures, and warn of low ones."
    ),
]
Robust = Annotated[
    bool,
    typer.Option(
        "--robust",
        help="For parcellation of scans of low quality: average over views of the scan; four times slower.",
    ),
]
Sharpen = Annotated[
    bool,
    typer.Option(
        "--sharpen",
        help="For parcellation: let the scan's own intensities decide about borders. Not for scans with large lesions, "
        "which then may count as fluid.",
    ),
]


def refuse_lesion_options(
    options: PredictionOptions,
    choice: OutputChoice,
    ensemble: bool,
    adaptation: AdaptationOptions | None,
    structures: str | None,
    report: bool,
    outcome: str | None,
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
        "--report": report,
        "--outcome": outcome is not None,
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
    given = {"--resampled": resampled, "--qc": qc, "--robust": robust, "--sharpen": sharpen}
    if names := given_names(given):
        raise OptionError(f"expected {names} with a model for parcellation alone; leave it out")


def check_structures_model(name: str | None) -> None:
    """Refuse a model that cannot say which structures lesions touch, before any is loaded.

    Args:
        name: as `--structures` has it; None for no tables of structures.

    Raises:
        OptionError: the option names no such model.
    """
    from strokelabel.inference.segment.structure_tables import check_sees_through_lesions
    from strokelabel.registry import PARCELLATION, find_structures_model, list_models

    try:
        if (spec := find_structures_model(name or "none")) is not None:
            check_sees_through_lesions(spec)
    except (UnknownModelError, WeightsError) as error:
        known = (
            ", ".join(one.name for one in list_models() if one.task == PARCELLATION) or "none is installed"
        )
        raise OptionError(
            f"expected --structures with a model for parcellation ({known}), the path of its weights, or none, got "
            f"{name!r}: {error}"
        ) from error


def report_parcellation(row: ParcellationRow) -> None:
    """Report a scan's structures in one line, and the Dice that is predicted of them in another."""
    report_scan(
        row, "" if row.intracranial_ml is None else f"{row.intracranial_ml:.0f} ml intracranial volume"
    )
    if row.predicted_dice:
        dice = ", ".join(f"{name} {value:.2f}" for name, value in row.predicted_dice.items())
        typer.echo(f"    predicted Dice: {dice}")
