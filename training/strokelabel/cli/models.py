"""`strokelabel models`: the versions that fine-tuning made, and which of them is active."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Action(StrEnum):
    """Action to perform."""

    LIST = "list"
    ROLLBACK = "rollback"
    ACTIVATE = "activate"


def run(
    action: Annotated[Action, typer.Argument(help="Action to perform.")],
    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder of versions: STUDIES/.strokelabel/models, unless the server has another."
        ),
    ],
    model: Annotated[
        str, typer.Option("--model", help="Name or file of the model that was fine-tuned.")
    ] = "base",
    version: Annotated[str | None, typer.Option("--version", help="Version to activate.")] = None,
) -> None:
    """List the versions of a fine-tuned model, go back to the one before, or activate any of them.

    A running server takes up the change with its next request.
    """
    from strokelabel.errors import OptionError
    from strokelabel.fit.fine_tuning.versions import ORIGIN, ModelVersions
    from strokelabel.registry import find_model

    versions = ModelVersions(folder, find_model(model))
    if action is Action.ROLLBACK:
        typer.echo(f"active: {versions.rollback()}")
    elif action is Action.ACTIVATE:
        if version is None:
            raise OptionError(
                "activate: expected --version and the name of one; `strokelabel models list` shows them"
            )
        versions.activate(version)
        typer.echo(f"active: {version}")
    else:
        active, spec = versions.active()
        typer.echo(f"{'*' if active == ORIGIN else ' '} {ORIGIN}  {spec.name}")
        for record in versions.records():
            typer.echo(f"{'*' if active == record.name else ' '} {record.name}  {_line(record.details)}")


def _line(details: dict[str, object]) -> str:
    """Return the gate's decision about a version."""
    result = details.get("result")
    decision = result.get("decision") if isinstance(result, dict) else None
    return "; ".join(decision["reasons"]) if isinstance(decision, dict) else ""
