"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<index>.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Number of CPU threads; default: all cores.")]
Prepared = Annotated[Path, typer.Option("--prepared", help="Folder written by `strokelabel prepare`.")]
