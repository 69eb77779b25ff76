"""`strokelabel validate`: a model on the synthetic benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(  # noqa: PLR0913, PLR0917  # each argument is an option of the command
    model: Annotated[str, typer.Option("--model", help="Model name, or a weights file.")] = "base",
    recipe: Annotated[
        str, typer.Option("--recipe", help="Recipe that says which brains are unseen.")
    ] = "base",
    prepared: Annotated[
        Path, typer.Option("--prepared", help="Folder written by `strokelabel prepare`.")
    ] = Path("prepared"),
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the table and pictures.")] = Path(
        "runs/validation"
    ),
    per_family: Annotated[int, typer.Option(min=1, help="Volumes per contrast; half with 5 mm slices.")] = 15,
    lesion_free: Annotated[
        int, typer.Option(min=0, help="Heads without lesions, to count what is false.")
    ] = 15,
    tta: Annotated[bool, typer.Option("--tta", help="Average over flips.")] = False,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Least lesion probability; none: the most probable class."),
    ] = None,
    min_size_ml: Annotated[float, typer.Option(min=0, help="Smaller lesions are dropped.")] = 0.0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<index>.")] = "auto",
) -> None:
    """Print lesion Dice per contrast and lesion volume on the synthetic benchmark, and false lesion volume."""
    from rich.console import Console
    from rich.progress import track

    from strokelabel.fit.devices import resolve_device
    from strokelabel.fit.recipe import load_recipe
    from strokelabel.fit.session import make_synthesizer
    from strokelabel.inference.options import PredictionOptions
    from strokelabel.inference.predictor import Predictor
    from strokelabel.reports import validation as report
    from strokelabel.synthesis.prepared import PreparedData
    from strokelabel.synthesis.validation import (
        BENCHMARK_VERSION,
        lesion_free_cases,
        validation_cases,
        validation_config,
    )

    options = PredictionOptions(tta=tta, threshold=threshold, min_size_ml=min_size_ml)
    predictor = Predictor.from_model(model, device, options)
    config = validation_config(report.VALIDATION_SHAPE, 1.0)
    data = PreparedData.load(prepared)
    unseen = load_recipe(recipe).model_copy(update={"target": "tissues"})  # lesions, whatever it trains
    synthesizer = make_synthesizer(data, unseen, "validation", config, resolve_device(device))
    cases = validation_cases(per_family) + lesion_free_cases(lesion_free)
    console = Console(stderr=True)
    scores = []
    progress = track(
        report.score_cases(predictor, synthesizer, cases), "validating", total=len(cases), console=console
    )
    for score in progress:
        scores.append(score)
        report.write_table(scores, output / "validation.csv")
    report.write_pictures(scores, output)
    typer.echo(
        f"{report.summary(scores)}\n\nSynthetic benchmark version {BENCHMARK_VERSION}, data {data.digest[:12]}, "
        f"model {predictor.spec.name} {predictor.spec.version}."
    )
