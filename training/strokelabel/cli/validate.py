"""`strokelabel validate`: models on the synthetic benchmark and on the real validation set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strokelabel.cli.common.options import Device, Prepared, Threads, set_threads
from strokelabel.cli.evaluate import check_names, split_name
from strokelabel.errors import OptionError

if TYPE_CHECKING:
    from strokelabel.inference.options import PredictionOptions
    from strokelabel.reports.evaluation.models import ModelMethod
    from strokelabel.reports.real_validation.scores import RealScore
    from strokelabel.reports.validation import CaseScore
    from strokelabel.synthesis.benchmark import ValidationCase


Model = Annotated[
    list[str] | None,
    typer.Option(metavar="[NAME=]MODEL", help="Model or weights file; repeat to compare. [base]"),
]
Recipe = Annotated[str, typer.Option("--recipe", help="Recipe that names the unseen brains.")]
Real = Annotated[
    Path | None,
    typer.Option(
        metavar="DATA", help="Also score the real validation set, made from slices/ and scans/ in DATA."
    ),
]
SyntheticOption = Annotated[bool, typer.Option("--synthetic/--no-synthetic", help="The synthetic benchmark.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder for tables and pictures.")]
PerFamily = Annotated[
    int, typer.Option(min=1, help="Volumes with lesions per contrast; half with 5 mm slices.")
]
LesionFree = Annotated[int, typer.Option(min=0, help="Heads without lesions, to measure false positives.")]
Part = Annotated[
    str | None, typer.Option(metavar="I/N", help="Score only part I of N of the volumes and scans.")
]
Development = Annotated[
    bool,
    typer.Option(
        "--development",
        help="Use a set that is disjoint from the reported one, to choose thresholds on.",
    ),
]
Threshold = Annotated[
    list[float] | None,
    typer.Option(
        min=0, max=1, help="Least lesion probability; repeat to compare. None: the model's own rule."
    ),
]
Tta = Annotated[bool, typer.Option("--tta", help="Average over flips.")]
MinSizeMl = Annotated[float, typer.Option(min=0, help="Drop lesions smaller than this, in ml.")]
SlabsAsScans = Annotated[
    bool,
    typer.Option(
        "--slabs-as-scans", help="Predict real slices as whole heads, with air above and below them."
    ),
]


def run(  # noqa: PLR0913, PLR0917  # each argument is an option of the command
    model: Model = None,
    recipe: Recipe = "base",
    prepared: Prepared = Path("prepared"),
    real: Real = None,
    synthetic: SyntheticOption = True,
    output: Output = Path("runs/validation"),
    per_family: PerFamily = 10,
    lesion_free: LesionFree = 20,
    part: Part = None,
    development: Development = False,
    threshold: Threshold = None,
    tta: Tta = False,
    min_size_ml: MinSizeMl = 0.0,
    slabs_as_scans: SlabsAsScans = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Print what models score on unseen heads: synthetic ones (by contrast and lesion volume) and real ones.

    The tables, made for a model card, are also written to card.md. Exit code 1 when a real scan could not be scored.
    """
    from strokelabel.inference.batch import parse_part
    from strokelabel.inference.options import PredictionOptions
    from strokelabel.io import atomic_write_text
    from strokelabel.reports.validation import score_table

    if not synthetic and real is None:
        raise OptionError("expected the synthetic benchmark, real scans (--real DATA) or both, got neither")
    which = parse_part(part)
    set_threads(threads)
    options = PredictionOptions(tta=tta, min_size_ml=min_size_ml)
    methods = gather_models(model or ["base"], threshold or [], options, device, output, slabs_as_scans)
    texts: list[str] = []
    found: list[CaseScore] = []
    measured: list[RealScore] = []
    failed = 0
    if synthetic:
        cases = benchmark_cases(per_family, lesion_free, development, which)
        found, text = score_synthetic(methods, prepared, recipe, cases, output, device)
        texts.append(text)
    if real is not None:
        measured, text, failed = score_real(methods, real, output / "real", development, which)
        texts.append(text)
    if len(methods) > 1 or (synthetic and real is not None):
        texts.append(score_table(found, measured).markdown())
    card = "\n\n".join(texts)
    atomic_write_text(output / "card.md", card + "\n")
    typer.echo(card)
    if failed:
        typer.echo(f"error: {failed} real scans could not be scored", err=True)
        raise typer.Exit(1)


def gather_models(
    models: Sequence[str],
    thresholds: Sequence[float],
    options: PredictionOptions,
    device: str,
    output: Path,
    slabs_as_scans: bool,
) -> list[ModelMethod]:
    """Combine each model with each threshold, or with its own rule where there are none.

    Raises:
        OptionError: two methods of one name.
        UnknownModelError, WeightsError: no such model.
    """
    from strokelabel.registry import find_model
    from strokelabel.reports.evaluation.models import ModelMethod, ScoringModel

    methods = []
    for text in models:
        name, place = split_name(text)
        spec = find_model(place)
        scoring = ScoringModel(spec, device, slabs_as_scans)
        base = name or f"{spec.name}-{spec.version}"
        base += "+TTA" if options.tta else ""
        rules: list[float | None] = [*thresholds] if thresholds else [None]
        for threshold in rules:
            own = base if threshold is None else f"{base}@{threshold:g}"
            chosen = replace(options, threshold=threshold)
            methods.append(ModelMethod(own, scoring, chosen, output / "real/predictions" / own))
    check_names(methods)
    return methods


def benchmark_cases(
    per_family: int, lesion_free: int, development: bool, part: tuple[int, int] | None
) -> list[ValidationCase]:
    """Return the volumes of the benchmark, or of its development set."""
    from strokelabel.inference.batch import take_part
    from strokelabel.synthesis.benchmark import lesion_free_cases, validation_cases

    cases = validation_cases(per_family, development) + lesion_free_cases(lesion_free, development)
    return take_part(cases, part)


def score_synthetic(
    methods: Sequence[ModelMethod],
    prepared: Path,
    recipe: str,
    cases: Sequence[ValidationCase],
    output: Path,
    device: str,
) -> tuple[list[CaseScore], str]:
    """Score the benchmark; return scores and table, and write validation.csv and pictures."""
    from rich.console import Console
    from rich.progress import track

    from strokelabel.fit.loop.devices import training_device
    from strokelabel.fit.recipe import load_recipe
    from strokelabel.fit.train import make_synthesizer
    from strokelabel.reports import validation as report
    from strokelabel.reports.validation import benchmark_table
    from strokelabel.synthesis.benchmark import BENCHMARK_VERSION, validation_config
    from strokelabel.synthesis.prepared.dataset import PreparedData

    contenders = [report.Contender(m.name, m.model.predictor, m.options) for m in methods]
    data = PreparedData.load(prepared)
    unseen = load_recipe(recipe).model_copy(update={"target": "tissues"})  # lesions, whatever it trains
    config = validation_config(report.VALIDATION_SHAPE, 1.0)
    synthesizer = make_synthesizer(data, unseen, "validation", config, training_device(device))
    scores: list[report.CaseScore] = []
    volumes = report.score_cases(contenders, synthesizer, cases)
    console = Console(stderr=True)
    for found in track(volumes, "synthetic volumes", total=len(cases), console=console):
        scores += found
        report.write_table(scores, output / "validation.csv")
    report.write_pictures(scores, output)
    specs = [m.model.spec for m in methods]
    models = ", ".join(dict.fromkeys(f"{spec.name} {spec.version}" for spec in specs))
    about = f"Synthetic benchmark version {BENCHMARK_VERSION}, data {data.digest[:12]}, model {models}."
    return scores, f"{benchmark_table(scores).markdown()}\n\n{about}"


def score_real(
    methods: Sequence[ModelMethod],
    material: Path,
    output: Path,
    development: bool,
    part: tuple[int, int] | None,
) -> tuple[list[RealScore], str, int]:
    """Score the real set; return scores, table and the number of failures, and write the data set, scores
    and pictures.
    """
    from rich.console import Console
    from rich.progress import track

    from strokelabel.inference.batch import take_part
    from strokelabel.inference.network_input import silent
    from strokelabel.reports.evaluation.cases import read_pairs
    from strokelabel.reports.evaluation.results import ResultTable, evaluate_cases
    from strokelabel.reports.real_validation.dataset import RealGroup, write_real_validation
    from strokelabel.reports.real_validation.scores import card_table, real_scores, write_real_pictures

    cases = read_pairs(write_real_validation(material, output / "dataset"))
    if development:
        cases = tuple(case for case in cases if RealGroup.parse(case.group).part == "development")
    chosen = take_part(cases, part)
    table = ResultTable(output, part)
    steps = evaluate_cases(chosen, methods, table, silent)
    total = len(chosen) * len(methods)
    results = list(track(steps, "real slices and scans", total=total, console=Console(stderr=True)))
    table.finish(results)
    failed = [result for result in results if result.status == "failed"]
    for result in failed:
        typer.echo(f"error: {result.case}, {result.method}: {result.reason}", err=True)
    write_real_pictures([r for r in results if r.metrics], chosen, methods, output)
    scores = real_scores(results)
    return scores, card_table(scores).markdown(), len(failed)
