"""`strokelabel series`: the DICOM series of folders and archives."""

from __future__ import annotations

from typing import Annotated

import typer

Inputs = Annotated[
    list[str], typer.Argument(metavar="INPUT...", help="Folders to search, archives (.zip, .tar), or files.")
]


def run(inputs: Inputs) -> None:
    """List DICOM series: number, description, modality, files, UID and path, between tabs.

    Number, description or UID of a series can be given to `strokelabel predict --series`. Exit code 1 where there is
    none.
    """
    from strokelabel.io import search_images
    from strokelabel.io.series_choice import list_series

    search = search_images(inputs)
    for problem in search.problems:
        typer.echo(f"note: {problem}", err=True)
    found = list_series(search.images)
    for series in found:
        typer.echo(str(series))
    if not found:
        typer.echo("error: expected DICOM series, found none", err=True)
        raise typer.Exit(1)
