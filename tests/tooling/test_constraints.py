"""constraints.txt: exact, explained, and in agreement with pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

RESOLVED = "# ---- resolved and tested together ----"


@pytest.fixture(scope="module")
def text(repository: Path) -> str:
    return (repository / "constraints.txt").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pins(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def test_every_line_is_one_exact_version(text: str) -> None:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    names = [canonicalize_name(line.split("==")[0]) for line in lines]

    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line)] == []
    assert len(names) == len(set(names))


def test_no_line_names_a_place(text: str) -> None:
    assert re.search(r"://|file:|index-url|find-links|/\w+/", text) is None


def test_every_deliberate_pin_has_its_reason_above_it(text: str) -> None:
    deliberate, _, _ = text.partition(RESOLVED)
    paragraphs = [part.splitlines() for part in deliberate.split("\n\n") if "==" in part]

    assert paragraphs
    assert [lines for lines in paragraphs if not lines[0].startswith("# ")] == []


def test_the_pins_fulfil_what_the_project_asks_for(repository: Path, pins: dict[str, str]) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = (line for extra in project["optional-dependencies"].values() for line in extra)
    asked = [Requirement(line) for line in (*project["dependencies"], *optional)]
    own = [r for r in asked if canonicalize_name(r.name) != project["name"]]

    unpinned = [r.name for r in own if canonicalize_name(r.name) not in pins]
    unfulfilled = [str(r) for r in own if not r.specifier.contains(pins.get(canonicalize_name(r.name), "0"))]
    assert unpinned == []
    assert unfulfilled == []
