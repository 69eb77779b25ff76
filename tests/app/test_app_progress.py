"""A client learns how far its own request is, and only that; the work ends soon after its client has left."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from lib.infers.progress import RequestProgress, followed, progress_of, report, report_waiting
from lib.refusals import InvalidRequestError
from support.app_scans import BIDS_SCAN, healthy_head, save
from support.app_server import Server, uploaded

server_test = pytest.mark.server
pytestmark = pytest.mark.xdist_group("monailabel-server")

MINE, ANOTHERS = "mine-0123456789abcdef", "anothers-0123456789abcdef"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_remaining_time_follows_the_pace_that_was_measured_in_the_present_stage() -> None:
    clock = Clock()
    progress = RequestProgress("segment_adapted", "sub-1", clock)
    assert progress.as_json()["state"] == "waiting"
    clock.now = 103.0
    progress.report("predicting", 0.1)  # the first tenth took no time; that says nothing about the rest
    progress.report("adapting", 0.1)
    assert progress.as_json()["remaining_s"] is None
    clock.now = 104.0
    progress.report("adapting", 0.11)
    assert progress.as_json()["remaining_s"] is None  # too little to tell
    clock.now = 113.0
    progress.report("adapting", 0.2)
    assert progress.as_json()["remaining_s"] == pytest.approx(80)
    clock.now = 118.0
    assert progress.as_json()["remaining_s"] == pytest.approx(75)  # goes on between two reports
    clock.now = 300.0
    assert progress.as_json() == {
        "state": "running",
        "task": "segment_adapted",
        "image": "sub-1",
        "ahead": 0,
        "stage": "adapting",
        "fraction": 0.2,
        "elapsed_s": 200.0,
        "remaining_s": 0.0,
    }


def test_what_a_thread_reports_is_known_under_its_requests_id_until_it_ends() -> None:
    report("predicting", 0.5)  # of a request without id: nobody asks
    with followed(MINE, "segment", "sub-1"):
        report_waiting(3)
        assert (progress_of(MINE)["state"], progress_of(MINE)["ahead"]) == ("waiting", 3)
        report("predicting", 0.5)
        assert (progress_of(MINE)["state"], progress_of(MINE)["ahead"]) == ("running", 0)
        assert progress_of(ANOTHERS) == {"state": "unknown"}
    assert progress_of(MINE) == {"state": "unknown"}


def test_a_request_that_is_sent_again_takes_the_place_of_the_one_whose_connection_broke() -> None:
    broken, again = followed(MINE, "segment", "first"), followed(MINE, "segment", "second")
    broken.__enter__()
    again.__enter__()
    broken.__exit__(None, None, None)
    assert progress_of(MINE)["image"] == "second"
    again.__exit__(None, None, None)
    assert progress_of(MINE) == {"state": "unknown"}


@pytest.mark.parametrize("request_id", ["short", "a" * 65, "../../etc/passwd-0123456", 7, ["a" * 32]])
def test_what_is_no_id_is_refused(request_id: object) -> None:
    with pytest.raises(InvalidRequestError, match="16 to 64 letters"), followed(request_id, "segment", "x"):
        pass


@contextmanager
def adapting(server: Server, image: str, request_id: str, iterations: int) -> Iterator[socket.socket]:
    """A request to adapt; its connection closes with the block."""
    params = {"adapt_iterations": iterations, "request_id": request_id}
    body = urlencode({"params": json.dumps(params)}).encode()
    address = urlsplit(server.url)
    lines = [
        f"POST /infer/segment_adapted?image={image} HTTP/1.1",
        f"Host: {address.netloc}",
        "Content-Type: application/x-www-form-urlencoded",
        f"Content-Length: {len(body)}",
    ]
    with socket.create_connection((str(address.hostname), int(address.port or 80))) as connection:
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        yield connection


def asked(server: Server, request_id: str) -> dict[str, Any]:
    answer = server.get("/infer/progress", params={"request_id": request_id})
    assert answer.status_code == 200
    return dict(answer.json())


def until(server: Server, request_id: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while not holds(said := asked(server, request_id)):
        assert time.monotonic() < deadline, said
        time.sleep(0.05)
    return said


@server_test
def test_a_client_sees_its_own_request_move_and_the_one_behind_it_wait(
    server: Server, tmp_path: Path
) -> None:
    scan = save(tmp_path / "healthy.nii.gz", healthy_head())
    with uploaded(server, "healthy", scan) as image, adapting(server, image, MINE, 10_000):
        first = until(server, MINE, lambda said: said.get("stage") == "adapting")
        assert (first["task"], first["image"]) == ("segment_adapted", image)
        later = until(server, MINE, lambda said: said["fraction"] > first["fraction"])
        assert first["elapsed_s"] <= later["elapsed_s"] and later["fraction"] < 1
        assert asked(server, ANOTHERS) == {"state": "unknown"}
        with adapting(server, image, ANOTHERS, 9_999):
            waits = until(server, ANOTHERS, lambda said: said.get("ahead") == 1)
            assert (waits["state"], waits["fraction"], waits["remaining_s"]) == ("waiting", 0, None)
            until(server, MINE, lambda said: said["fraction"] > later["fraction"])
    left = time.monotonic()
    until(server, MINE, lambda said: said == {"state": "unknown"})
    until(server, ANOTHERS, lambda said: said == {"state": "unknown"})
    assert time.monotonic() - left < 5  # two seconds where nobody else computes
    assert server.infer("segment", BIDS_SCAN, request_id=MINE).ok
    assert asked(server, MINE) == {"state": "unknown"}


@server_test
def test_a_request_with_an_impossible_id_is_refused_in_one_sentence(server: Server) -> None:
    answer = server.infer("segment", BIDS_SCAN, request_id="7")
    assert answer.status_code == 400 and answer.json()["detail"].startswith("request_id: expected 16 to 64")
    assert server.get("/infer/progress").status_code == 422  # an id belongs to it
    assert "/infer/progress" in server.get("/openapi.json").json()["paths"]
