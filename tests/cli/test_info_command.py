"""`strokelabel info` tells people and programs what is installed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from strokelabel import __version__
from strokelabel.cli import main as cli


@pytest.fixture
def home(bright_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with one good model and one damaged."""
    for name in ("mine", "broken"):
        (tmp_path / "weights" / name).mkdir(parents=True)
    shutil.copy(bright_model, tmp_path / "weights" / "mine" / "model.safetensors")
    (tmp_path / "weights" / "broken" / "model.safetensors").write_bytes(b"oops")
    monkeypatch.setenv("STROKELABEL_HOME", str(tmp_path))
    return tmp_path


def info(*args: str) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(["info", *args])
    return stop.value.code or 0


def test_json_lists_models_versions_and_environment(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert info("--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["strokelabel"] == __version__
    models = {model["name"]: model for model in report["models"]}
    assert "broken" not in models
    mine = models["mine"]
    assert mine["version"] == "1"
    assert mine["classes"][5] == "lesion"
    assert len(mine["sha256"]) == 64
    assert mine["path"].startswith(str(home))
    assert report["environment"]["packages"]["torch"]
    assert report["environment"]["STROKELABEL_HOME"] == str(home)


def test_text_names_the_same_things(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert info() == 0
    printed = capsys.readouterr().out
    assert "mine 1: finds bright blobs" in printed
    assert "  nihss: " in printed.split("outcome models")[1]
    assert "torch: " in printed


def test_torch_is_not_imported(home: Path) -> None:
    script = (
        "import sys\n"
        "from strokelabel.cli.main import main\n"
        "try:\n    main(['info', '--json'])\n"
        "except SystemExit as stop:\n    assert not stop.code\n"
        "assert not {'torch', 'monai'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "broken" in done.stderr
