"""`strokelabel browse`: the browser page, in a process of its own."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer

from strokelabel.cli.server_process import StartError, check_port
from strokelabel.errors import StrokeLabelError

PAGE = Path(__file__).resolve().parents[3] / "slicer_extension" / "browser" / "start.py"
"""Folder of the page, which is part of the repository, not of the package: it uses HTTP alone."""

NEEDED = ("trame_slicer", "slicer", "vtk")
PATIENCE_S = 10.0
PORTS_TRIED = 10


class PageError(StrokeLabelError):
    """Reason why the page cannot be started."""


def page_command(server: str, host: str, port: int, *options: str) -> list[str]:
    """Return the command that starts the page.

    Args:
        server: address of the MONAI Label server; "" for the one that was used last.
        host: address to listen on.
        port: port to listen on.
        options: more options of the page.

    Raises:
        PageError: this is no checkout of the repository, or packages are missing.
    """
    if not PAGE.is_file():
        raise PageError(
            f"expected the browser page at {PAGE}, found none; it comes with the repository: clone it and use "
            "`make start`"
        )
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise PageError(
            f"the browser page needs Python modules that are not installed: {', '.join(missing)}; "
            "install them with: pip install 'strokelabel[browser]'"
        )
    command = [sys.executable, str(PAGE), "--host", host, "--port", str(port), *options]
    return [*command, "--server", server] if server else command


def free_page_port(host: str, first: int) -> int:
    """Return the first free port from `first` on, so that a second server gets a page of its own.

    Raises:
        PageError: none of the next ports is free.
    """
    for port in range(first, first + PORTS_TRIED):
        with suppress(StartError):
            check_port(host, port)
            return port
    raise PageError(
        f"expected a free port from {first} to {first + PORTS_TRIED - 1} on {host}, found none; for example: "
        "make start PAGE_PORT=8180"
    )


@contextmanager
def page_process(server: str, host: str, port: int, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the page beside something else, and stop it at the end.

    The page waits for its server, so that both can be started at the same time. Arguments and errors as for
    `page_command`.
    """
    process = subprocess.Popen(page_command(server, host, port, *options), start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()  # it saves what was not submitted
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run(
    server: Annotated[
        str, typer.Option("--server", help="Address of the MONAI Label server; by default the one used last.")
    ] = "",
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port to listen on.")] = 8080,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
) -> None:
    """Correct and submit masks in a browser; one page, one annotator. Ends with Ctrl-C."""
    options = ["--open"] if open_page else []
    with page_process(server, host, port, *options) as process:
        code = process.wait()
    raise typer.Exit(1 if code else 0)
