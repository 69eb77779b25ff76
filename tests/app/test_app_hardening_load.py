"""The server under load, under fuzzing, and at its end."""

from __future__ import annotations

import signal
import statistics
import time
from pathlib import Path

import psutil
import pytest

from support import app_server
from support.app_scans import FLAT_SCAN, head, lesion, save
from support.app_server import Server
from support.fuzz import fuzz
from support.parallel_infers import ask_all_at_once, write_heads

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("monailabel-server")]


def test_sixteen_requests_at_once_are_answered_right_while_info_answers_too(
    server: Server, tmp_path: Path
) -> None:
    result = ask_all_at_once(server, write_heads(tmp_path, 16))

    assert set(result.statuses) <= {200, 503} and 200 in result.statuses
    assert not result.wrong
    assert statistics.median(result.watch.info_ms) < 100
    assert max(result.watch.memory) - result.memory_before < 2**30


def test_half_a_minute_of_fuzzing_finds_nothing(tmp_path: Path, bright_model: Path) -> None:
    outcome = fuzz(tmp_path, bright_model, seconds=30, seed=7)

    assert not outcome.failed, outcome.report[-5000:]
    assert not outcome.strangers
    assert outcome.info_ms < 100
    assert outcome.is_good and outcome.statuses[200] > 20 and outcome.statuses[404] > 20


def test_a_server_that_is_terminated_takes_its_training_along(tmp_path: Path, bright_model: Path) -> None:
    studies = tmp_path / "studies"
    save(studies / f"{FLAT_SCAN}.nii.gz", head(1))
    (tmp_path / "server").mkdir()
    server = app_server.start(tmp_path / "server", studies, "model", str(bright_model))
    label = save(tmp_path / "label.nii.gz", lesion(1).astype("uint8")).read_bytes()
    server.put("/datastore/label", params={"image": FLAT_SCAN}, files={"label": ("l.nii.gz", label)})

    assert server.post("/train/segment", json={"max_epochs": 50}).status_code == 200
    deadline = time.monotonic() + 60
    while not (children := psutil.Process(server.process.pid).children()) and time.monotonic() < deadline:
        time.sleep(0.1)

    assert children
    assert app_server.stop(server, signal.SIGTERM) == []
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
