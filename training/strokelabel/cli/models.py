"""`strokelabel models`: the versions that fine-tuning made, and which of them is active."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strokelabel.cli.common.options import Device, Threads, set_threads

if TYPE_CHECKING:
    from strokelabel.fit.fine_tuning.versions import ModelVersions


class Action(StrEnum):
    """Action to perform."""

    LIST = "list"
    ROLLBACK = "rollback"
    ACTIVATE = "activate"
    ADD = "add"


def run(
    action: Annotated[Action, typer.Argument(help="Action to perform.")],
    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder of versions: STUDIES/.strokelabel/models, unless the server has another."
        ),
    ],
    weights: Annotated[
        Path | None, typer.Argument(help="For add: the weights file of `strokelabel adapt`.")
    ] = None,
    model: Annotated[
        str, typer.Option("--model", help="Name or file of the model that was fine-tuned.")
    ] = "base",
    version: Annotated[str | None, typer.Option("--version", help="Version to activate.")] = None,
    prepared: Annotated[
        Path | None,
        typer.Option(
            "--prepared",
            help="For add: folder written by `strokelabel prepare`, for the benchmark; default: the ICBM template.",
        ),
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """List the versions of a fine-tuned model, go back to the one before, or activate any of them.

    With `add`, weights that `strokelabel adapt` wrote become a version, which is activated if it is not worse on the
    synthetic benchmark. A running server takes up a change with its next request.
    """
    from strokelabel.errors import OptionError
    from strokelabel.fit.fine_tuning.versions import ORIGIN, ModelVersions
    from strokelabel.registry import find_model

    if (weights is not None) != (action is Action.ADD):
        raise OptionError("expected a weights file with add, and with add alone")
    versions = ModelVersions(folder, find_model(model))
    if weights is not None:
        set_threads(threads)
        _add(versions, weights, prepared, device)
    elif action is Action.ROLLBACK:
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


def _add(versions: ModelVersions, weights: Path, prepared: Path | None, device: str) -> None:
    """Add adapted weights, and say what the gate decided; exit code 1 where it refused them."""
    from strokelabel.fit.fine_tuning.adapted import add_adapted
    from strokelabel.fit.fine_tuning.options import FineTuneOptions
    from strokelabel.fit.loop.devices import training_device

    record, decision = add_adapted(versions, weights, FineTuneOptions(), training_device(device), prepared)
    typer.echo(f"{record.name}: {'; '.join(decision.reasons)}")
    typer.echo(f"active: {versions.active()[0]}")
    if not decision.activate:
        raise typer.Exit(1)


def _line(details: dict[str, object]) -> str:
    """Return the gate's decision about a version."""
    result = details.get("result")
    decision = result.get("decision") if isinstance(result, dict) else None
    return "; ".join(decision["reasons"]) if isinstance(decision, dict) else ""
