"""`strokelabel start`: what it serves, what it says when it cannot, and that nothing of it survives."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from strokelabel.cli import start
from strokelabel.cli.browse import PageError, free_page_port
from strokelabel.cli.server_process import StartError, instructions, stop_group, stop_signals

A_SERVER_WITH_A_STUBBORN_CHILD = """
import signal, subprocess, sys, time
ignore = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", ignore])
time.sleep(600)
"""


def test_scans_are_copied_flat_under_their_own_names(repository: Path, tmp_path: Path) -> None:
    copied = start.copy_scans(repository / "sample-data", tmp_path / "studies")

    names = sorted(path.name for path in (tmp_path / "studies").iterdir())
    assert copied == 3
    assert names == ["sub-01_T1w.nii.gz", "sub-02_T2w.nii.gz", "sub-03_FLAIR.nii.gz"]


def test_a_second_start_keeps_scans_and_labels_as_they_are(repository: Path, tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    start.copy_scans(repository / "sample-data", studies)
    label = studies / "labels" / "final" / "sub-01_T1w.nii.gz"
    label.parent.mkdir(parents=True)
    label.write_bytes(b"drawn by a person")
    (studies / "sub-02_T2w.nii.gz").write_bytes(b"replaced by a person")
    (studies / "sub-03_FLAIR.nii.gz").unlink()

    assert start.copy_scans(repository / "sample-data", studies) == 1
    assert label.read_bytes() == b"drawn by a person"
    assert (studies / "sub-02_T2w.nii.gz").read_bytes() == b"replaced by a person"


def test_a_folder_without_scans_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="expected scans in"):
        start.copy_scans(tmp_path, tmp_path / "studies")


def test_a_taken_port_is_reported_before_anything_is_started(repository: Path, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        result = run_start(repository, tmp_path, "--port", str(port))

    assert result.returncode == 1
    assert result.stderr.startswith(f"error: cannot listen on 127.0.0.1:{port}")
    assert "make start PORT=8001" in result.stderr
    assert not (tmp_path / "studies").exists()


@pytest.mark.parametrize("port", ["-1", "70000"])
def test_an_impossible_port_is_one_line_and_no_traceback(repository: Path, tmp_path: Path, port: str) -> None:
    result = run_start(repository, tmp_path, "--port", port)

    assert result.returncode == 1
    assert result.stderr.startswith("error: expected a port from 1 to 65535")
    assert "Traceback" not in result.stderr


def test_a_missing_folder_of_studies_is_refused(repository: Path, tmp_path: Path, free_port: int) -> None:
    result = run_start(repository, tmp_path, str(tmp_path / "none"), "--port", str(free_port))

    assert result.returncode == 2
    assert result.stderr.startswith("error: STUDIES: expected a folder of scans")


def test_a_token_that_the_server_would_refuse_is_refused_before_it_starts(
    repository: Path, tmp_path: Path, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STROKELABEL_TOKEN", "short")
    result = run_start(repository, tmp_path, "--port", str(free_port))

    assert result.returncode == 2
    assert result.stderr.startswith("error: token: expected at least 16 characters")
    assert not (tmp_path / "studies").exists()


def test_a_warning_is_shown_when_other_machines_can_connect() -> None:
    assert "WARNING" in instructions("http://127.0.0.1:8000", "0.0.0.0", Path("studies"))
    assert "WARNING" not in instructions("http://127.0.0.1:8000", "127.0.0.1", Path("studies"))


def test_the_instructions_say_where_the_page_is_or_why_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strokelabel.cli.browse.NEEDED", ("no_such_module",))

    with start.browser_page("http://127.0.0.1:8000", "127.0.0.1", 8080) as page:
        text = instructions("http://127.0.0.1:8000", "127.0.0.1", Path("studies"), page=page)

    (line,) = (line for line in text.splitlines() if line.startswith("  browser "))
    assert "not started" in line
    assert "no_such_module" in line
    assert "strokelabel[browser]" in line


def test_a_taken_port_of_the_page_is_not_in_the_way() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        assert free_page_port("127.0.0.1", taken) > taken
    with pytest.raises(PageError, match="PAGE_PORT"):
        free_page_port("127.0.0.1", 70000)


def test_children_that_ignore_an_interrupt_are_ended_too() -> None:
    leader = subprocess.Popen(
        [sys.executable, "-c", A_SERVER_WITH_A_STUBBORN_CHILD], start_new_session=True, stdout=subprocess.PIPE
    )
    assert leader.stdout is not None
    assert leader.stdout.readline() == b"up\n"
    (child,) = psutil.Process(leader.pid).children()

    stop_group(leader, patience_s=0.5)

    assert not is_running(leader.pid)
    assert not is_running(child.pid)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_way_to_ask_for_an_end_is_heard(number: signal.Signals) -> None:
    stopping = threading.Event()
    before = signal.getsignal(number)

    with stop_signals(stopping):
        os.kill(os.getpid(), number)
        assert stopping.wait(5)

    assert signal.getsignal(number) == before


@pytest.mark.server
def test_the_app_is_served_on_the_sample_data_and_leaves_nothing_running(
    repository: Path, tmp_path: Path, free_port: int, bright_model: Path
) -> None:
    # A tiny model under the name of the shipped one: how the server starts and stops does not depend on it.
    base = tmp_path / "home" / "weights" / "base" / "model.safetensors"
    base.parent.mkdir(parents=True)
    shutil.copyfile(bright_model, base)
    log = tmp_path / "log.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            start_command(tmp_path, "--port", str(free_port), "--page-port", str(free_port + 1)),
            cwd=repository,
            env={**os.environ, "STROKELABEL_HOME": str(tmp_path / "home"), "HOME": str(tmp_path / "home")},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for("StrokeLabel is ready.", log, process)
        with urllib.request.urlopen(f"http://127.0.0.1:{free_port}/info/", timeout=60) as answer:
            info = json.load(answer)
        page = re.search(r"browser +(http://\S+)", log.read_text())
        assert page, log.read_text()[-3000:]
        wait_for(f"StrokeLabel page: {page[1]}", log, process)
        with urllib.request.urlopen(page[1], timeout=60) as answer:
            assert answer.status == 200
        started = [process_.pid for process_ in psutil.Process(process.pid).children(recursive=True)]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)  # killed at once, it would leave its children running
            process.wait(60)

    assert info["datastore"]["total"] == 3
    assert f"http://127.0.0.1:{free_port}/info/" in log.read_text()
    assert started
    assert not any(is_running(pid) for pid in started)


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def start_command(folder: Path, *more: str) -> list[str]:
    copies = ["--copy-to", str(folder / "studies")]
    return [sys.executable, "-m", "strokelabel.cli.main", "start", *copies, *more]


def run_start(repository: Path, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = start_command(folder, *more)
    return subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=60)


def wait_for(text: str, log: Path, process: subprocess.Popen[bytes], limit_s: float = 240) -> None:
    deadline = time.monotonic() + limit_s
    while text not in log.read_text():
        assert process.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.2)
