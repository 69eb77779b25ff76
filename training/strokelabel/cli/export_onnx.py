"""`strokelabel export-onnx`: a model for other programs that run ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    model: Annotated[
        str, typer.Argument(help="Name of a model (see `strokelabel info`), or a weights file.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="File to write, *.onnx.")],
) -> None:
    """Write a model as an ONNX file, after torch and ONNX Runtime are found to agree.

    StrokeLabel itself needs no such file: it makes the same from the weights when it loads a model. The file's metadata
    holds the classes, the voxel size, the normalisation, the recipe and the weights' check sum.
    """
    from strokelabel.inference.onnx_export import export_onnx
    from strokelabel.registry import find_model

    spec = find_model(model)
    typer.echo(f"{output}: {spec.name} {spec.version}, {export_onnx(spec, output)}")
