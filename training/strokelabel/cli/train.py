"""`strokelabel train`: a network from a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strokelabel.cli.common.options import Device, Prepared
from strokelabel.errors import OptionError

if TYPE_CHECKING:
    from strokelabel.fit.data.annotated_scans.config import RealConfig
    from strokelabel.fit.pretraining.encoder import EncoderStart
    from strokelabel.fit.recipe import Recipe as FitRecipe


Recipe = Annotated[str, typer.Argument(help="Name of a shipped recipe, or a YAML file.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Training folder (default: runs/<recipe>).")
]
Minutes = Annotated[float | None, typer.Option(min=0.01, help="Stop after this long, with a checkpoint.")]
Weights = Annotated[
    str | None, typer.Option("--weights", help="Model name or file that a fresh run starts from.")
]
Encoder = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        help="Pre-trained weights (recipe contrast-squared) whose encoder a fresh run starts from.",
    ),
]
FreezeEncoder = Annotated[
    bool, typer.Option("--freeze-encoder", help="Keep that encoder as it is: train the decoder alone.")
]
Real = Annotated[
    Path | None,
    typer.Option("--real", help="Folder (BIDS) of scans with lesion masks, for recipes that train on them."),
]
PseudoLabels = Annotated[
    Path | None,
    typer.Option(
        "--pseudo-labels", help="Folder written by `strokelabel pseudo-label`, for recipes that use it."
    ),
]
Maps = Annotated[
    Path | None,
    typer.Option(
        "--maps", help="Folder of quantitative maps (`strokelabel estimate`), for recipes that use them."
    ),
]
Generators = Annotated[
    int | None,
    typer.Option(min=0, help="Processes that make synthetic images on CPU cores during training."),
]
GpuGenerators = Annotated[
    int | None, typer.Option(min=0, help="Additional processes that make synthetic images on the GPU.")
]
FastDevRun = Annotated[
    bool,
    typer.Option("--fast-dev-run", help="Two steps of a tiny network, to see that everything works."),
]


def run(  # noqa: PLR0913, PLR0917 - one argument per option of the command
    recipe: Recipe,
    prepared: Prepared = Path("prepared"),
    output: Output = None,
    device: Device = "auto",
    minutes: Minutes = None,
    weights: Weights = None,
    encoder: Encoder = None,
    freeze_encoder: FreezeEncoder = False,
    real: Real = None,
    pseudo_labels: PseudoLabels = None,
    maps: Maps = None,
    generators: Generators = None,
    gpu_generators: GpuGenerators = None,
    fast_dev_run: FastDevRun = False,
) -> None:
    """Train, going on from the last checkpoint if the training folder has one.

    Ctrl-C writes a checkpoint and stops; the same command continues from it.
    """
    from rich.console import Console

    from strokelabel.fit.data.synthetic_streams import with_maps
    from strokelabel.fit.recipe import load_recipe, shrink, with_folders, with_generators
    from strokelabel.fit.train import train_recipe
    from strokelabel.synthesis.prepared.dataset import PreparedData

    chosen = with_maps(with_folders(load_recipe(recipe), real, pseudo_labels), maps)
    chosen = with_generators(shrink(chosen) if fast_dev_run else chosen, generators, gpu_generators)
    start = _encoder_start(chosen, encoder, freeze=freeze_encoder)
    folder = output or Path("runs") / chosen.name
    data = PreparedData.load(prepared) if chosen.is_synthetic else None
    if chosen.real is not None:
        prepare_scans(chosen.real, chosen.synthesis.spacing_mm, prepared / "real")
    result = train_recipe(
        chosen,
        data,
        folder,
        device=device,
        minutes=minutes,
        weights=weights,
        encoder=start,
        cache=prepared / "real",
    )
    best = "none" if result.best_metric is None else f"{result.best_metric:.3f} at step {result.best_step}"
    skipped = f", {result.skipped} of them skipped because of their gradients" if result.skipped else ""
    Console(stderr=True).print(
        f"{folder}: {result.steps} of {chosen.training.steps} steps{skipped}, best {result.metric_label} {best}, "
        f"checkpoint {result.checkpoint}",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )


def _encoder_start(recipe: FitRecipe, weights: str | None, *, freeze: bool) -> EncoderStart | None:
    """Return the encoder to start from, checked before anything else takes time; None for none.

    Raises:
        OptionError: it is to be frozen, and not named.
        UnknownModelError, WeightsError, RecipeError: no such weights, or they do not fit the recipe.
    """
    from strokelabel.fit.pretraining.encoder import EncoderStart, check_encoder

    if weights is None:
        if freeze:
            raise OptionError("expected --encoder WEIGHTS with --freeze-encoder, which keeps it as it is")
        return None
    check_encoder(recipe, weights)
    return EncoderStart(weights, freeze)


def prepare_scans(config: RealConfig, spacing_mm: float, cache: Path) -> None:
    """Prepare the real scans of a recipe with a progress bar; training then finds them in the cache."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    from strokelabel.fit.data.annotated_scans.scans import prepare_real

    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("real scans", total=None)
        prepare_real(
            config, spacing_mm, cache, lambda done, total: bar.update(task, completed=done, total=total)
        )
