"""The annotation loop over HTTP: next sample, infer, submit, train, and infer with the new weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from monailabel.client import MONAILabelClient

from strokelabel.metrics import dice
from support import app_server
from support.app_server import Server
from support.app_train import OPTIONS, mask, start, submit, train_to_end, wait_for
from support.new_contrast import write_scans

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("monailabel-server")]

SUBMITTED, UNSEEN = 6, 4


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the server serves."""
    return tmp_path_factory.mktemp("new-contrast")


@pytest.fixture(scope="module")
def truth(studies: Path, prepared_folder: Path) -> dict[str, np.ndarray]:
    """Lesions of scans of a new contrast, which lie in the studies folder."""
    return write_scans(studies, prepared_folder, SUBMITTED + UNSEEN)


@pytest.fixture(scope="module")
def trainer(
    tmp_path_factory: pytest.TempPathFactory,
    studies: Path,
    truth: dict[str, np.ndarray],
    prepared_folder: Path,
) -> Iterator[Server]:
    """A server that trains with prepared data."""
    assert truth
    running = start(tmp_path_factory.mktemp("trainer"), studies, prepared_folder)
    yield running
    app_server.stop(running)


def mean_dice(server: Server, truth: dict[str, np.ndarray], scans: list[str]) -> float:
    """Mean Dice of the task `segment` on some scans."""
    return float(np.mean([dice(truth[scan], mask(server, scan)) for scan in scans]))


def test_what_annotators_submit_makes_the_next_prediction_better(
    trainer: Server, truth: dict[str, np.ndarray], tmp_path: Path
) -> None:
    done = []
    for _ in range(SUBMITTED):
        scan = trainer.post("/activelearning/first", json={}).json()["id"]
        assert trainer.infer("segment", scan, "json").status_code == 200
        submit(trainer, scan, truth[scan], tmp_path)
        done.append(scan)
    unseen = [scan for scan in truth if scan not in done]
    before = mean_dice(trainer, truth, unseen)

    stats = train_to_end(trainer)

    result = stats["result"]
    decision = result["decision"]
    assert len(set(done)) == SUBMITTED and len(unseen) == UNSEEN
    assert sorted(result["train"] + result["validation"]) == sorted(done) and result["refused"] == {}
    assert decision["activate"], decision["reasons"]
    assert mean_dice(trainer, truth, unseen) >= before + 0.05
    assert decision["after"]["benchmark"] >= decision["origin"]["benchmark"] - 0.02
    assert stats["status"] == "done" and stats["epoch"] == stats["total_epochs"]
    assert stats["active_version"] == result["version"] == "0001"
    for scan in unseen:
        answer = trainer.infer("segment", scan, "json")
        assert answer.status_code == 200 and answer.json()["model"]["version"] == "1+0001"


def test_the_client_starts_watches_and_stops_a_training_and_ohif_starts_one_too(
    trainer: Server, truth: dict[str, np.ndarray], tmp_path: Path
) -> None:
    client = MONAILabelClient(trainer.url, tmpdir=str(tmp_path), client_id="annotator")
    if not client.datastore()["objects"]["sub-01_dwi"]["labels"]:
        submit(trainer, "sub-01_dwi", truth["sub-01_dwi"], tmp_path)
    many = {**OPTIONS, "steps": 5000}

    assert client.train_start("segment", many)["status"] in ("SUBMITTED", "RUNNING")
    assert client.train_status(check_if_running=True)
    assert trainer.post("/train/segment", json=many).status_code == 429
    wait_for(lambda: client.train_status()["status"] == "RUNNING")
    assert client.train_stop()["status"] == "STOPPED"
    assert not client.train_status(check_if_running=True)

    assert trainer.post("/train/", json={"segment": many}).status_code == 200
    assert client.train_status(check_if_running=True)
    client.train_stop()
    stats = client.info()["train_stats"]["segment"]
    assert isinstance(stats["best_metric"], float) and stats["epoch"] <= stats["total_epochs"]
    assert "total_time" in stats or "current_time" in stats


@pytest.mark.parametrize(
    ("trainer_name", "params", "status"),
    [
        ("nonsense", {}, 404),
        ("segment", {"learning_rate": "fast"}, 400),
        ("segment", {"learning_rate": -1}, 400),
        ("segment", {"val_split": 1.5}, 400),
        ("segment", {"freeze": "everything"}, 400),
        ("segment", {"device": "abacus"}, 400),
        ("segment", {"name": "../../outside", "max_epochs": 0.5}, 400),
    ],
)
def test_impossible_training_is_refused_with_a_sentence(
    trainer: Server, trainer_name: str, params: dict[str, Any], status: int
) -> None:
    answer = trainer.post(f"/train/{trainer_name}", json=params)
    assert answer.status_code == status and len(answer.json()["detail"]) > 20
    assert trainer.get("/train/?check_if_running=true").status_code == 404


def test_options_are_of_the_types_that_viewers_can_show(trainer: Server) -> None:
    config = trainer.get("/info/").json()["trainers"]["segment"]["config"]
    for value in config.values():
        if isinstance(value, list):
            assert value and all(isinstance(item, str) for item in value)
        else:
            assert isinstance(value, (bool, int, float, str))
