"""`strokelabel synthesize`: look at, or keep, what a recipe trains on."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from strokelabel.cli.common.options import Device, Prepared

if TYPE_CHECKING:
    import torch

    from strokelabel.fit.recipe import Recipe
    from strokelabel.reports.contact_sheet import Panel
    from strokelabel.synthesis.prepared.dataset import PreparedData

_PICTURES = 96


RecipeOption = Annotated[str, typer.Argument(help="Name of a shipped recipe, or a YAML file.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")]
Count = Annotated[int, typer.Option(min=1, help="Number of images.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32, help="Seed of the first image; the others follow.")]
SpacingMm = Annotated[
    float | None, typer.Option(min=0.5, help="Voxel size instead of the recipe's; same field of view.")
]
Volumes = Annotated[bool, typer.Option(help="Also write NIfTI images, labels and parameters (JSON).")]
Kind = Annotated[
    Literal["synthetic", "slabs", "scans"],
    typer.Option(
        help="Kind of images: synthetic ones, real slices as slabs, or real scans with painted lesions."
    ),
]


def run(  # noqa: PLR0913, PLR0917 - one argument per option of the command
    recipe: RecipeOption,
    output: Output,
    prepared: Prepared = Path("prepared"),
    count: Count = 24,
    seed: Seed = 0,
    spacing_mm: SpacingMm = None,
    volumes: Volumes = False,
    device: Device = "auto",
    kind: Kind = "synthetic",
) -> None:
    """Make training images of a recipe, with a contact sheet of them (the first 96)."""
    from rich.console import Console
    from rich.progress import track

    from strokelabel.errors import OptionError
    from strokelabel.fit.loop.devices import training_device
    from strokelabel.fit.recipe import load_recipe
    from strokelabel.fit.train import make_synthesizer, with_data
    from strokelabel.reports.contact_sheet import save_contact_sheet
    from strokelabel.reports.synthetic import synthetic_panel, write_synthetic
    from strokelabel.synthesis.prepared.dataset import PreparedData

    data = PreparedData.load(prepared)
    chosen = with_data(load_recipe(recipe), data.structures)
    config = chosen.synthesis.at_spacing(spacing_mm) if spacing_mm else chosen.synthesis
    console = Console(stderr=True)
    if kind != "synthetic":
        if volumes:
            raise OptionError(
                f"Expected no --volumes with --kind {kind}: these images have no files of their own."
            )
        made = real_panels(
            chosen.model_copy(update={"synthesis": config}), data, kind, seed, training_device(device)
        )
        shown = min(count, _PICTURES)
        panels = list(track(islice(made, shown), description=kind, total=shown, console=console))
        save_contact_sheet(panels, output / f"{kind}.png")
        console.print(f"{output}: {shown} images, {kind}.png", soft_wrap=True, highlight=False, markup=False)
        return
    synthesizer = make_synthesizer(data, chosen, "train", config, training_device(device))
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


def real_panels(
    recipe: Recipe, data: PreparedData, kind: Literal["slabs", "scans"], first: int, device: torch.device
) -> Iterator[Panel]:
    """Yield pictures of a recipe's real images, without end.

    Raises:
        DataError: the recipe, or the prepared folder, has none.
    """
    from strokelabel.fit.data.real_images.mixture import make_scan_stream, make_slab_stream
    from strokelabel.fit.data.real_images.preparation import RealImages
    from strokelabel.fit.train import split_lesions
    from strokelabel.reports.synthetic import scan_panels, slab_panels

    images = RealImages.load(data.folder)
    if kind == "slabs":
        return slab_panels(make_slab_stream(recipe, images, device), first)
    bank = split_lesions(data, "train", recipe.synthesis.lesion.minimum_volume_ml)
    return scan_panels(make_scan_stream(recipe, images, bank, device), first)
