"""`strokelabel predict`: scans in, lesion masks or structures and a table out."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from strokelabel.cli.common.batches import DaskAddress, PartOption, Sharing, Workers, run_batch
from strokelabel.cli.common.lesion_report import (
    OutcomeChoice,
    OutcomeModelName,
    Stage,
    Structures,
    report_lesion,
)
from strokelabel.cli.common.options import (
    Ct,
    Device,
    Engine,
    Inputs,
    SeriesNames,
    Threads,
    find_scans,
    given_names,
    set_threads,
)
from strokelabel.cli.common.parcellation import (
    Quality,
    Resampled,
    Robust,
    Sharpen,
    check_structures_model,
    refuse_lesion_options,
    refuse_parcellation_options,
    report_parcellation,
)
from strokelabel.cli.common.predict_tasks import (
    LesionResults,
    ParcellationResults,
    make_parcellate_task,
    make_segment_task,
)
from strokelabel.errors import MissingPackageError, OptionError

if TYPE_CHECKING:
    from strokelabel.adaptation.options import AdaptationOptions
    from strokelabel.inference.distributed import MakeTask
    from strokelabel.inference.options import PredictionOptions
    from strokelabel.inference.parcellate_batch import ParcellationRow
    from strokelabel.inference.segment.batch import LesionRow, OutputChoice
    from strokelabel.io.file_search import ImageSearch


class UncertaintyChoice(StrEnum):
    """Map of uncertainty."""

    ENTROPY = "entropy"
    MUTUAL_INFORMATION = "mutual-information"
    VARIANCE = "variance"


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
    Literal["brain", "head"],
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
    Literal["flips", "dropout"] | None,
    typer.Option(
        "--uncertainty-method",
        help="Source of variation: flips (with shifts and gamma where a model was trained with few flips), or Monte "
        "Carlo dropout, for models trained with dropout. [flips]",
    ),
]
Adapt = Annotated[
    Literal["tent", "dae"] | None,
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
Report = Annotated[
    bool,
    typer.Option(
        "--report", help="Write a page with pictures for each scan, and report.html, which lists them."
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Predict again and replace existing results.")]


# fmt: off
def run(  # noqa: PLR0913, PLR0917 - one argument per option of the command
    inputs: Inputs,
    output: Output,
    model: Model = "base",
    probabilities: Probabilities = False, tissues: Tissues = False, dicom_seg: DicomSeg = False,
    report: Report = False,
    threshold: Threshold = None, min_size_ml: MinSize = 0.0, fill_holes: FillHoles = False,
    keep_outside_brain: KeepOutsideBrain = False,
    ct: Ct = False, view: View = "brain", tta: Tta = False, ensemble: Ensemble = False,
    uncertainty: UncertaintyMaps = None, passes: PassCount = None, uncertainty_method: MethodOption = None,
    adapt: Adapt = None, adapt_iterations: AdaptIterations = None, denoiser: Denoiser = None,
    structures: Structures = None,
    outcome: OutcomeModelName = None, stroke_stage: Stage = None,
    resampled: Resampled = False, qc: Quality = False, robust: Robust = False, sharpen: Sharpen = False,
    series: SeriesNames = None,
    device: Device = "auto", engine: Engine = "auto", threads: Threads = None,
    part: PartOption = None, workers: Workers = None, dask: DaskAddress = None,
    overwrite: Overwrite = False,
) -> None:
    """Segment stroke lesions, or structures of the brain, in scans of any contrast, orientation or spacing.

    Each scan gets a mask on its own grid (<name>_lesion_mask.nii.gz, or a BIDS derivative name) and a row in
    predictions.csv; a model for parcellation gives structures (<name>_parcellation_dseg.nii.gz) and volumes, with rows
    in parcellations.csv, volumes.csv and, with --qc, quality.csv. With --ensemble, the sequences of each session are
    averaged (ensembles.csv); with --uncertainty, the mask is that of the mean of all passes; with --outcome, each scan
    has a row in outcomes.csv. Results of an interrupted run with the same model and options are kept. Exit codes: 0 all
    done, 1 any failed, 2 wrong usage, 130 interrupted.
    """
    set_threads(threads)  # before NumPy is imported, which takes the number then
    from strokelabel.registry import PARCELLATION, find_model

    search = find_scans(inputs, series)
    options = _options(tta, threshold, min_size_ml, fill_holes, keep_outside_brain, ct, view)
    choice = _output_choice(probabilities, tissues, dicom_seg, uncertainty, passes, uncertainty_method, tta)
    adaptation = _adaptation(adapt, adapt_iterations, denoiser, choice, ensemble)
    sharing = Sharing.of(part, workers, dask)
    common = sharing.place(model), device, engine, sharing.threads(threads), options
    if find_model(model).task == PARCELLATION:
        refuse_lesion_options(options, choice, ensemble, adaptation, structures, report, outcome)
        results = ParcellationResults(output.absolute(), overwrite, probabilities, resampled, qc, robust, sharpen)
        failed = _parcellate(partial(make_parcellate_task, *common, results), search, sharing)
    else:
        refuse_parcellation_options(resampled, qc, robust, sharpen)
        check_structures_model(structures)
        sessions = search.images if ensemble else None
        models = sharing.place(structures), OutcomeChoice(sharing.place(outcome), stroke_stage)
        lesions = LesionResults(output.absolute(), overwrite, choice, *models, sessions, report)
        failed = _segment(partial(make_segment_task, *common, adaptation, lesions), search, sharing, lesions)
    raise typer.Exit(1 if failed else 0)


# fmt: on


def _parcellate(make_task: MakeTask[ParcellationRow], search: ImageSearch, sharing: Sharing) -> int:
    """Find the structures of scans; return how many failed."""
    from strokelabel.inference.batch import ScanBatch

    return run_batch(make_task, ScanBatch.of(search.images, search.problems), sharing, report_parcellation)


def _segment(
    make_task: MakeTask[LesionRow], search: ImageSearch, sharing: Sharing, results: LesionResults
) -> int:
    """Find the lesions of scans, and list their pages; return how many failed."""
    from strokelabel.inference.batch import ScanBatch

    batch = ScanBatch.of(search.images, search.problems, results.sessions is not None)
    try:
        failed = run_batch(make_task, batch, sharing, report_lesion)
    except KeyboardInterrupt:
        _write_index(results)
        raise
    _write_index(results)
    return failed


def _write_index(results: LesionResults) -> None:
    """Write the list of all pages of the folder, where there are to be pages, and say where."""
    if not results.report:
        return
    from strokelabel.inference.segment.batch import TABLE_NAME
    from strokelabel.inference.segment.session_batch import TABLE_NAME as SESSIONS_NAME
    from strokelabel.reports.lesions.index import write_index

    if path := write_index(results.folder, (TABLE_NAME, SESSIONS_NAME)):
        typer.echo(f"written: {path}", err=True)


def _options(
    tta: bool,
    threshold: float | None,
    min_size_ml: float,
    fill_holes: bool,
    keep_outside_brain: bool,
    ct: bool,
    view: View,
) -> PredictionOptions:
    """Return the options that decide a prediction.

    Raises:
        OptionError: an impossible value.
    """
    from strokelabel.inference.options import CT_WINDOW_HU, PredictionOptions

    return PredictionOptions(
        tta=tta,
        threshold=threshold,
        min_size_ml=min_size_ml,
        fill_holes=fill_holes,
        keep_outside_brain=keep_outside_brain,
        ct_window=CT_WINDOW_HU if ct else None,
        view=view,
    )


def _output_choice(
    probabilities: bool,
    tissues: bool,
    dicom_seg: bool,
    maps: list[UncertaintyChoice] | None,
    count: int | None,
    method: str | None,
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
    if dicom_seg:
        MissingPackageError.check("highdicom", "--dicom-seg")
    if maps and tta:
        raise OptionError("expected --uncertainty or --tta, got both; --uncertainty averages flips too")
    kinds = tuple(dict.fromkeys(kind.value for kind in maps or ()))
    passes = Passes("dropout" if method == "dropout" else "views", count) if maps else None
    return OutputChoice(probabilities, tissues, dicom_seg, kinds, passes)


def _adaptation(
    method: Literal["tent", "dae"] | None,
    iterations: int | None,
    denoiser: str | None,
    choice: OutputChoice,
    ensemble: bool,
) -> AdaptationOptions | None:
    """Return the options of an adaptation; None where there is to be none.

    Raises:
        OptionError: parts of an adaptation without the rest, or what an adaptation does not go with.
    """
    if method is None:
        if names := given_names(
            {"--adapt-iterations": iterations is not None, "--denoiser": denoiser is not None}
        ):
            raise OptionError(f"expected {names} with --adapt alone; add --adapt tent or --adapt dae")
        return None
    if denoiser is not None and method != "dae":
        raise OptionError(f"expected --denoiser with --adapt dae alone, got --adapt {method}; leave it out")
    if names := given_names({"--ensemble": ensemble, "--uncertainty": bool(choice.uncertainty)}):
        raise OptionError(
            f"expected --adapt without {names}: it adapts one prediction of one scan; leave one out"
        )
    from strokelabel.adaptation.options import AdaptationOptions

    given_values: dict[str, Any] = {"iterations": iterations, "denoiser": Sharing.place(denoiser)}
    return AdaptationOptions(method, **{k: v for k, v in given_values.items() if v is not None})
