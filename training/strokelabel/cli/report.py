"""`strokelabel report`: what annotators did with the predictions."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Subject(StrEnum):
    """Subject of the report."""

    ANNOTATIONS = "annotations"


def run(
    subject: Annotated[Subject, typer.Argument(help="Subject of the report.")],
    studies: Annotated[
        Path, typer.Argument(metavar="STUDIES", help="Folder that an annotation server serves or served.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the report.")],
) -> None:
    """Report who labelled what, how long it took, what was changed, and the scores of the predictions by version.

    Written are annotations.tsv (a row per submitted label), annotations.json and annotations.html, a page with a
    picture that needs no other file. Reads datastore_v2.json and the labels; no server has to run.
    """
    from strokelabel.reports.annotations.page import summary, write_report

    rows = write_report(studies, output)
    typer.echo(summary(rows))
    typer.echo(f"written: {output / f'{subject.value}.html'}")
