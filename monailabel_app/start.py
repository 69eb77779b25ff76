"""Serve the MONAI Label app on a copy of sample scans, until Ctrl-C: what `make start` calls.

`strokelabel serve` does the same for scans of one's own.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from strokelabel.cli.server_process import (
    StartError,
    check_port,
    instructions,
    local_url,
    run_server,
    server_command,
    stop_group,
    stop_signals,
)

__all__ = ["StartError", "copy_scans", "instructions", "stop_group", "stop_signals"]


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
    return parser.parse_args(arguments)


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
    return run_server(command, url, instructions(url, options.host, studies, token))


if __name__ == "__main__":
    sys.exit(main())
