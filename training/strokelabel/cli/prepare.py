"""`strokelabel prepare`: training data from label maps and lesion masks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    brains: Annotated[
        list[Path], typer.Option("--brains", help="Folder of label maps (FreeSurfer-style). May be repeated.")
    ],
    lesions: Annotated[
        list[Path],
        typer.Option("--lesions", help="Folder of lesion masks in ICBM (MNI) space. May be repeated."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")] = Path("prepared"),
    table: Annotated[
        Path | None,
        typer.Option("--table", exists=True, dir_okay=False, help="Label table (TSV) for other label maps."),
    ] = None,
) -> None:
    """Register label maps to ICBM space and collect lesions, once, for training.

    Interrupted, it goes on where it stopped when started again.
    """
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    from strokelabel.labels import read_label_table
    from strokelabel.synthesis.prepare import prepare_data

    console = Console(stderr=True)
    chosen = read_label_table(table) if table else None
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        tasks = {stage: bar.add_task(stage, total=None) for stage in ("brains", "lesions")}

        def show(stage: str, done: int, total: int) -> None:
            bar.update(tasks[stage], completed=done, total=total)

        result = prepare_data(brains, lesions, output, chosen, show)
    for warning in result.warnings:
        console.print(f"warning: {warning}", soft_wrap=True, highlight=False, markup=False)
    for name, reason in result.refused.items():
        console.print(f"left out {name}: {reason}", soft_wrap=True, highlight=False, markup=False)
    data = result.data
    console.print(f"{output}: {len(data.brain_names)} brains, {len(data.lesions)} lesions", highlight=False)
