"""`strokelabel predict`: scans in, lesion masks or structures and a table out."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from strokelabel.cli.options import Ct, Device, Threads, follow_scans, given_names, report_scan, set_threads
from strokelabel.cli.parcellation import (
    load_parcellation_model,
    parcellate,
    parcellation_choice,
    refuse_lesion_options,
    refuse_parcellation_options,
)
from strokelabel.errors import OptionError, UnknownModelError, WeightsError

if TYPE_CHECKING:
    from strokelabel.adaptation.options import AdaptationOptions
    from strokelabel.inference.options import PredictionOptions
    from strokelabel.inference.parcellate import Parcellator
    from strokelabel.inference.segment.batch import LesionRow, OutputChoice
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
Structures = Annotated[
    str | None,
    typer.Option(
        help="Tables of the structures that each lesion touches, by this model for parcellation: synthseg, or a file.",
    ),
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
    resampled: Resampled = False,
    qc: Quality = False,
    robust: Robust = False,
    sharpen: Sharpen = False,
    threads: Threads = None,
    overwrite: Overwrite = False,
) -> None:
    """Segment stroke lesions, or structures of the brain, in scans of any contrast, orientation or spacing.

    Each scan gets a mask on its own grid (<name>_lesion_mask.nii.gz, or a BIDS name) and a row in predictions.csv; a
    model for parcellation gives structures and volumes (parcellations.csv, volumes.csv, quality.csv with --qc). Results
    of an interrupted run with the same model and options are kept. Exit codes: 0 done, 1 any failed, 2 wrong usage.
    """
    from strokelabel.io import search_images
    from strokelabel.registry import PARCELLATION, find_model

    search = search_images(inputs)
    from strokelabel.inference.options import CT_WINDOW_HU, PredictionOptions

    given: dict[str, Any] = {
        "tta": tta, "threshold": threshold, "min_size_ml": min_size_ml, "fill_holes": fill_holes,
        "keep_outside_brain": keep_outside_brain, "ct_window": CT_WINDOW_HU if ct else None, "view": view.value,
    }  # fmt: skip
    options = PredictionOptions(**given)
    choice = _output_choice(probabilities, tissues, dicom_seg, uncertainty, passes, uncertainty_method, tta)
    adaptation = _adaptation(adapt, adapt_iterations, denoiser, choice, ensemble)
    set_threads(threads)
    if find_model(model).task == PARCELLATION:
        refuse_lesion_options(options, choice, ensemble, adaptation, structures)
        results = parcellation_choice(probabilities, resampled, qc, device, options)
        loaded = load_parcellation_model(model, device, options, robust, sharpen)
        failed = parcellate(loaded, search, output, overwrite, results)
    else:
        refuse_parcellation_options(resampled, qc, robust, sharpen)
        models = _models(model, structures, device, options, adaptation)
        failed = _segment(*models, search, output, choice, overwrite, ensemble)
    raise typer.Exit(1 if failed else 0)


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
        OptionError: parts of an adaptation without the rest, or several passes or sequences.
    """
    if method is None:
        if names := given_names(
            {"--adapt-iterations": iterations is not None, "--denoiser": denoiser is not None}
        ):
            raise OptionError(f"expected {names} with --adapt alone; add --adapt tent or --adapt dae")
        return None
    if denoiser is not None and method is not AdaptChoice.DAE:
        raise OptionError(f"expected --denoiser with --adapt dae alone, got --adapt {method}; leave it out")
    from strokelabel.adaptation.options import AdaptationOptions

    given_values: dict[str, Any] = {"iterations": iterations, "denoiser": denoiser}
    adaptation = AdaptationOptions(method.value, **{k: v for k, v in given_values.items() if v is not None})
    _refuse_together(adaptation, choice, ensemble)
    return adaptation


def _refuse_together(adaptation: AdaptationOptions | None, choice: OutputChoice, ensemble: bool) -> None:
    """Refuse an adaptation of several passes or sequences.

    Raises:
        OptionError: what an adaptation does not go with.
    """
    names = given_names({"--ensemble": ensemble, "--uncertainty": bool(choice.uncertainty)})
    if adaptation is not None and names:
        raise OptionError(
            f"expected --adapt without {names}: it adapts one prediction of one scan; leave one out"
        )


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

    predictor = Predictor.from_model(model, device, options)
    if adaptation is not None:
        from strokelabel.adaptation.adapt import AdaptingPredictor

        predictor = AdaptingPredictor(predictor, adaptation)
    return predictor, _structures_model(structures, device, options)


def _structures_model(name: str | None, device: str, options: PredictionOptions) -> Parcellator | None:
    """Return the model of the structures that lesions touch; None for no tables of them.

    Raises:
        OptionError: the option names no such model.
    """
    from strokelabel.inference.segment.structure_tables import check_sees_through_lesions, load_parcellator
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
    return load_parcellator(name or "none", device, options)


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
        _report,
    )


def _report(row: LesionRow) -> None:
    """Report a scan: its lesion and the structures that it touches on stdout, or the reason of a failure on stderr."""
    lesions = "lesion" if row.lesion_count == 1 else "lesions"
    report_scan(
        row, "" if row.volume_ml is None else f"{row.volume_ml:.1f} ml in {row.lesion_count} {lesions}"
    )
    for line in (row.adaptation, *row.structures):
        if line:
            typer.echo(f"    {line}")
