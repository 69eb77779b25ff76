"""`strokelabel predict`: scans in, lesion masks or structures and a table out."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from strokelabel.cli.lesion_report import OutcomeChoice, OutcomeModelName, Stage, Structures, report_lesion
from strokelabel.cli.options import Ct, Device, Threads, follow_scans, given_names, report_scan, set_threads
from strokelabel.errors import OptionError

if TYPE_CHECKING:
    from strokelabel.adaptation.options import AdaptationOptions
    from strokelabel.inference.options import PredictionOptions
    from strokelabel.inference.parcellate import ParcellationChoice, ParcellationRow, Parcellator
    from strokelabel.inference.segment.batch import OutputChoice
    from strokelabel.inference.segment.predictor import Predictor
    from strokelabel.io.file_search import ImageSearch


class ViewChoice(StrEnum):
    """Field of view of the network."""

    BRAIN = "brain"
    HEAD = "head"


class UncertaintyChoice(StrEnum):
    """Map of uncertainty."""

    ENTROPY = "entropy"
    MUTUAL_INFORMATION = "mutual-information"
    VARIANCE = "variance"


class UncertaintyMethod(StrEnum):
    """Difference between the passes of a map of uncertainty."""

    FLIPS = "flips"
    DROPOUT = "dropout"


class AdaptChoice(StrEnum):
    """Aim of an adaptation."""

    TENT = "tent"
    DAE = "dae"


Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT...",
        help="NIfTI files, folders of DICOM files, folders to search, or patterns in quotes.",
    ),
]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the results.")]
Model = Annotated[str, typer.Option(help="Name of a model (see `strokelabel info`), or a weights file.")]
Probabilities = Annotated[
    bool,
    typer.Option(
        "--probabilities",
        help="Write the lesion probability (with --tissues, all classes'; of a parcellation, all structures').",
    ),
]
Tissues = Annotated[bool, typer.Option("--tissues", help="Write the most likely class of each voxel.")]
DicomSeg = Annotated[
    bool,
    typer.Option("--dicom-seg", help="Also write the lesion as DICOM SEG; the scans must be DICOM folders."),
]
Tta = Annotated[bool, typer.Option("--tta", help="Average over flips; two to eight times slower.")]
Threshold = Annotated[
    float | None,
    typer.Option(
        help="Lesion probability from which a voxel counts as lesion (0 to 1); default: the most likely class."
    ),
]
MinSize = Annotated[float, typer.Option(min=0, help="Drop lesions smaller than this, in ml.")]
FillHoles = Annotated[bool, typer.Option("--fill-holes", help="Fill holes in lesions.")]
KeepOutsideBrain = Annotated[
    bool,
    typer.Option(
        "--keep-outside-brain",
        help="Keep lesions outside the brain, in the face and neck, instead of dropping them.",
    ),
]
View = Annotated[
    ViewChoice,
    typer.Option(help="Network input: a field of view centred on the brain, or the whole head."),
]
Ensemble = Annotated[
    bool,
    typer.Option(
        "--ensemble",
        help="Predict all sequences of a subject and session (BIDS names) together; a mask on the grid of each.",
    ),
]
UncertaintyMaps = Annotated[
    list[UncertaintyChoice] | None,
    typer.Option("--uncertainty", help="Write a map of uncertainty over several passes; repeat for more."),
]
PassCount = Annotated[
    int | None,
    typer.Option("--passes", help="Passes for --uncertainty; default: all flips, or 10 with dropout."),
]
MethodOption = Annotated[
    UncertaintyMethod | None,
    typer.Option(
        "--uncertainty-method",
        help="Source of variation: flips (with shifts and gamma where a model was trained with few flips), or Monte "
        "Carlo dropout, for models trained with dropout. [flips]",
    ),
]
Adapt = Annotated[
    AdaptChoice | None,
    typer.Option(
        help="Adapt the model to each scan: tent lowers the entropy of the prediction, dae its difference from what a "
        "denoising autoencoder makes of it. Takes minutes; the plain result is kept where the adapted one fails the "
        "safety checks."
    ),
]
AdaptIterations = Annotated[
    int | None, typer.Option(min=0, help="Iterations of the adaptation; default: 100.")
]
Denoiser = Annotated[
    str | None,
    typer.Option(help="Denoising autoencoder for --adapt dae, a name or a file; default: denoiser."),
]
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
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Predict again and replace existing results.")]


def run(  # noqa: PLR0913, PLR0917 - one argument per option of the command
    inputs: Inputs,
    output: Output,
    model: Model = "base",
    probabilities: Probabilities = False,
    tissues: Tissues = False,
    dicom_seg: DicomSeg = False,
    tta: Tta = False,
    device: Device = "auto",
    threshold: Threshold = None,
    min_size_ml: MinSize = 0.0,
    fill_holes: FillHoles = False,
    keep_outside_brain: KeepOutsideBrain = False,
    ct: Ct = False,
    view: View = ViewChoice.BRAIN,
    ensemble: Ensemble = False,
    uncertainty: UncertaintyMaps = None,
    passes: PassCount = None,
    uncertainty_method: MethodOption = None,
    adapt: Adapt = None,
    adapt_iterations: AdaptIterations = None,
    denoiser: Denoiser = None,
    structures: Structures = None,
    outcome: OutcomeModelName = None,
    stroke_stage: Stage = None,
    resampled: Resampled = False,
    qc: Quality = False,
    threads: Threads = None,
    overwrite: Overwrite = False,
) -> None:
    """Segment stroke lesions in scans of any contrast, orientation or spacing.

    Each scan gets a mask on its own grid (<name>_lesion_mask.nii.gz, or a BIDS derivative name) and a row in
    predictions.csv; a model for parcellation gives structures (<name>_parcellation_dseg.nii.gz) and volumes, with rows
    in parcellations.csv, volumes.csv and, with --qc, quality.csv. With --ensemble, the sequences of each session are
    averaged (ensembles.csv); with --uncertainty, the mask is of the mean of all passes; --outcome adds outcomes.csv.
    Results of the same options are kept. Exit codes: 0 all done, 1 any failed, 2 wrong usage, 130 interrupted.
    """
    from strokelabel.io import search_images
    from strokelabel.registry import PARCELLATION, find_model

    search = search_images(inputs)
    options = _prediction_options(
        ct, view, tta=tta, threshold=threshold, min_size_ml=min_size_ml, fill_holes=fill_holes,
        keep_outside_brain=keep_outside_brain,
    )  # fmt: skip
    choice = _output_choice(probabilities, tissues, dicom_seg, uncertainty, passes, uncertainty_method, tta)
    adaptation = _adaptation(adapt, adapt_iterations, denoiser, choice, ensemble)
    estimated = OutcomeChoice(outcome, stroke_stage)
    set_threads(threads)
    if find_model(model).task == PARCELLATION:
        _refuse_lesion_options(options, choice, ensemble, adaptation, structures, outcome)
        results = _parcellation_choice(probabilities, resampled, qc, device, options)
        failed = _parcellate(model, device, options, search, output, overwrite, results)
    else:
        _refuse_parcellation_options(resampled, qc)
        choice = replace(choice, tables=estimated.tables(output, ensemble))
        models = _models(model, structures, device, options, adaptation)
        failed = _segment(*models, search, output, choice, overwrite, ensemble)
    raise typer.Exit(1 if failed else 0)


def _prediction_options(ct: bool, view: ViewChoice, **given: Any) -> PredictionOptions:  # noqa: ANN401
    """Return the options of a prediction; `given` are those that have the same name on the command line."""
    from strokelabel.inference.options import CT_WINDOW_HU, PredictionOptions

    return PredictionOptions(ct_window=CT_WINDOW_HU if ct else None, view=view.value, **given)


def _output_choice(
    probabilities: bool,
    tissues: bool,
    dicom_seg: bool,
    maps: list[UncertaintyChoice] | None,
    count: int | None,
    method: UncertaintyMethod | None,
    tta: bool,
) -> OutputChoice:
    """Return the files to write for each scan, maps of uncertainty once each, and the passes that these are of.

    Raises:
        OptionError: passes without a map, or flips that are averaged besides.
    """
    from strokelabel.inference.segment.batch import OutputChoice
    from strokelabel.inference.segment.uncertainty import Passes

    if not maps and (count is not None or method is not None):
        raise OptionError("expected --uncertainty with --passes and --uncertainty-method, got none")
    if maps and tta:
        raise OptionError("expected --uncertainty or --tta, got both; --uncertainty averages flips too")
    kinds = tuple(dict.fromkeys(kind.value for kind in maps or ()))
    passes = Passes("dropout" if method == UncertaintyMethod.DROPOUT else "views", count) if maps else None
    return OutputChoice(probabilities, tissues, dicom_seg, kinds, passes)


def _adaptation(
    method: AdaptChoice | None,
    iterations: int | None,
    denoiser: str | None,
    choice: OutputChoice,
    ensemble: bool,
) -> AdaptationOptions | None:
    """Return the options of an adaptation; None where there is to be none.

    Raises:
        OptionError: parts of an adaptation without the rest, or what it does not go with.
    """
    if method is None:
        if names := given_names(
            {"--adapt-iterations": iterations is not None, "--denoiser": denoiser is not None}
        ):
            raise OptionError(f"expected {names} with --adapt alone; add --adapt tent or --adapt dae")
        return None
    if denoiser is not None and method is not AdaptChoice.DAE:
        raise OptionError(f"expected --denoiser with --adapt dae alone, got --adapt {method}; leave it out")
    if names := given_names({"--ensemble": ensemble, "--uncertainty": bool(choice.uncertainty)}):
        raise OptionError(
            f"expected --adapt without {names}: it adapts one prediction of one scan; leave one out"
        )
    from strokelabel.adaptation.options import AdaptationOptions

    given_values: dict[str, Any] = {"iterations": iterations, "denoiser": denoiser}
    return AdaptationOptions(method.value, **{k: v for k, v in given_values.items() if v is not None})


def _refuse_parcellation_options(resampled: bool, qc: bool) -> None:
    if names := given_names({"--resampled": resampled, "--qc": qc}):
        raise OptionError(f"expected {names} with a model for parcellation alone; leave it out")


def _models(
    model: str,
    structures: str | None,
    device: str,
    options: PredictionOptions,
    adaptation: AdaptationOptions | None,
) -> tuple[Predictor, Parcellator | None]:
    """Return the model, or the model that is adapted to each scan; and that of the structures that lesions touch."""
    # Torch is imported only once the arguments are known to make sense.
    from strokelabel.inference.segment.predictor import Predictor
    from strokelabel.inference.segment.structure_tables import load_parcellator

    predictor = Predictor.from_model(model, device, options)
    if adaptation is not None:
        from strokelabel.adaptation.adapt import AdaptingPredictor

        predictor = AdaptingPredictor(predictor, adaptation)
    return predictor, load_parcellator(structures or "none", device, options)


def _segment(
    predictor: Predictor,
    structures: Parcellator | None,
    search: ImageSearch,
    folder: Path,
    choice: OutputChoice,
    overwrite: bool,
    ensemble: bool,
) -> int:
    """Find the lesions of scans; return how many failed."""
    from strokelabel.inference.segment.batch import predict_scans
    from strokelabel.inference.segment.session_batch import predict_sessions

    predict = predict_sessions if ensemble else predict_scans
    return follow_scans(
        lambda progress: predict(
            predictor, search.images, folder, choice, overwrite, progress, search.problems, structures
        ),
        len(search.images) + len(search.problems),
        report_lesion,
    )


def _parcellation_choice(
    probabilities: bool, resampled: bool, qc: bool, device: str, options: PredictionOptions
) -> ParcellationChoice:
    """Return the results to write for each scan, with the model for quality control where it is wanted."""
    from strokelabel.inference.parcellate import ParcellationChoice
    from strokelabel.inference.quality import load_quality_model

    return ParcellationChoice(probabilities, resampled, load_quality_model(device, options) if qc else None)


def _parcellate(
    model: str,
    device: str,
    options: PredictionOptions,
    search: ImageSearch,
    folder: Path,
    overwrite: bool,
    choice: ParcellationChoice,
) -> int:
    """Find the structures of scans; return how many failed."""
    from strokelabel.inference.parcellate import Parcellator, parcellate_scans

    parcellator = Parcellator.from_model(model, device, options)
    return follow_scans(
        lambda progress: parcellate_scans(
            parcellator, search.images, folder, overwrite, progress, search.problems, choice
        ),
        len(search.images) + len(search.problems),
        _report_parcellation,
    )


def _refuse_lesion_options(
    options: PredictionOptions,
    choice: OutputChoice,
    ensemble: bool,
    adaptation: AdaptationOptions | None,
    structures: str | None,
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
        "--outcome": outcome is not None,
    }
    if names := given_names(given, ", "):
        raise OptionError(
            f"expected no options about lesions for a parcellation, got {names}; leave them out"
        )


def _report_parcellation(row: ParcellationRow) -> None:
    """Report a scan's structures in one line."""
    report_scan(
        row, "" if row.intracranial_ml is None else f"{row.intracranial_ml:.0f} ml intracranial volume"
    )
