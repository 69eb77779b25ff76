"""Serve the MONAI Label app on a copy of sample scans, and the browser page, until Ctrl-C: what `make start` calls.

`strokelabel serve` and `strokelabel browse` do the same separately, for other scans.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from strokelabel.cli.browse import PageError, free_page_port, page_command, page_process
from strokelabel.cli.server_process import (
    LOOPBACK,
    StartError,
    check_port,
    instructions,
    local_url,
    run_server,
    server_command,
    stop_group,
    stop_signals,
)

__all__ = [
    "PageError",
    "StartError",
    "copy_scans",
    "free_page_port",
    "instructions",
    "stop_group",
    "stop_signals",
]


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
        raise StartError(f"expected scans in {source}/sub-*/anat, found none; is the checkout complete?")
    folder.mkdir(parents=True, exist_ok=True)
    missing = [scan for scan in scans if not (folder / scan.name).exists()]
    for scan in missing:
        partial = folder / f".{scan.name}.partial"
        shutil.copyfile(scan, partial)
        partial.replace(folder / scan.name)
    return len(missing)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Serve the MONAI Label app until Ctrl-C.")
    parser.add_argument("--app", type=Path, required=True, help="folder of the MONAI Label app")
    parser.add_argument("--studies", type=Path, required=True, help="folder of scans to annotate")
    parser.add_argument(
        "--copy-from", type=Path, help="BIDS folder whose scans are first copied into --studies"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on (default: %(default)s)")
    parser.add_argument(
        "--page-port",
        type=int,
        default=8080,
        help="port of the browser page, or the next free (default: %(default)s)",
    )
    return parser.parse_args(arguments)


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


def main() -> int:
    """Serve as the command line says."""
    options = parse_arguments()
    try:
        check_port(options.host, options.port)
        if options.copy_from:
            copy_scans(options.copy_from, options.studies)
        elif not options.studies.is_dir():
            raise StartError(f"expected a folder of scans, found none at {options.studies}")
    except StartError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    studies = options.studies.resolve()
    url = local_url(options.host, options.port)
    command = server_command(options.app.resolve(), studies, options.host, options.port)
    token = bool(os.environ.get("STROKELABEL_TOKEN"))
    # The page asks for no password: where the server asks for one, only this machine can reach the page.
    page_host = LOOPBACK[0] if token else options.host
    with browser_page(url, page_host, options.page_port) as page:
        return run_server(command, url, instructions(url, options.host, studies, token, page))


if __name__ == "__main__":
    sys.exit(main())
