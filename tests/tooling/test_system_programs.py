"""Programs that tests need: installed where it is allowed, named where they are missing, or required."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support import system_programs
from support.system_programs import CHROMIUM, REQUIRED, main

NEEDS_CMAKE = (
    "tests/slicer_extension/test_static.py::test_cmake_installs_every_file_and_no_file_that_is_missing"
)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole path, with an apt-get that writes down its arguments; Chromium is missing."""
    folder = tmp_path / "tools"
    folder.mkdir()
    (folder / "env").symlink_to("/usr/bin/env")
    script(folder / "apt-get", f'echo "$@" >> "{tmp_path}/calls.txt"')
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("CHROMIUM", str(folder / "chromium"))
    monkeypatch.setattr(system_programs, "PROGRAMS", (CHROMIUM,))
    monkeypatch.delenv(REQUIRED, raising=False)
    return folder


def script(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
    path.chmod(0o755)


def calls(folder: Path) -> list[str]:
    file = folder.parent / "calls.txt"
    return file.read_text().splitlines() if file.exists() else []


def test_root_installs_what_is_missing(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    script(
        tools / "apt-get",
        f'echo "$@" >> "{tools.parent}/calls.txt"; : > "{tools}/chromium"; /bin/chmod +x "{tools}/chromium"',
    )

    assert main() == 0
    assert [line.split()[2] for line in calls(tools)] == ["update", "install"]
    assert calls(tools)[-1].endswith("--no-install-recommends chromium")
    assert main() == 0
    assert len(calls(tools)) == 2


def test_others_install_with_a_sudo_that_asks_for_no_password(
    tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    script(tools / "sudo", 'shift; [ "$1" = true ] || exec "$@"')

    assert main() == 0
    assert [line.split()[2] for line in calls(tools)] == ["update", "install"]


def test_where_nothing_may_be_installed_it_is_said_and_only_an_error_where_programs_are_required(
    tools: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    script(tools / "sudo", "exit 1")

    assert main() == 0
    assert calls(tools) == []
    assert "Chromium is not installed: apt-get install chromium" in capsys.readouterr().err
    monkeypatch.setenv(REQUIRED, "1")
    assert main() == 1


@pytest.mark.parametrize(
    ("required", "status", "line"),
    [
        ("", 0, "2 tests could not run: CMake is not installed: apt-get install cmake"),
        ("1", 1, "CMake is not installed: apt-get install cmake"),
    ],
)
def test_a_missing_program_is_named_at_the_end_and_fails_only_where_it_is_required(
    repository: Path, tmp_path: Path, required: str, status: int, line: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", NEEDS_CMAKE],
        cwd=repository,
        env={**os.environ, "PATH": str(tmp_path), REQUIRED: required},
        capture_output=True,
        text=True,
        check=False,
    )

    *_, before, last = done.stdout.splitlines()
    assert done.returncode == status, done.stdout
    assert last.startswith("=")
    assert line in (before if not required else done.stdout)
