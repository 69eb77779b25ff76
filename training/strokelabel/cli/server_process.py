"""Starting MONAI Label's server as a process of its own, and stopping everything it started.

Behind `strokelabel serve` and `strokelabel start`. The server runs in a process group of its own: training and scoring
run in child processes that a plain `monailabel start_server` leaves behind when it is terminated.
"""

from __future__ import annotations

import os
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

from strokelabel.errors import StrokeLabelError

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE_S = 5.0
"""Time for the server to stop before it is killed."""

NO_TELEMETRY = {"MLFLOW_DISABLE_TELEMETRY": "true"}
"""MONAI Label imports MLflow, which reports its use over the network unless told not to."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Addresses that only this machine can reach."""


class StartError(StrokeLabelError):
    """Reason why the server cannot be started, to be shown to users."""


def check_port(host: str, port: int) -> None:
    """Find out before the slow start whether the address is free.

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


def server_command(
    app: Path, studies: str | Path, host: str, port: int, conf: Sequence[tuple[str, str]] = ()
) -> list[str]:
    """Return the command of `monailabel start_server`, without the shell in between, which splits paths at spaces."""
    arguments = ["--app", str(app), "--studies", str(studies), "--host", host, "--port", str(port)]
    for key, value in conf:
        arguments += ["--conf", key, value]
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
            server.poll()  # reaps the leader, which otherwise counts as a member forever
            time.sleep(0.05)
    _signal_group(server, signal.SIGKILL)
    server.wait()


def _signal_group(server: subprocess.Popen[bytes], number: int) -> bool:
    """Send a signal to the group (0 only asks); False when it is empty."""
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


def run_server(command: Sequence[str], url: str, ready: str) -> int:
    """Run a server until it ends or is told to stop.

    Args:
        command: see `server_command`.
        url: where it will answer.
        ready: what to tell the person at the terminal then.

    Returns:
        0 when it was told to stop, 1 when it ended by itself.
    """
    stopping = threading.Event()
    with stop_signals(stopping):
        server = subprocess.Popen(command, start_new_session=True, env=NO_TELEMETRY | os.environ)
        try:
            if wait_until_ready(f"{url}/health", server, stopping):
                say(ready)
            while server.poll() is None and not stopping.is_set():
                stopping.wait(0.5)
            ended_by_itself = not stopping.is_set()
        finally:
            stop_group(server)
    say(
        "\nStrokeLabel has stopped."
        if not ended_by_itself
        else "\nerror: the server stopped unexpectedly; see above"
    )
    return int(ended_by_itself)


def local_url(host: str, port: int) -> str:
    """Return the address of a server that listens on `host`, as seen from this machine."""
    name = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def instructions(url: str, host: str, studies: str | Path, token: bool = False, page: str = "") -> str:
    """Return the address of the server and instructions for it.

    Args:
        url: where it is reached from this machine.
        host: what it listens on.
        studies: what it serves.
        token: whether it asks for one.
        page: address of the browser page, or why there is none; "" to say nothing about it.
    """
    lines = [
        "",
        "StrokeLabel is ready.",
        f"  server       {url}",
        f"  check        curl {url}/{'health' if token else 'info/'}",
        f"  3D Slicer    install the extension MONAILabel, open its module, enter {url} as server, press the",
        "               round arrow, then Next Sample; choose the model `segment` and press Run",
        f"  scans        {studies}   (labels that you submit go to its folder labels/final)",
        "  stop         Ctrl-C",
    ]
    if token:
        lines.insert(
            4, "  token        required; in 3D Slicer, enter any user name, and the token as password"
        )
    if page:
        lines.insert(3, f"  browser      {page}")
    if not token and host not in LOOPBACK:
        lines.append(f"  WARNING      anyone who can reach {host} can read the scans: there is no password")
    return "\n".join(lines) + "\n"


def say(text: str) -> None:
    """Write a message for the person at the terminal."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
