"""`strokelabel synthesize`: look at, or keep, what a recipe trains on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_PICTURES = 96


def run(
    recipe: Annotated[str, typer.Argument(help="Name of a shipped recipe, or a YAML file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    prepared: Annotated[
        Path, typer.Option("--prepared", help="Folder written by `strokelabel prepare`.")
    ] = Path("prepared"),
    count: Annotated[int, typer.Option(min=1, help="How many images.")] = 24,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32, help="Seed of the first image; the others follow.")
    ] = 0,
    spacing_mm: Annotated[
        float | None, typer.Option(min=0.5, help="Voxel size instead of the recipe's; same field of view.")
    ] = None,
    volumes: Annotated[
        bool, typer.Option(help="Write NIfTI images, labels and parameters (JSON) too.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<index>.")] = "auto",
) -> None:
    """Make synthetic training images of a recipe, with a contact sheet of them (the first 96)."""
    from rich.console import Console
    from rich.progress import track

    from strokelabel.fit.devices import resolve_device
    from strokelabel.fit.recipe import load_recipe
    from strokelabel.fit.session import make_synthesizer
    from strokelabel.reports.contact_sheet import save_contact_sheet
    from strokelabel.reports.synthetic import synthetic_panel, write_synthetic
    from strokelabel.synthesis.prepared import PreparedData

    chosen = load_recipe(recipe)
    config = chosen.synthesis.at_spacing(spacing_mm) if spacing_mm else chosen.synthesis
    data = PreparedData.load(prepared)
    synthesizer = make_synthesizer(data, chosen, "train", config, resolve_device(device))
    console = Console(stderr=True)
    panels = []
    for index in track(range(count), description=chosen.name, console=console):
        batch = synthesizer.generate([seed + index])
        if index < _PICTURES:
            panels.append(synthetic_panel(batch, chosen.lesion_class))
        if volumes:
            write_synthetic(batch, output / f"sub-{index + 1:04d}", config.spacing_mm)
    save_contact_sheet(panels, output / "contact-sheet.png")
    console.print(
        f"{output}: {count} images, contact-sheet.png", soft_wrap=True, highlight=False, markup=False
    )
