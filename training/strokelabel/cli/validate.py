"""`strokelabel validate`: a model's lesion Dice on the synthetic validation set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
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
    tta: Annotated[bool, typer.Option("--tta", help="Average over flips.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<index>.")] = "auto",
) -> None:
    """Print median lesion Dice per contrast on synthetic volumes of unseen brains and lesions."""
    from rich.console import Console
    from rich.progress import track

    from strokelabel.fit.devices import resolve_device
    from strokelabel.fit.recipe import load_recipe
    from strokelabel.fit.session import make_synthesizer
    from strokelabel.inference.options import PredictionOptions
    from strokelabel.inference.predictor import Predictor
    from strokelabel.reports import validation as report
    from strokelabel.synthesis.prepared import PreparedData
    from strokelabel.synthesis.validation import validation_cases, validation_config

    predictor = Predictor.from_model(model, device, PredictionOptions(tta=tta))
    config = validation_config(report.VALIDATION_SHAPE, 1.0)
    data = PreparedData.load(prepared)
    synthesizer = make_synthesizer(data, load_recipe(recipe), "validation", config, resolve_device(device))
    cases = validation_cases(per_family)
    console = Console(stderr=True)
    scores = []
    progress = track(
        report.score_cases(predictor, synthesizer, cases), "validating", total=len(cases), console=console
    )
    for score in progress:
        scores.append(score)
        report.write_table(scores, output / "validation.csv")
    report.write_pictures(scores, output)
    typer.echo(report.summary(scores))
