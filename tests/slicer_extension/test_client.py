"""Requests are tried again where that is safe, answers are read with care, and each failure is one sentence."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from StrokeLabelLib.client.answers import read_image, read_info, read_progress, read_train_status
from StrokeLabelLib.client.api import Client, image_id_of
from StrokeLabelLib.client.jobs import Job, SyncRunner, ThreadRunner
from StrokeLabelLib.client.transport import Transport, parts_of
from StrokeLabelLib.errors import (
    CancelledError,
    NotFoundError,
    RefusedError,
    ServerBusyError,
    ServerFailureError,
    ServerTimeoutError,
    ServerUnavailableError,
    StrokeLabelLibError,
)
from StrokeLabelLib.session.settings import MOST_SERVERS, Settings, load_settings, save_settings
from StrokeLabelLib.volume import Volume

from support.small_server import Store, serving


@contextmanager
def answering(*answers: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A server that gives these answers, one per connection, byte for byte."""
    listener = socket.create_server(("127.0.0.1", 0))
    received: list[bytes] = []

    def serve() -> None:
        for answer in answers:
            connection, _ = listener.accept()
            with connection:
                received.append(connection.recv(65536))
                connection.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", received
    finally:
        listener.close()


def http(status: str, body: bytes = b"{}", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def transport(url: str, waits: list[float] | None = None, read_s: float = 5) -> Transport:
    return Transport(url, sleep=(waits if waits is not None else []).append, read_s=read_s)


def test_a_busy_server_is_asked_again_when_it_says() -> None:
    busy = http("503 Busy", b'{"detail": "16 wait already."}', "Retry-After: 2")
    waits: list[float] = []
    with answering(busy, busy, http("200 OK", b'{"a": 1}')) as (url, _):
        assert transport(url, waits).get_json("/") == {"a": 1}
    assert waits == [2, 2]
    with answering(busy, busy, busy) as (url, _), pytest.raises(ServerBusyError, match="16 wait already"):
        transport(url).get_json("/")


def test_waits_grow_when_the_server_cannot_be_reached() -> None:
    waits: list[float] = []
    with pytest.raises(ServerUnavailableError, match="can't be reached"):
        transport("http://127.0.0.1:9", waits).get_json("/")
    assert waits == [0.3, 0.6]


def test_what_starts_something_is_never_sent_twice() -> None:
    waits: list[float] = []
    with pytest.raises(ServerUnavailableError):
        transport("http://127.0.0.1:9", waits).post_json("/train/segment", {})
    with pytest.raises(ServerUnavailableError):
        transport("http://127.0.0.1:9", waits).delete("/train/")
    assert waits == []


def test_a_silent_server_is_given_up_after_the_time_limit_and_not_asked_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        waits: list[float] = []
        with pytest.raises(ServerTimeoutError, match=r"did not answer within 0\.2 s"):
            transport(f"http://127.0.0.1:{listener.getsockname()[1]}", waits, read_s=0.2).get_json("/")
    assert waits == []


def test_an_answer_that_is_cut_off_is_not_taken_for_a_whole_one() -> None:
    cut = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"
    with answering(cut, cut, cut) as (url, _), pytest.raises(ServerUnavailableError):
        transport(url).get_bytes("/datastore/image", {"image": "a"})


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (http("400 Bad", b'{"detail": "Say why."}'), RefusedError, "Say why."),
        (http("422 Bad", b'{"detail": [{"msg": "Field required"}, "x"]}'), RefusedError, "Field required; x"),
        (http("404 No", b'{"detail": "Not Found"}'), NotFoundError, "refresh the list"),
        (http("418 Tea", b"<html>"), RefusedError, "status 418"),
        (http("500 Oops", b"Internal Server Error"), ServerFailureError, "status 500"),
        (http("200 OK", b"<html>"), ServerFailureError, "not JSON"),
    ],
)
def test_refusals_are_in_the_servers_words_or_else_in_ours(
    answer: bytes, kind: type[StrokeLabelLibError], words: str
) -> None:
    with answering(answer) as (url, _), pytest.raises(kind, match=words.replace(".", r"\.")):
        transport(url).get_json("/")


def test_the_token_is_sent_as_bearer() -> None:
    with answering(http("200 OK")) as (url, received):
        Transport(url, "secret").get_json("/info/")
    assert b"Authorization: Bearer secret" in received[0]


def test_no_proxy_stands_between_this_computer_and_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with serving(Store()) as url:
        assert Client(url).info().name == "StrokeLabel"


def test_multipart_answers_keep_every_byte() -> None:
    binary = bytes(range(256)) + b"\r\n\n\r--mar\r\n"
    body = (
        b'--mark\r\nContent-Disposition: form-data; name="params"\r\n\r\n{}\r\n'
        b'--mark\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        + binary
        + b"\r\n--mark--\r\n"
    )
    assert parts_of('multipart/form-data; boundary="mark"', body) == {"params": b"{}", "image": binary}
    with pytest.raises(ServerFailureError, match="cut off"):
        parts_of("multipart/form-data; boundary=mark", body[:-20])
    with pytest.raises(ServerFailureError, match="is it a MONAI Label server"):
        parts_of("text/html", b"<html>")


def test_an_answer_without_image_is_no_mask() -> None:
    body = b'--m\r\nContent-Disposition: form-data; name="params"\r\n\r\n{}\r\n--m--\r\n'
    answer = http("200 OK", body, "Content-Type: multipart/form-data; boundary=m")
    with answering(answer) as (url, _), pytest.raises(ServerFailureError, match="without an image"):
        Client(url).infer("segment", "a")


def test_a_cancelled_job_sends_nothing_and_delivers_nothing() -> None:
    store = Store({"a": Volume(np.zeros((3, 4, 5), np.float32), np.eye(4))})
    job, delivered = Job("Segmenting"), []
    with serving(store) as url:
        job.cancel()
        with pytest.raises(CancelledError):
            Client(url).infer("segment", "a", job=job)
        SyncRunner().run(job, lambda j: 1, delivered.append, delivered.append)
    assert store.seen == [] and delivered == []


def test_what_nobody_expected_is_reported_and_no_traceback_is_shown() -> None:
    failures: list[StrokeLabelLibError] = []
    SyncRunner().run(Job("x"), lambda job: 1 / 0, failures.append, failures.append)
    (error,) = failures
    assert "ZeroDivisionError" in str(error) and "nothing painted is lost" in str(error) and error.__cause__


def test_threads_deliver_on_the_thread_that_pumps() -> None:
    runner, threads, done = ThreadRunner(), [], threading.Event()

    def work(job: Job) -> int:
        threads.append(threading.get_ident())
        done.set()
        return 7

    runner.run(Job("x"), work, lambda result: threads.append(threading.get_ident()), lambda error: None)
    assert done.wait(10)
    while not runner.pump():
        pass
    assert threads[0] != threads[1] == threading.get_ident()


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"state": "waiting", "ahead": 0}, ""),
        ({"state": "waiting", "ahead": 1}, "waiting for 1 other request"),
        ({"state": "running", "stage": "preparing", "fraction": 0}, "preparing, 0 %"),
        (
            {"state": "running", "stage": "adapting", "fraction": 0.5, "remaining_s": 42.4},
            "adapting, 50 %, about 42 s left",
        ),
        (
            {"state": "running", "stage": "adapting", "fraction": 7, "remaining_s": "soon"},
            "adapting, 100 %",
        ),
    ],
)
def test_progress_is_one_line(answer: dict[str, object], text: str) -> None:
    progress = read_progress(answer)
    assert progress is not None and progress.text == text


@pytest.mark.parametrize("answer", [{"state": "unknown"}, {}, {"state": "other", "fraction": 0.5}])
def test_what_the_server_does_not_know_is_no_progress(answer: dict[str, object]) -> None:
    assert read_progress(answer) is None


@pytest.mark.parametrize("status", ["404 No", "405 Method Not Allowed", "422 Bad"])
def test_a_server_without_progress_is_asked_once(status: str) -> None:
    with answering(http(status)) as (url, received):
        client = Client(url)
        assert client.progress("a" * 32) is None and client.progress("a" * 32) is None
    assert len(received) == 1 and b"/infer/progress?request_id=aaaa" in received[0]


def test_names_of_scans_tell_subject_session_and_sequence() -> None:
    image = read_image(
        "sub-07_ses-2_acq-ax_FLAIR", {"labels": {"original": {"info": {"status": "rejected"}}}}
    )
    assert (image.subject, image.session, image.sequence, image.status) == ("07", "2", "FLAIR", "rejected")
    other = read_image("sub-07_ses-2_T1w", {})
    assert image.same_visit(other) and not image.same_visit(read_image("sub-07_ses-3_T1w", {}))
    plain = read_image("scan of Zoë 1.2", {"labels": None})
    assert plain.sequence == "scan of Zoë 1.2" and plain.status == "new" and not plain.same_visit(plain)


def test_answers_with_holes_are_read_as_far_as_they_go() -> None:
    info = read_info(
        {"models": {"a": {"labels": ["x"]}, "b": None}, "datastore": {"total": None}, "train_stats": []}
    )
    assert set(info.models) == {"a", "b"} and info.total == 0 and info.models["a"].labels == {}
    status = read_train_status({"status": "RUNNING", "details": None}, {"best_metric": float("nan")})
    assert status.running and status.best_metric == 0 and status.message == ""


@pytest.mark.parametrize(
    ("details", "message"),
    [
        (["step 3/9  loss 0.5", ""], "step 3/9  loss 0.5"),
        (
            [
                "[2026-11-25 07:03:27,314] [765] [MainThread] [INFO] (strokelabel.fit:101) - aligning sub-01_T1w, once"
            ],
            "aligning sub-01_T1w, once",
        ),
        (
            [
                "version 0001 activated",
                '[2026-11-25 07:04:17,324] [7] [Main] [INFO] (__main__:61) - Result: {"a": 1}',
            ],
            "version 0001 activated",
        ),
    ],
)
def test_what_training_said_last_is_shown_without_the_logs_own_marks(
    details: list[str], message: str
) -> None:
    assert read_train_status({"status": "DONE", "details": details}, {}).message == message


@pytest.mark.parametrize(
    ("name", "image_id"), [("a.b.nii.gz", "a.b"), ("x.NII", "x"), ("y.mha", "y"), ("folder", "folder")]
)
def test_files_are_uploaded_under_their_name(name: str, image_id: str) -> None:
    assert image_id_of(Path("somewhere") / name) == image_id


def test_settings_are_kept_and_damage_is_survived(tmp_path: Path) -> None:
    path, settings = tmp_path / "new" / "settings.json", Settings(client_id="reader 1", margin_mm=3.5)
    for number in range(MOST_SERVERS + 5):
        settings.remember_server(f"http://host:{number}")
    settings.remember_server("http://host:9")
    save_settings(settings, path)
    again = load_settings(path)
    assert again == settings and again.servers[0] == "http://host:9" and len(again.servers) == MOST_SERVERS
    assert "token" not in path.read_text()
    path.write_text('{"margin_mm": "wide", "unknown": 1, "model": "segment_accurate"}')
    assert load_settings(path).margin_mm == 1.0 and load_settings(path).model == "segment_accurate"
    for damaged in ("", "[1]", "{"):
        path.write_text(damaged)
        assert load_settings(path).server == Settings().server
    assert load_settings(tmp_path / "missing.json").client_id


def test_a_cancelled_job_closes_its_connection_so_that_the_server_can_stop() -> None:
    listener, left = socket.create_server(("127.0.0.1", 0)), threading.Event()
    asked = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(20)
            while connection.recv(65536):
                asked.set()
        left.set()

    threading.Thread(target=serve, daemon=True).start()
    job, failed = Job("Segmenting"), threading.Event()

    def ask() -> None:
        with pytest.raises(CancelledError):
            transport(f"http://127.0.0.1:{listener.getsockname()[1]}", read_s=20).post_form(
                "/", {}, {}, {}, job
            )
        failed.set()

    threading.Thread(target=ask, daemon=True).start()
    assert asked.wait(10) and not left.is_set()
    job.cancel()
    assert left.wait(2) and failed.wait(2)
    listener.close()


@pytest.mark.parametrize(
    ("said", "title"),
    [
        ({}, "segment_adapted"),
        ({"seconds": 170.4}, "segment_adapted (about 3 min)"),
        ({"seconds": 12}, "segment_adapted (about 12 s)"),
        ({"seconds": "soon"}, "segment_adapted"),
    ],
)
def test_a_task_that_takes_long_says_so_in_lists(said: dict[str, object], title: str) -> None:
    info = read_info({"models": {"segment_adapted": {"type": "segmentation", **said}}})
    assert info.models["segment_adapted"].title == title
