"""`strokelabel prepare`: training data from label maps and lesion masks, and from real slices and scans."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Brains = Annotated[
    list[Path], typer.Option("--brains", help="Folder of label maps (FreeSurfer-style). May be repeated.")
]
Lesions = Annotated[
    list[Path],
    typer.Option("--lesions", help="Folder of lesion masks in ICBM (MNI) space. May be repeated."),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")]
Table = Annotated[
    Path | None,
    typer.Option("--table", exists=True, dir_okay=False, help="Label table (TSV) for other label maps."),
]
SlicesOption = Annotated[
    list[Path] | None,
    typer.Option("--slices", help="Folder of real slices with lesion masks (.npz). May be repeated."),
]
Scans = Annotated[
    list[Path] | None,
    typer.Option(
        "--scans",
        help="Folder, or file, of real scans without a stroke, or with a lesion mask beside them. May be repeated.",
    ),
]
Model = Annotated[str, typer.Option("--model", help="Model name or file that finds the brain in --scans.")]
FillHyperintensities = Annotated[
    list[str] | None,
    typer.Option(
        "--fill-hyperintensities",
        help="Pattern of names of --scans whose bright white matter lesions are not strokes; they are filled.",
    ),
]


def run(
    brains: Brains,
    lesions: Lesions,
    output: Output = Path("prepared"),
    table: Table = None,
    slices: SlicesOption = None,
    scans: Scans = None,
    model: Model = "base",
    fill_hyperintensities: FillHyperintensities = None,
) -> None:
    """Register label maps to ICBM space and collect lesions, once, for training; likewise real slices and scans.

    Interrupted, it continues where it stopped when started again. Slices and scans with "validation" in their names are
    left out.
    """
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    from strokelabel.fit.data.real_images.preparation import prepare_real_images
    from strokelabel.labels import read_label_table
    from strokelabel.synthesis.prepared.prepare import prepare_data

    console = Console(stderr=True)
    chosen = read_label_table(table) if table else None
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        stages = ("brains", "lesions", *(["slices"] if slices else []), *(["scans"] if scans else []))
        tasks = {stage: bar.add_task(stage, total=None) for stage in stages}

        def show(stage: str, done: int, total: int) -> None:
            bar.update(tasks[stage], completed=done, total=total)

        result = prepare_data(brains, lesions, output, chosen, show)
        real = prepare_real_images(
            output,
            slices=slices or [],
            scans=scans or [],
            model=model,
            fill_hyperintensities=fill_hyperintensities or [],
            on_progress=show,
        )
    for warning in (*result.warnings, *real.warnings):
        console.print(f"warning: {warning}", soft_wrap=True, highlight=False, markup=False)
    for name, reason in (result.refused | real.skipped).items():
        console.print(f"left out {name}: {reason}", soft_wrap=True, highlight=False, markup=False)
    data = result.data
    counts = f"{len(data.brain_names)} brains, {len(data.lesions)} lesions"
    if slices or scans:
        counts += f", {real.slices} slices, {real.scans} scans"
    console.print(f"{output}: {counts}", soft_wrap=True, highlight=False, markup=False)
