"""What /info/ says is what the stock viewers read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from strokelabel.labels import CLASS_COLORS, CLASS_NAMES
from support.app_scans import BIDS_SCAN
from support.app_server import REPOSITORY, Server

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("monailabel-server")]

TASKS = ("segment", "segment_accurate", "segment_tissues", "segment_ensemble")
CORRECTIONS = {"refine": "deepgrow", "refine_scribbles": "scribbles"}


def test_info_has_the_entries_that_viewers_read_and_not_the_one_that_old_servers_had(server: Server) -> None:
    info = server.get("/info/").json()
    assert info["name"] == "StrokeLabel"
    assert info["labels"] == ["lesion", *CLASS_NAMES[1:5]]
    assert set(info["models"]) == {*TASKS, "segment_adapted", *CORRECTIONS}
    assert set(info["trainers"]) == {"segment"} and info["train_stats"] == {"segment": {}}
    assert set(info["strategies"]) == {"random", "first", "uncertainty", "diversity"}
    assert set(info["datastore"]) == {"total", "completed", "label_tags", "left_out", "left_out_total"}
    assert "config" not in info


def test_each_model_names_its_labels_and_their_values_and_colours(server: Server) -> None:
    models = server.get("/info/").json()["models"]
    assert models["segment"]["labels"] == {"lesion": 1}
    assert models["segment_tissues"]["labels"] == {
        name: value for value, name in enumerate(CLASS_NAMES) if value
    }
    for name, model in models.items():
        assert model["type"] == CORRECTIONS.get(name, "segmentation") and model["dimension"] == 3
        assert {name: tuple(rgb) for name, rgb in model["label_colors"].items()} == {
            name: CLASS_COLORS[name] for name in model["labels"]
        }


@pytest.mark.parametrize("task", [*TASKS, "segment_adapted", *CORRECTIONS])
def test_options_are_of_the_types_that_viewers_can_show(server: Server, task: str) -> None:
    for value in server.get("/info/").json()["models"][task]["config"].values():
        if isinstance(value, list):
            assert value and all(isinstance(item, str) for item in value)
        else:
            assert isinstance(value, (bool, int, float, str))


@pytest.mark.parametrize("task", TASKS)
def test_options_sent_back_as_viewers_send_them_are_understood(server: Server, task: str) -> None:
    config = server.get("/info/").json()["models"][task]["config"]
    first_items = {key: value[0] if isinstance(value, list) else value for key, value in config.items()}
    as_text = {key: str(value) if value else "" for key, value in first_items.items()}
    answers = [server.infer(task, BIDS_SCAN, "image", **sent) for sent in ({}, config, first_items, as_text)]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert len({answer.content for answer in answers}) == 1


def test_the_app_finds_its_model_without_loading_torch(bright_model: Path) -> None:
    code = "import sys; from lib.model import ServedModel as M; M(sys.argv[1]); print('torch' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", code, str(bright_model)],
        cwd=REPOSITORY / "monailabel_app",
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip() == "False"
