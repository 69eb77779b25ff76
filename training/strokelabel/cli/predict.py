"""`strokelabel predict`: scans in, lesion masks or structures and a table out."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from strokelabel.cli.options import Device, Threads
from strokelabel.cli.scans import follow_scans, report_scan, set_threads
from strokelabel.errors import OptionError

if TYPE_CHECKING:
    from strokelabel.adaptation.options import AdaptationOptions
    from strokelabel.inference.options import PredictionOptions
    from strokelabel.inference.parcellate.batch import ParcellationRow
    from strokelabel.inference.segment.batch import LesionRow
    from strokelabel.inference.segment.outputs import OutputChoice
    from strokelabel.io.file_search import ImageSearch


class ViewChoice(StrEnum):
    """Field of view of the network."""

    BRAIN = "brain"
    HEAD = "head"


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
        help="Write the lesion probability; with --tissues, the probabilities of all classes.",
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
Ct = Annotated[bool, typer.Option("--ct", help="The scans are CT: show 0 to 80 Hounsfield units.")]
View = Annotated[
    ViewChoice,
    typer.Option(help="Show the network its field of view around the brain, or the whole head."),
]
Adapt = Annotated[
    AdaptChoice | None,
    typer.Option(
        help="Adapt the model to each scan: tent makes it more certain, dae more like a brain. Takes minutes; the "
        "plain result is kept where the adapted one is suspicious."
    ),
]
AdaptIterations = Annotated[
    int | None, typer.Option(min=0, help="Iterations of the adaptation; default: 100.")
]
Denoiser = Annotated[
    str | None,
    typer.Option(help="Denoising autoencoder for --adapt dae, a name or a file; default: denoiser."),
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
    adapt: Adapt = None,
    adapt_iterations: AdaptIterations = None,
    denoiser: Denoiser = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
) -> None:
    """Segment stroke lesions in scans of any contrast, orientation or spacing.

    Each scan gets a mask on its own grid (<name>_lesion_mask.nii.gz, or a BIDS derivative name) and a row in
    predictions.csv; a model for parcellation gives structures (<name>_parcellation_dseg.nii.gz), their volumes and
    a row in parcellations.csv. Results of an interrupted run with the same model and options are kept. Exit code 0
    when all scans are done, 1 when any failed, 2 for wrong usage, 130 when interrupted.
    """
    from strokelabel.io import search_images

    search = search_images(inputs)

    from strokelabel.inference.options import CT_WINDOW_HU, PredictionOptions
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
    adaptation = _adaptation(adapt, adapt_iterations, denoiser)
    set_threads(threads)
    if find_model(model).task == PARCELLATION:
        _refuse_lesion_options(options, choice, adaptation)
        failed = _parcellate(model, device, options, search, output, overwrite)
    else:
        failed = _segment(model, device, options, search, output, choice, overwrite, adaptation)
    if failed:
        raise typer.Exit(1)


def _adaptation(
    method: AdaptChoice | None, iterations: int | None, denoiser: str | None
) -> AdaptationOptions | None:
    """Return the options of an adaptation; None where there is to be none.

    Raises:
        OptionError: parts of an adaptation without the rest.
    """
    if method is None:
        given = {"--adapt-iterations": iterations is not None, "--denoiser": denoiser is not None}
        if any(given.values()):
            names = " and ".join(name for name, is_given in given.items() if is_given)
            raise OptionError(f"expected {names} with --adapt alone; add --adapt tent or --adapt dae")
        return None
    if denoiser is not None and method is not AdaptChoice.DAE:
        raise OptionError(f"expected --denoiser with --adapt dae alone, got --adapt {method}; leave it out")
    from strokelabel.adaptation.options import AdaptationOptions

    given_values: dict[str, Any] = {"iterations": iterations, "denoiser": denoiser}
    return AdaptationOptions(method.value, **{k: v for k, v in given_values.items() if v is not None})


def _segment(
    model: str,
    device: str,
    options: PredictionOptions,
    search: ImageSearch,
    folder: Path,
    choice: OutputChoice,
    overwrite: bool,
    adaptation: AdaptationOptions | None = None,
) -> int:
    """Find the lesions of scans; return how many failed."""
    # Torch is imported only once the arguments are known to make sense.
    from strokelabel.inference.segment.batch import predict_scans
    from strokelabel.inference.segment.predictor import Predictor

    predictor = Predictor.from_model(model, device, options)
    if adaptation is not None:
        from strokelabel.adaptation.predictor import AdaptingPredictor

        predictor = AdaptingPredictor(predictor, adaptation)
    return follow_scans(
        lambda progress: predict_scans(
            predictor, search.images, folder, choice, overwrite, progress, search.problems
        ),
        len(search.images) + len(search.problems),
        _report,
    )


def _parcellate(
    model: str, device: str, options: PredictionOptions, search: ImageSearch, folder: Path, overwrite: bool
) -> int:
    """Find the structures of scans; return how many failed."""
    from strokelabel.inference.parcellate.batch import parcellate_scans
    from strokelabel.inference.parcellate.predictor import Parcellator

    parcellator = Parcellator.from_model(model, device, options)
    return follow_scans(
        lambda progress: parcellate_scans(
            parcellator, search.images, folder, overwrite, progress, search.problems
        ),
        len(search.images) + len(search.problems),
        _report_parcellation,
    )


def _refuse_lesion_options(
    options: PredictionOptions, choice: OutputChoice, adaptation: AdaptationOptions | None
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
        "--probabilities": choice.probabilities,
        "--tissues": choice.tissues,
        "--dicom-seg": choice.dicom_seg,
        "--adapt": adaptation is not None,
    }
    if any(given.values()):
        raise OptionError(
            f"expected no options about lesions for a parcellation, got "
            f"{', '.join(name for name, is_given in given.items() if is_given)}; leave them out"
        )


def _report(row: LesionRow) -> None:
    """Report a scan in one line: its lesion on stdout, or the reason of a failure on stderr."""
    lesions = "lesion" if row.lesion_count == 1 else "lesions"
    report_scan(
        row, "" if row.volume_ml is None else f"{row.volume_ml:.1f} ml in {row.lesion_count} {lesions}"
    )


def _report_parcellation(row: ParcellationRow) -> None:
    """Report a scan's structures in one line."""
    report_scan(row, "" if row.intracranial_ml is None else f"{row.intracranial_ml:.0f} ml inside the skull")
