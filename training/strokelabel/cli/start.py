"""`strokelabel start`: the annotation server and the browser page together, by default on copies of the sample scans.

`make start` calls it. `strokelabel serve` and `strokelabel browse` do the same apart, with more options.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from strokelabel.cli.browse import PageError, free_page_port, page_command, page_process
from strokelabel.cli.serve import (
    app_folder,
    check_exposure,
    check_studies,
    check_token,
    require_monailabel,
    writable_folder,
)
from strokelabel.cli.server_process import (
    LOOPBACK,
    StartError,
    check_port,
    instructions,
    local_url,
    run_server,
    server_command,
)

SAMPLE_DATA = Path(__file__).resolve().parents[3] / "sample-data"
"""Folder of the sample data, which are part of the repository, not of the package."""


def run(
    studies: Annotated[
        str | None,
        typer.Argument(
            help="Folder of scans (flat or BIDS), or a DICOMweb address; by default copies of the sample scans.",
            show_default=False,
        ),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port of the server.")] = 8000,
    page_port: Annotated[
        int, typer.Option("--page-port", help="Port of the browser page, or the next free one.")
    ] = 8080,
    copy_to: Annotated[
        Path, typer.Option("--copy-to", help="Where the copies go if STUDIES is not given.")
    ] = Path("runs/studies"),
    without_token: Annotated[
        bool, typer.Option("--without-token", help="Allow access from other machines without a token.")
    ] = False,
) -> None:
    """Serve scans to annotate, and the browser page beside them, until Ctrl-C.

    Asks for the token in STROKELABEL_TOKEN, where that is set.
    """
    require_monailabel()
    check_port(host, port)
    token = check_token(None)
    check_exposure(host, token, without_token)
    if studies is None:
        copy_scans(SAMPLE_DATA, copy_to)
    folder = check_studies(studies or str(copy_to))
    url = local_url(host, port)
    command = server_command(app_folder(writable_folder(folder, None)), folder, host, port)
    # The page asks for no password: where the server asks for one, only this machine can reach the page.
    page_host = LOOPBACK[0] if token else host
    with browser_page(url, page_host, page_port) as page:
        code = run_server(command, url, instructions(url, host, folder, token, page))
    raise typer.Exit(code)


def copy_scans(source: Path, folder: Path) -> int:
    """Copy the scans of a BIDS folder into a flat folder, so that serving them leaves the original untouched.

    What is already there stays, and so do the labels that annotators saved beside it.

    Args:
        source: BIDS folder with sub-*/anat/*.nii.gz.
        folder: where the copies go; made when missing.

    Returns:
        How many scans were copied.

    Raises:
        StartError: there are no scans in `source`.
    """
    scans = sorted(source.glob("sub-*/anat/*.nii.gz"))
    if not scans:
        raise StartError(
            f"expected scans in {source}/sub-*/anat, found none; they come with the repository: clone it, or name "
            "a folder of scans: strokelabel start STUDIES"
        )
    folder.mkdir(parents=True, exist_ok=True)
    missing = [scan for scan in scans if not (folder / scan.name).exists()]
    for scan in missing:
        partial = folder / f".{scan.name}.partial"
        shutil.copyfile(scan, partial)
        partial.replace(folder / scan.name)
    return len(missing)


@contextmanager
def browser_page(server: str, host: str, port: int) -> Iterator[str]:
    """Run the browser page beside the server, if it can be run.

    Args:
        server: address of the MONAI Label server.
        host: address that the page listens on.
        port: first port to try.

    Yields:
        Its address, or in one sentence why there is none: the server is of use without it.
    """
    try:
        port = free_page_port(host, port)
        page_command(server, host, port)
    except PageError as error:
        yield f"not started: {error}"
        return
    with page_process(server, host, port):
        yield local_url(host, port)
