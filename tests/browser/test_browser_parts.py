"""Parts of the page that need neither server nor browser: files, names, keys, and the command."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from strokelabel_browser.commands import Commands
from strokelabel_browser.routes import image_id_for
from strokelabel_browser.shortcuts import SHORTCUTS
from strokelabel_browser.view import as_page_state, option_form
from StrokeLabelLib.client.answers import ImageEntry, InferProgress, LabelEntry, ModelInfo
from StrokeLabelLib.session.availability import COMMANDS
from StrokeLabelLib.session.options import option_fields
from StrokeLabelLib.session.view import Measurements, ViewState

from strokelabel.cli import browse
from strokelabel.cli.browse import PageError, page_command

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "image_id"),
    [
        ("sub-07_T1w.nii.gz", "sub-07_T1w"),
        ("scan of Zoë 1.2.nii", "scan-of-Zo-1.2"),
        ("..", "scan"),
        ("DICOM", "DICOM"),
    ],
)
def test_uploads_get_ids_that_a_server_takes(tmp_path: Path, name: str, image_id: str) -> None:
    place = tmp_path / name
    if "." in name.strip("."):
        place.touch()
    assert image_id_for(place) == image_id


def test_every_key_runs_a_command_and_no_key_runs_two() -> None:
    keys = [key for key, *_ in SHORTCUTS]
    assert len(set(keys)) == len(keys)
    commands = Commands(
        MagicMock(), MagicMock(), MagicMock(), MagicMock(), MagicMock(), Path("settings.json")
    )
    assert {command for _, _, command, _ in SHORTCUTS} <= commands.names


def test_the_page_and_the_module_of_slicer_have_the_same_keys() -> None:
    same = {
        "segment": ("segment",),
        "submit_and_next": ("submit_and_next",),
        "next_uncertain": ("next_uncertain",),
        "undo": ("undo",),
        "redo": ("redo",),
        "lesion_point": ("tool", "lesion"),
        "not_lesion_point": ("tool", "not_lesion"),
        "toggle_mask": ("toggle_mask",),
        "cancel": ("cancel",),
    }
    here = {(command, *arguments): key.lower() for key, _, command, arguments in SHORTCUTS}
    names = {"ctrl+return": "ctrl+enter", "esc": "escape"}
    there = {name: names.get(key.lower(), key.lower()) for name, (key, _) in _keys_of_the_module().items()}
    assert {name: here[command] for name, command in same.items()} == there


def _keys_of_the_module() -> dict[str, tuple[str, str]]:
    """The table of the desktop module, which cannot be imported without Qt."""
    path = REPOSITORY / "slicer_extension/StrokeLabel/StrokeLabelLib/desktop/shortcuts.py"
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "SHORTCUTS" and node.value:
            return dict(ast.literal_eval(node.value))
    raise AssertionError("the module has no SHORTCUTS")


def test_every_blocked_command_of_the_presenter_reaches_the_page() -> None:
    state = as_page_state(ViewState(blocked=dict.fromkeys(COMMANDS, "Why not.")))
    assert set(state["blocked"]) == set(COMMANDS)


@pytest.mark.parametrize(("volume_ml", "text"), [(0.0, "0.00"), (0.054, "0.05"), (79.5, "79.5")])
def test_small_volumes_are_shown_finer_than_large_ones(volume_ml: float, text: str) -> None:
    assert as_page_state(ViewState(measurements=Measurements(volume_ml=volume_ml)))["volume"] == text


@pytest.mark.parametrize(
    ("progress", "shown", "percent"),
    [
        (None, "Segmenting", None),
        (InferProgress(ahead=2), "Segmenting: waiting for 2 other requests", None),
        (InferProgress("adapting", 0.125, 0, 90.0), "Segmenting: adapting, 12 %, about 2 min left", 12),
    ],
)
def test_the_banner_says_how_far_a_request_is(
    progress: InferProgress | None, shown: str, percent: int | None
) -> None:
    state = as_page_state(ViewState(busy="Segmenting", progress=progress))
    assert (state["busy"], state["percent"]) == (shown, percent)


def test_the_list_says_what_each_scan_waits_for() -> None:
    from strokelabel_browser.view import _row

    image = ImageEntry("sub-07_ses-2_T1w", "07", "2", "T1w", {"original": LabelEntry("original")})
    row = _row(image)
    assert (row["title"], row["detail"], row["status"]) == ("sub-07", "ses-2 · T1w", "pseudo-label")
    assert "waits" in row["status_text"]


def test_the_options_of_training_become_fields_of_a_form() -> None:
    options = {"freeze": ["none", "encoder"], "steps": 200, "paste_lesions": True, "odd": {"a": 1}}
    fields = option_form(option_fields(ModelInfo("segment", options=options)))
    assert [(f["name"], f["text"], f["kind"], f["value"]) for f in fields] == [
        ("freeze", "freeze", "choice", "none"),
        ("steps", "steps", "number", 200),
        ("paste_lesions", "paste lesions", "flag", True),
    ]
    assert fields[0]["choices"] == ["none", "encoder"]


def test_the_command_starts_the_page_on_this_machine_only() -> None:
    command = page_command("http://127.0.0.1:8000", "127.0.0.1", 8080)
    assert Path(command[1]).is_file()
    assert command[2:] == ["--host", "127.0.0.1", "--port", "8080", "--server", "http://127.0.0.1:8000"]


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browse, "NEEDED", ("numpy", "no_such_module"))
    with pytest.raises(PageError, match="no_such_module"):
        page_command("", "127.0.0.1", 8080)


def test_without_the_repository_the_command_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(browse, "PAGE", tmp_path / "start.py")
    with pytest.raises(PageError, match="make start"):
        page_command("", "127.0.0.1", 8080)


def test_the_package_imports_neither_trame_nor_slicer() -> None:
    code = (
        "import strokelabel.cli.browse, sys\n"
        "assert not {'trame', 'slicer', 'vtk', 'torch'} & set(sys.modules), sorted(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_the_list_of_models_says_how_long_one_takes() -> None:
    models = (ModelInfo("segment"), ModelInfo("segment_adapted", seconds=150.0))
    assert as_page_state(ViewState(models=models))["models"] == [
        {"title": "segment", "value": "segment"},
        {"title": "segment_adapted (about 2 min)", "value": "segment_adapted"},
    ]
