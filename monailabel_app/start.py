"""Serve the MONAI Label app, say where, and stop everything it started when told to stop.

`make start` calls this. The server runs in a process group of its own: training and scoring run in child
processes that a plain `monailabel start_server` leaves behind when it is terminated.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE_S = 5.0
"""How long the server may take to end by itself before it is killed."""


class StartError(Exception):
    """Why the server cannot be started, fit to be shown as it is."""


NO_TELEMETRY = {"MLFLOW_DISABLE_TELEMETRY": "true"}
"""MONAI Label imports MLflow, which reports its use over the network unless told not to."""


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


def check_port(host: str, port: int) -> None:
    """Find out before the slow start whether the address can be had.

    Raises:
        StartError: something else listens there, or this machine has no such address.
    """
    if not 1 <= port <= 65535:  # some systems would silently take another one
        raise StartError(f"expected a port from 1 to 65535, found {port}; for example: make start PORT=8001")
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(address[0], address[1]) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address[4])
    except OSError as error:
        raise StartError(
            f"cannot listen on {host}:{port} ({error}); choose another port: make start PORT=8001"
        ) from error


def server_command(app: Path, studies: Path, host: str, port: int) -> list[str]:
    """What `monailabel start_server` runs, without the shell in between, which splits paths at spaces."""
    arguments = ["--app", str(app), "--studies", str(studies), "--host", host, "--port", str(port)]
    return [sys.executable, "-m", "monailabel.main", "start_server", *arguments]


def wait_until_ready(url: str, server: subprocess.Popen[bytes], stopping: threading.Event) -> bool:
    """Wait for the server to answer at `url`; False when it ended, or was told to stop, before that."""
    while server.poll() is None and not stopping.is_set():
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            stopping.wait(0.5)
    return False


def stop_group(server: subprocess.Popen[bytes], patience_s: float = PATIENCE_S) -> None:
    """End the server and everything it started: politely, then firmly.

    Args:
        server: leader of its own process group.
        patience_s: how long each polite signal may take.
    """
    for polite in (signal.SIGINT, signal.SIGTERM):
        if not _signal_group(server, polite):
            break
        deadline = time.monotonic() + patience_s
        while _signal_group(server, 0) and time.monotonic() < deadline:
            server.poll()  # reaps the leader, which otherwise counts as a member for ever
            time.sleep(0.05)
    _signal_group(server, signal.SIGKILL)
    server.wait()


def _signal_group(server: subprocess.Popen[bytes], number: int) -> bool:
    """Send a signal to the group (0 only asks); False when nobody is left in it."""
    try:
        os.killpg(server.pid, number)
    except (ProcessLookupError, PermissionError):  # macOS refuses when only a zombie is left
        return False
    return True


@contextmanager
def stop_signals(stopping: threading.Event) -> Iterator[None]:
    """Turn Ctrl-C and its relatives into an event while the server runs."""
    before = {number: signal.signal(number, lambda *_: stopping.set()) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def serve(app: Path, studies: Path, host: str, port: int) -> int:
    """Run the server until it ends or is told to stop.

    Returns:
        0 when it was told to stop, 1 when it ended by itself.
    """
    stopping = threading.Event()
    url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"
    with stop_signals(stopping):
        command = server_command(app, studies, host, port)
        server = subprocess.Popen(command, start_new_session=True, env=NO_TELEMETRY | os.environ)
        try:
            if wait_until_ready(f"{url}/info/", server, stopping):
                say(instructions(url, host, studies))
            while server.poll() is None and not stopping.is_set():
                stopping.wait(0.5)
            ended_by_itself = not stopping.is_set()
        finally:
            stop_group(server)
    say(
        "\nStrokeLabel has stopped."
        if not ended_by_itself
        else "\nerror: the server ended by itself; see above"
    )
    return int(ended_by_itself)


def instructions(url: str, host: str, studies: Path) -> str:
    """Where the server is and what to do with it."""
    lines = [
        "",
        "StrokeLabel is ready.",
        f"  server       {url}",
        f"  check        curl {url}/info/",
        f"  3D Slicer    install the extension MONAILabel, open its module, enter {url} as server, press the",
        "               round arrow, then Next Sample; choose the model `segment` and press Run",
        f"  scans        {studies}   (labels that you submit go to its folder labels/final)",
        "  stop         Ctrl-C",
    ]
    if host not in ("127.0.0.1", "localhost", "::1"):
        lines.append(f"  WARNING      anybody who can reach {host} can read the scans: there is no password")
    return "\n".join(lines) + "\n"


def say(text: str) -> None:
    """Write a message for the person at the terminal."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


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
        return serve(options.app.resolve(), options.studies.resolve(), options.host, options.port)
    except StartError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
