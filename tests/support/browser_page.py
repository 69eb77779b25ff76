"""Start the page's process, and use it as an annotator does."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from support.app_server import free_port
from support.system_programs import CHROMIUM, require

REPOSITORY = Path(__file__).parents[2]
START_S, PATIENCE_S = 90, 60
"""Machines that do other things at the same time get more than is needed."""

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass
class Process:
    """The page's process.

    Attributes:
        url: of the page.
        folder: for settings and unsubmitted work.
    """

    url: str
    folder: Path
    process: subprocess.Popen[bytes]
    log: Path


def start_page(folder: Path, server_url: str) -> Process:
    """Start the page on a free port and wait until it answers."""
    port, log = free_port(), folder / "page.log"
    command = [
        sys.executable,
        str(REPOSITORY / "slicer_extension/browser/start.py"),
        *("--server", server_url, "--port", str(port), "--folder", str(folder / "home"), "--with-state"),
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    running = Process(f"http://127.0.0.1:{port}", folder / "home", process, log)
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            read_state(running)
            return running
        except OSError:
            time.sleep(0.2)
    stop_page(running)
    raise RuntimeError(f"The page did not start:\n{log.read_text()[-4000:]}")


def stop_page(running: Process, how: signal.Signals = signal.SIGINT) -> None:
    """Stop the page as Ctrl-C does."""
    running.process.send_signal(how)
    try:
        running.process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        running.process.kill()
        running.process.wait()


def read_state(running: Process, query: str = "") -> dict[str, Any]:
    """What the page's process says about itself."""
    with urllib.request.urlopen(f"{running.url}/state{query}", timeout=30) as answer:
        state: dict[str, Any] = json.load(answer)
    return state


@contextmanager
def chromium() -> Iterator[Browser]:
    """Chromium, headless."""
    (program,) = require(CHROMIUM)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(program), args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def open_page(folder: Path, server_url: str, browser: Browser, pictures: Path) -> Iterator[Page]:
    """The page's own process and a window of 1400 x 900 on it, until the block ends."""
    running = start_page(folder, server_url)
    try:
        yield Page(running, browser, pictures)
    finally:
        stop_page(running)


class Page:
    """The page in a window.

    Args:
        running: its process.
        browser: that shows it.
        pictures: where screenshots go.
    """

    def __init__(self, running: Process, browser: Browser, pictures: Path) -> None:
        self.running, self.pictures = running, pictures
        self.window = browser.new_page(viewport={"width": 1400, "height": 900})
        self.faults: list[str] = []
        self.window.on("pageerror", lambda error: self.faults.append(str(error)))
        self.window.goto(running.url)
        self.window.wait_for_selector(".layout-grid-item img", timeout=PATIENCE_S * 1000)

    def state(self) -> dict[str, Any]:
        """What the page's process says, also about the mask in the views."""
        return read_state(self.running, "?views=yes")

    def wait(self, until: Callable[[dict[str, Any]], object], seconds: float = PATIENCE_S) -> dict[str, Any]:
        """Wait for a state, without asking for the views' mask; it is returned with it."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if until(read_state(self.running)):
                return self.state()
            time.sleep(0.1)
        raise AssertionError(f"Waited in vain; the state is {self.state()}")

    def click(self, command: str) -> None:
        """Press the button of a command: "segment", "tool paint"."""
        self.window.click(f'[data-command="{command}"]')

    def open(self, image_id: str) -> dict[str, Any]:
        """Open a scan from the list."""
        self.window.click(f'[data-case="{image_id}"]')
        return self.wait(lambda s: s["image"] == image_id and not s["busy"])

    def drag(self, *points: tuple[float, float]) -> None:
        """Press the left button in the axial view, draw through points given as shares of its size, release."""
        places = [self.at(point) for point in points]
        self.window.mouse.move(*places[0])
        self.window.wait_for_timeout(150)
        self.window.mouse.down()
        for place in places[1:]:
            self.window.mouse.move(*place, steps=6)
        self.window.wait_for_timeout(150)
        self.window.mouse.up()

    def drop(self, path: Path) -> None:
        """Drop a file or folder on the page as the desktop does."""
        session = self.window.context.new_cdp_session(self.window)
        x, y = self.at((0.5, 0.5))
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            session.send("Input.dispatchDragEvent", {"type": kind, "x": x, "y": y, "data": data})
        session.detach()

    def download(self, name: str, folder: Path) -> Path:
        """Follow the link "mask" or "report"; return the file."""
        with self.window.expect_download() as waiting:
            self.window.click(f'[href="download/{name}"]')
        path = folder / waiting.value.suggested_filename
        waiting.value.save_as(path)
        return path

    def press_at(self, point: tuple[float, float]) -> None:
        """Click in the axial view at a point given as shares of its size."""
        self.window.mouse.move(*self.at(point))
        self.window.wait_for_timeout(150)
        self.window.mouse.down()
        self.window.mouse.up()

    def at(self, point: tuple[float, float], view: int = 0) -> tuple[float, float]:
        """Where a share of a view's size is in the window."""
        box = self.window.locator(".layout-grid-item img").nth(view).bounding_box()
        assert box is not None
        return box["x"] + point[0] * box["width"], box["y"] + point[1] * box["height"]

    def picture(self, name: str) -> None:
        """Keep a screenshot, once the views have come to rest."""
        self.window.wait_for_timeout(700)
        self.window.screenshot(path=self.pictures / f"{name}.png")

    @property
    def error(self) -> str:
        """The sentence that is shown, "" if none."""
        shown = self.window.locator('[data-test="error"]')
        return shown.inner_text() if shown.count() else ""

    def wait_for_error(self, part: str, picture: str = "") -> str:
        """Wait until a sentence with this part is shown; it is returned, and closed, after a screenshot if named."""
        self.window.wait_for_selector(f'[data-test="error"]:has-text("{part}")', timeout=PATIENCE_S * 1000)
        sentence = self.error
        if picture:
            self.picture(picture)
        self.click_close()
        return sentence

    def click_close(self) -> None:
        """Close the sentence."""
        self.window.click(".banner.bad .close")
        self.window.wait_for_selector('[data-test="error"]', state="detached")
