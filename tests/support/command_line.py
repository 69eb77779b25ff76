"""The program `strokelabel` within the tests' own process."""

from __future__ import annotations

import pytest

from strokelabel.cli import main as cli


def run(*args: object) -> int:
    """Call a command; return its exit code."""
    with pytest.raises(SystemExit) as stop:
        cli.main([*map(str, args)])
    return stop.value.code or 0


def predict(*args: object) -> int:
    """Call `strokelabel predict` on the CPU; return its exit code."""
    return run("predict", *args, "--device", "cpu")
