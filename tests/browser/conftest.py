"""A real MONAI Label server, the page's own process, and Chromium."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

REPOSITORY = Path(__file__).parents[2]
for _folder in ("slicer_extension/StrokeLabel", "slicer_extension/browser"):
    sys.path.insert(0, str(REPOSITORY / _folder))

from support import app_server  # noqa: E402
from support.browser_page import Page, chromium, open_page  # noqa: E402
from support.cable import Cable  # noqa: E402


@pytest.fixture(scope="session")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies of the sample scans."""
    folder = tmp_path_factory.mktemp("studies")
    for scan in sorted((REPOSITORY / "sample-data").glob("sub-*/anat/*.nii.gz")):
        shutil.copyfile(scan, folder / scan.name)
    return folder


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, studies: Path) -> Iterator[app_server.Server]:
    """A running server with the shipped weights; nothing of it may outlive the tests."""
    running = app_server.start(tmp_path_factory.mktemp("server"), studies)
    yield running
    assert app_server.stop(running) == []


@pytest.fixture(scope="session")
def cable(server: app_server.Server) -> Iterator[Cable]:
    """What lies between the page and the server, and can be cut."""
    with Cable(server.url) as between:
        yield between


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium."""
    with chromium() as running:
        yield running


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots are kept: the folder in SCREENSHOTS, if set."""
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def page(
    tmp_path_factory: pytest.TempPathFactory, cable: Cable, browser: Browser, pictures: Path
) -> Iterator[Page]:
    """The page in a window of 1400 x 900, connected to the server."""
    with open_page(tmp_path_factory.mktemp("page"), cable.url, browser, pictures) as page:
        yield page
