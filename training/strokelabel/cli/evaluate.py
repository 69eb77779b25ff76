"""`strokelabel evaluate`: scores of models, or of masks that are there, on scans with lesion masks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strokelabel.cli.common.options import Ct, Device, Threads, scan_progress, set_threads
from strokelabel.errors import OptionError

if TYPE_CHECKING:
    from strokelabel.inference.options import PredictionOptions
    from strokelabel.reports.evaluation.cases import CaseSearch, EvaluationCase
    from strokelabel.reports.evaluation.methods import Method
    from strokelabel.reports.evaluation.models import Arm
    from strokelabel.reports.evaluation.results import CaseResult, ResultTable

_NAMED = re.compile(r"([\w.+-]+)=(.+)")


Output = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the results.")]
Dataset = Annotated[
    Path | None,
    typer.Argument(metavar="[DATASET]", help="BIDS data set with lesion masks; or use --pairs."),
]
Model = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[NAME=]MODEL", help="Model or weights file to predict with; repeat to compare. [base]"
    ),
]
Predictions = Annotated[
    list[str] | None,
    typer.Option(metavar="[NAME=]FOLDER", help="Score the masks in a folder; repeat to compare."),
]
Pairs = Annotated[
    Path | None,
    typer.Option(
        metavar="TABLE", help="Table with columns image, reference, prediction in place of a data set."
    ),
]
MasksOption = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Take reference masks from this folder only.")
]
Suffix = Annotated[
    str | None, typer.Option(metavar="T1w,T2w,...", help="Contrasts to evaluate; default: all.")
]
ShareMasks = Annotated[
    bool,
    typer.Option("--share-masks", help="Use a session's mask for its other scans too, by world coordinates."),
]
LesionLabel = Annotated[
    int | None, typer.Option(help="Value of the lesion in --predictions with several classes.")
]
Part = Annotated[
    str | None, typer.Option(metavar="I/N", help="Score part I of N; without it, all parts are merged.")
]
Tta = Annotated[bool, typer.Option("--tta", help="Average over flips: the same as --arms tta.")]
Arms = Annotated[
    str | None,
    typer.Option(
        metavar="none,tta,ensemble",
        help="Ways to use each model, compared: none as it is, tta averaged over flips (NAME+TTA), tent and dae "
        "adapted to each scan (NAME+TENT, NAME+DAE; minutes each). ensemble adds rows for the sequences of each "
        "session together. [none]",
    ),
]


def run(  # noqa: PLR0913, PLR0917 - one argument per option of the command
    output: Output,
    dataset: Dataset = None,
    model: Model = None,
    predictions: Predictions = None,
    pairs: Pairs = None,
    masks: MasksOption = None,
    suffix: Suffix = None,
    share_masks: ShareMasks = False,
    lesion_label: LesionLabel = None,
    part: Part = None,
    tta: Tta = False,
    arms: Arms = None,
    ct: Ct = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Score models, or masks that exist, against the lesion masks of a data set, as in the SynthStroke papers.

    Masks are compared at 1 mm in 256^3 voxels, by their positions in space. Written are cases.csv (a row per case,
    on the disk as cases finish; the same command continues where it stopped), tables (summary.md, .csv, .tex),
    paired tests (tests.csv), box plots, and pictures of the worst cases. Exit code 0 when all cases are scored, 1
    when any failed, 2 for wrong usage, 130 when interrupted.
    """
    from strokelabel.inference.batch import parse_part, take_part
    from strokelabel.inference.options import CT_WINDOW_HU, PredictionOptions
    from strokelabel.reports.evaluation.models import parse_arms
    from strokelabel.reports.evaluation.results import ResultTable

    which = parse_part(part)
    if tta and arms is not None:
        raise OptionError("expected --tta or --arms, got both; name tta among the arms")
    chosen, together = parse_arms("tta" if tta else arms)
    search = gather_cases(dataset, pairs, masks, suffix, share_masks)
    cases, problems = list(search.cases), len(search.problems)
    cases += session_cases(search) if together else []
    options = PredictionOptions(ct_window=CT_WINDOW_HU if ct else None)
    methods = gather_methods(
        cases, model or [], predictions or [], lesion_label, options, device, output, chosen
    )
    if arms is not None and not any(method.makes_masks for method in methods):
        raise OptionError(
            "expected --model together with --arms, got masks alone, which can be used in one way only"
        )
    set_threads(threads)
    table = ResultTable(output, which)
    results = score_all(take_part(cases, which), methods, table)
    table.finish(results)
    if which is None:
        from strokelabel.reports.evaluation.report import write_report

        typer.echo(write_report(results, cases, methods, output))
    failed = sum(result.status == "failed" for result in results)
    if failed or problems:
        typer.echo(
            f"error: {failed} of {len(results)} results failed, {problems} masks without a scan", err=True
        )
        raise typer.Exit(1)


def gather_cases(
    dataset: Path | None, pairs: Path | None, masks: Path | None, suffix: str | None, share_masks: bool
) -> CaseSearch:
    """Return the cases of a data set or a table; unusable masks are reported.

    Raises:
        OptionError: neither or both are given, or a table is malformed.
        DataError: the data set holds no scan with a mask, or several masks for one.
    """
    from strokelabel.reports.evaluation.cases import CaseSearch, find_cases, read_pairs

    if (dataset is None) == (pairs is None):
        raise OptionError("expected either a data set or a table of cases (--pairs), not both")
    if dataset is None:
        return CaseSearch(read_pairs(Path(str(pairs))))  # whose sessions have the scans of the table
    suffixes = [word for word in re.split(r"[,\s]+", suffix or "") if word]
    search = find_cases(dataset, masks, suffixes, share_masks)
    for problem in search.problems:
        typer.echo(f"error: {problem}", err=True)
    if search.without_mask:
        typer.echo(f"note: {search.without_mask} scans have no lesion mask and are left out", err=True)
    return search


def session_cases(search: CaseSearch) -> list[EvaluationCase]:
    """Return a case for the sequences of each session together.

    Raises:
        OptionError: no scan has a name that tells its session.
    """
    from strokelabel.reports.evaluation.cases import ensemble_cases

    found = list(ensemble_cases(search.cases, search.scans))
    if not found:
        raise OptionError(
            "expected scans with BIDS names, such as sub-01_ses-1_FLAIR.nii.gz, for the arm ensemble, found none; "
            "leave it out"
        )
    return found


def gather_methods(
    cases: Sequence[EvaluationCase],
    models: Sequence[str],
    folders: Sequence[str],
    lesion_label: int | None,
    options: PredictionOptions,
    device: str,
    output: Path,
    arms: Sequence[Arm],
) -> list[Method]:
    """Return the methods to score: models, folders, and columns of the table; by default the model `base`.

    Raises:
        OptionError: two methods of one name, or a folder without predictions.
        UnknownModelError, WeightsError: no such model.
    """
    from strokelabel.registry import find_model
    from strokelabel.reports.evaluation.methods import FolderMethod, TableMethod
    from strokelabel.reports.evaluation.models import ModelMethod, ScoringModel

    columns = dict.fromkeys(name for case in cases for name in case.predictions)
    methods: list[Method] = []
    for text in models or ([] if folders or columns else ["base"]):
        given, place = split_name(text)
        spec = find_model(place)
        for arm in arms:
            name = given if given and len(arms) == 1 else arm.method_name(given or spec.name)
            scoring = ScoringModel(spec, device, arm=arm)
            methods.append(ModelMethod(name, scoring, arm.options(options), output / "predictions" / name))
    for text in folders:
        name, place = split_name(text)
        methods.append(FolderMethod(name or Path(place).resolve().name, Path(place), lesion_label))
    methods += [TableMethod(name, lesion_label) for name in columns]
    check_names(methods)
    return methods


def check_names(methods: Sequence[Method]) -> None:
    """Refuse methods that tables could not distinguish.

    Raises:
        OptionError: two have one name.
    """
    names = [method.name for method in methods]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise OptionError(
            f"expected methods with different names, got {', '.join(sorted(repeated))} more than once; write NAME=..."
        )


def score_all(
    cases: Sequence[EvaluationCase], methods: Sequence[Method], table: ResultTable
) -> list[CaseResult]:
    """Score cases with a progress bar and a line for each result."""
    from strokelabel.reports.evaluation.results import evaluate_cases, scored_pairs

    results: list[CaseResult] = []
    total = len(scored_pairs(cases, methods))
    with scan_progress() as bar:
        task = bar.add_task("starting", total=total)

        def on_progress(stage: str, fraction: float) -> None:
            bar.update(task, completed=len(results) + fraction, description=stage)

        try:
            for result in evaluate_cases(cases, methods, table, on_progress):
                results.append(result)
                bar.update(task, completed=len(results), description="scoring")
                _report(result)
        except KeyboardInterrupt:
            typer.echo(
                f"interrupted after {len(results)} of {total}; run the same command to continue", err=True
            )
            raise
    return results


def split_name(text: str) -> tuple[str, str]:
    """Split NAME=PLACE into name and place; without a name where the text is a place."""
    match = _NAMED.fullmatch(text)
    if match is None or Path(text).exists():
        return "", text
    return match[1], match[2]


def _report(result: CaseResult) -> None:
    """Report a result in one line: the scores on stdout, or the reason of a failure on stderr."""
    name = f"{result.case}, {result.method}"
    if result.metrics is None:
        typer.echo(f"error: {name}: {result.reason}", err=True)
        return
    metrics, earlier = result.metrics, " (kept from an earlier run)" if result.kept else ""
    typer.echo(
        f"{name}: Dice {metrics.dice:.3f}, HD95 {metrics.hd95_mm:.1f} mm, "
        f"{metrics.prediction_ml:.1f} of {metrics.reference_ml:.1f} ml{earlier}"
    )
    if result.reason:
        typer.echo(f"note: {name}: {result.reason}", err=True)
