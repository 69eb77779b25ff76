"""Fixtures that several parts' tests share. No test may depend on the network or on a user's home folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from support.system_programs import could_not_run


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Say last which tests could not run for want of a program."""
    yield
    for line in could_not_run(terminalreporter.stats.get("skipped", ())):
        terminalreporter.write_line(line, yellow=True)


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed: a failing test fails again."""
    return np.random.default_rng(20250101)


@pytest.fixture(autouse=True)
def _no_models_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Hide models that whoever runs the tests has installed."""
    monkeypatch.setenv("STROKELABEL_HOME", str(tmp_path_factory.getbasetemp() / "no-models-here"))


@pytest.fixture(scope="session")
def bright_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file whose network finds what is brighter than the head; see `bright_network`."""
    from support.bright_network import save_bright_model

    return save_bright_model(tmp_path_factory.mktemp("model") / "bright.safetensors")


@pytest.fixture(scope="session")
def prepared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared training data with heads of nested ellipsoids; see `tiny_prepared`."""
    from support.tiny_prepared import write_prepared

    return write_prepared(tmp_path_factory.mktemp("data") / "prepared")
