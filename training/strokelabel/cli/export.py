"""`strokelabel export`: a model from a training folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def run(
    folder: Annotated[Path, typer.Argument(help="Training folder, or one checkpoint file.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write: <model name>/model.safetensors.")
    ],
    recipe: Annotated[str, typer.Option("--recipe", help="The recipe that the folder was trained with.")],
    version: Annotated[str, typer.Option("--version", help="Version of the weights, such as 0.1.0.")],
    newest: Annotated[
        bool, typer.Option("--newest", help="The newest checkpoint rather than the best in validation.")
    ] = False,
    average_with: Annotated[
        list[Path] | None,
        typer.Option("--average-with", help="Another checkpoint or weights file; the model is their mean."),
    ] = None,
    license_name: Annotated[str, typer.Option("--license", help="SPDX identifier.")] = "Apache-2.0",
) -> None:
    """Write the averaged weights of a training run as a model that `predict` and the server can load."""
    from rich.console import Console

    from strokelabel.fit.export import export_weights
    from strokelabel.fit.recipe import load_recipe
    from strokelabel.fit.train import describe_model

    spec = describe_model(load_recipe(recipe), output, version, license_name)
    which: Literal["newest", "best"] = "newest" if newest else "best"
    written = export_weights(folder, spec, output, which=which, average_with=average_with or ())
    Console(stderr=True).print(
        f"{output}: step {written.training_step}, sha256 {written.sha256}", soft_wrap=True, highlight=False
    )
