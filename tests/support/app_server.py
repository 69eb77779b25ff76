"""Start and stop a real `monailabel start_server`, and ask it over HTTP."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import requests
from requests_toolbelt import MultipartDecoder

REPOSITORY = Path(__file__).parents[2]
START_SECONDS = 180
"""A start takes 10 to 20 s; machines that do other things at the same time get more."""


@dataclass
class Server:
    """A running server.

    Attributes:
        url: where it answers.
        studies: the folder it serves.
        temporary: the folder of its temporary files.
    """

    url: str
    studies: Path
    temporary: Path
    process: subprocess.Popen[bytes]
    log: Path

    def get(self, path: str, **arguments: Any) -> requests.Response:
        return requests.get(self.url + path, timeout=60, **arguments)

    def put(self, path: str, **arguments: Any) -> requests.Response:
        return requests.put(self.url + path, timeout=60, **arguments)

    def delete(self, path: str, **arguments: Any) -> requests.Response:
        return requests.delete(self.url + path, timeout=60, **arguments)

    def post(self, path: str, **arguments: Any) -> requests.Response:
        return requests.post(self.url + path, timeout=300, **arguments)

    def infer(
        self,
        model: str,
        image: str = "",
        output: str | None = None,
        /,
        *,
        file: Path | None = None,
        session: str | None = None,
        **params: Any,
    ) -> requests.Response:
        """Ask for a segmentation; `params` are the options sent along."""
        query = {"image": image, "output": output, "session_id": session}
        files = {"file": (file.name, file.read_bytes())} if file else None
        return self.post(f"/infer/{model}", params=query, data={"params": json.dumps(params)}, files=files)


def start(folder: Path, studies: Path, *conf: str, threads: int = 1) -> Server:
    """Start a server on a free port of this machine with a copy of the app, and wait until it answers.

    Args:
        folder: an empty folder for everything that the server writes apart from the studies.
        studies: the folder to serve.
        conf: key, value, key, value...
        threads: that torch uses.
    """
    app = folder / "monailabel_app"
    shutil.copytree(
        REPOSITORY / "monailabel_app", app, ignore=shutil.ignore_patterns("logs", "__pycache__", ".*")
    )
    temporary, home, log = folder / "tmp", folder / "home", folder / "server.log"
    temporary.mkdir()
    home.mkdir()
    port = free_port()
    pairs = [
        part for key, value in zip(conf[::2], conf[1::2], strict=True) for part in ("--conf", key, value)
    ]
    command = [
        Path(sys.executable).with_name("monailabel"),
        "start_server",
        "--app",
        app,
        "--studies",
        studies,
    ]
    environment = {
        **os.environ,
        "HOME": str(home),
        "STROKELABEL_HOME": str(home),  # no models but those of the package
        "TMPDIR": str(temporary),
        "OMP_NUM_THREADS": str(threads),
        "MONAILABEL_PYEXE": sys.executable,  # `monailabel` is a shell script that runs the python of PATH
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*map(str, command), "--host", "127.0.0.1", "--port", str(port), *pairs],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=folder,
            start_new_session=True,
        )
    server = Server(f"http://127.0.0.1:{port}", studies, temporary, process, log)
    wait_until_it_answers(server)
    return server


@contextmanager
def uploaded(server: Server, name: str, file: Path) -> Iterator[str]:
    """An image in the datastore of a server, which is deleted again."""
    files = {"file": (f"{name}.nii.gz", file.read_bytes())}
    assert server.put(f"/datastore/image?image={name}", files=files).ok
    try:
        yield name
    finally:
        server.delete("/datastore", params={"id": name})


def stop(server: Server, how: signal.Signals = signal.SIGINT) -> list[psutil.Process]:
    """Stop a server as Ctrl-C does; return what outlived it, killed now.

    Args:
        server: a running server.
        how: the signal to send it.
    """
    family = [
        psutil.Process(server.process.pid),
        *psutil.Process(server.process.pid).children(recursive=True),
    ]
    server.process.send_signal(how)
    _, left = psutil.wait_procs(family, timeout=30)
    for process in left:
        process.kill()
    server.process.wait(timeout=30)
    return left


def multipart(response: requests.Response) -> tuple[dict[str, Any], str, bytes]:
    """The params, the file name and the bytes of an answer of /infer/."""
    parts = {_disposition(part.headers): part for part in MultipartDecoder.from_response(response).parts}
    (image,) = [key for key in parts if 'name="image"' in key]
    (params,) = [key for key in parts if 'name="params"' in key]
    name = image.split('filename="')[1].rstrip('"')
    return json.loads(parts[params].content), name, parts[image].content


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _disposition(headers: Any) -> str:
    return headers[b"Content-Disposition"].decode()


def wait_until_it_answers(server: Server, path: str = "/info/") -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            if requests.get(server.url + path, timeout=5).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.2)
    if server.process.poll() is None:
        stop(server)
    raise RuntimeError(f"The server did not start:\n{server.log.read_text()[-4000:]}")
