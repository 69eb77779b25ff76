"""`strokelabel serve` with a token, one allowed page and a small limit for uploads."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import io
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from monailabel.client import MONAILabelClient

from support.app_scans import FLAT_SCAN, head, save
from support.app_server import Server, free_port, wait_until_it_answers

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("monailabel-server")]

TOKEN = "correct-horse-battery-staple"
VIEWER = "https://viewer.example"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, bright_model: Path) -> Iterator[Server]:
    """A server of `strokelabel serve` that takes at most 1 MB and asks for a token."""
    folder = tmp_path_factory.mktemp("guarded")
    studies, temporary = folder / "studies", folder / "tmp"
    save(studies / f"{FLAT_SCAN}.nii.gz", head(1))
    temporary.mkdir()
    (folder / "token").write_text(TOKEN + "\n")
    port, log = free_port(), folder / "log.txt"
    command = [sys.executable, "-m", "strokelabel.cli.main", "serve", str(studies), "--port", str(port)]
    command += ["--model", str(bright_model), "--token-file", str(folder / "token")]
    command += ["--max-upload-mb", "1", "--conf", f"origins={VIEWER}"]
    environment = {**os.environ, "TMPDIR": str(temporary), "HOME": str(folder)}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
    server = Server(f"http://127.0.0.1:{port}", studies, temporary, process, log)
    try:
        wait_until_it_answers(server, "/health")
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert TOKEN not in log.read_text()


def allowed(server: Server, method: str, path: str, **arguments: object) -> requests.Response:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return requests.request(method, server.url + path, headers=headers, timeout=60, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "path",
    [
        "/info/",
        "/",
        "/docs",
        "/openapi.json",
        "/datastore/",
        "/logs/",
        "/ohif/",
        "/nowhere",
        "/auth/token/valid",
    ],
)
@pytest.mark.parametrize("header", [None, "Bearer wrong", f"Basic {TOKEN}", TOKEN, "Bearer", "Bearer \xff"])
def test_nothing_is_told_without_the_token(guarded: Server, path: str, header: str | None) -> None:
    headers = {"Authorization": header.encode("latin-1")} if header else {}
    answer = guarded.get(path, headers=headers)

    assert answer.status_code == 401 and "token" in answer.json()["detail"]
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_the_token_is_taken_from_the_header_alone(guarded: Server) -> None:
    assert allowed(guarded, "GET", "/info/").status_code == 200
    assert guarded.get("/info/", params={"token": TOKEN}).status_code == 401


def test_health_needs_no_token(guarded: Server) -> None:
    assert guarded.get("/health").json()["status"] == "ok"


def test_clients_of_monai_label_sign_in_with_the_token_as_password(guarded: Server) -> None:
    client = MONAILabelClient(guarded.url)
    assert client.auth_enabled()
    assert not client.auth_valid_token()

    client.update_auth(client.auth_token("anybody", TOKEN))

    assert client.auth_valid_token()
    assert client.info()["datastore"]["total"] == 1
    wrong = guarded.post("/auth/token", data={"username": "anybody", "password": "guess"})
    assert wrong.status_code == 401 and wrong.json()["detail"]


def test_the_page_that_was_named_may_ask_and_no_other(guarded: Server) -> None:
    asks = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    named = requests.options(guarded.url + "/info/", headers={"Origin": VIEWER, **asks}, timeout=60)
    other = requests.options(
        guarded.url + "/info/", headers={"Origin": "https://x.example", **asks}, timeout=60
    )

    assert named.status_code == 200 and named.headers["Access-Control-Allow-Origin"] == VIEWER
    assert other.status_code == 403 and "Access-Control-Allow-Origin" not in other.headers


def test_an_upload_that_announces_too_much_is_refused_before_it_is_read(guarded: Server) -> None:
    connection = http.client.HTTPConnection(guarded.url.removeprefix("http://"), timeout=30)
    connection.putrequest("PUT", "/datastore/image?image=new")
    connection.putheader("Authorization", f"Bearer {TOKEN}")
    connection.putheader("Content-Type", "multipart/form-data; boundary=b")
    connection.putheader("Content-Length", str(3 * 2**30))
    connection.endheaders()
    answer = connection.getresponse()  # nothing of the body was sent

    assert answer.status == 413 and b"1 MB" in answer.read()


def test_an_upload_that_turns_out_too_large_is_refused_and_leaves_nothing(guarded: Server) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.nii.gz"\r\n\r\n'
        for _ in range(40):
            yield os.urandom(2**16)

    connection = http.client.HTTPConnection(guarded.url.removeprefix("http://"), timeout=30)
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "multipart/form-data; boundary=b"}
    with contextlib.suppress(OSError):  # the server hangs up while we are still sending; its answer is there
        connection.request("PUT", "/datastore/image?image=new", chunks(), headers, encode_chunked=True)
    answer = connection.getresponse()

    assert answer.status == 413 and b"1 MB" in answer.read()
    assert not [path for path in guarded.temporary.iterdir() if path.suffix in (".gz", ".nii")]
    assert allowed(guarded, "GET", "/datastore/").json()["total"] == 1


def test_a_small_file_that_unpacks_to_much_is_refused(guarded: Server, tmp_path: Path) -> None:
    scan = save(tmp_path / "scan.nii", head(2)).read_bytes()
    bomb = gzip.compress(scan + b"\0" * 2**28)
    assert len(bomb) < 2**20
    files = {"file": ("bomb.nii.gz", bomb)}

    stored = allowed(guarded, "PUT", "/datastore/image?image=bomb", files=files)
    inferred = allowed(guarded, "POST", "/infer/segment", files=files)

    assert (stored.status_code, inferred.status_code) == (422, 422)
    assert "continues after" in stored.json()["detail"]
    assert not [path for path in guarded.temporary.iterdir() if path.suffix == ".gz"]
    assert not list(guarded.studies.glob("bomb*"))


def test_an_archive_that_unpacks_to_more_than_the_limit_is_refused(guarded: Server, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.dcm", b"\0" * 2**24)
    answer = allowed(
        guarded, "PUT", "/session/?uncompress=true", files=[("files", ("a.zip", buffer.getvalue()))]
    )

    assert answer.status_code == 413 and "unpacked" in answer.json()["detail"]
    assert not list(guarded.temporary.glob("strokelabel-session-*"))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--host", "0.0.0.0"], "other machines could read the scans"),
        (["--token-file", "missing"], "expected a text file with the token"),
        (["--conf", "queue"], "expected KEY=VALUE"),
        (["--port", "99999"], "expected a port from 1 to 65535"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(
    tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    command = [sys.executable, "-m", "strokelabel.cli.main", "serve", str(tmp_path), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)

    assert done.returncode in (1, 2) and sentence in done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.splitlines()) == 1
