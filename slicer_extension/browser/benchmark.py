"""Speed of the page as an annotator sees it: in headless Chromium, against a running server.

    python slicer_extension/browser/benchmark.py --server http://127.0.0.1:8000 --scan sub-01_T1w

Prints the time from the click on Segment to the picture with the mask (first, and with the server's cache), from a turn
of the wheel to the new picture, and how often the mask follows the threshold's slider. Run it on an idle machine;
it says how busy the machine was. Needs the package `playwright`, and Chromium.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

WIDTH, HEIGHT = 1400, 900
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync")
PATIENCE_S = 120
WATCH = """
(() => {
  const image = document.querySelectorAll(".layout-grid-item img")[0];
  window.frames_seen = [];
  new MutationObserver(() => window.frames_seen.push(performance.now()))
    .observe(image, { attributes: true, attributeFilter: ["src"] });
})()
"""


class Bench:
    """Page in Chromium, and the state of its process."""

    def __init__(self, url: str, window: Page) -> None:
        self._url, self.window = url, window

    def state(self) -> dict[str, Any]:
        """Return the state of the page's process."""
        with urllib.request.urlopen(self._url + "/state", timeout=60) as answer:
            state: dict[str, Any] = json.load(answer)
        return state

    def wait(self, until: Callable[[dict[str, Any]], object]) -> float:
        """Wait for a state; return the seconds it took."""
        start = time.perf_counter()
        while time.perf_counter() - start < PATIENCE_S:
            if until(self.state()):
                return time.perf_counter() - start
            time.sleep(0.02)
        raise TimeoutError(f"timed out; the state is {self.state()}")

    def rest(self) -> None:
        """Wait until no task runs and the views have come to rest."""
        self.wait(lambda s: not s["busy"])
        self.window.wait_for_timeout(1500)

    def click_to_mask(self) -> float:
        """Measure the seconds from the click on Segment to the picture with the mask in the browser."""
        if self.state()["voxels"]:
            self.window.click('[data-command="undo"]')
            self.wait(lambda s: s["voxels"] == 0)
            self.rest()
        self.window.evaluate(WATCH)
        clock = float(self.window.evaluate("performance.now()")) / 1000 - time.perf_counter()
        start = time.perf_counter()
        self.window.click('[data-command="segment"]')
        without = start
        while self.state()["voxels"] == 0:
            if time.perf_counter() - start > PATIENCE_S:
                raise TimeoutError("no mask came")
            without = time.perf_counter()
            time.sleep(0.02)
        # the first picture that came after the mask was last seen to be missing
        after = 1000 * (without + clock)
        seen = self.window.wait_for_function(f"window.frames_seen.find((at) => at > {after})", timeout=10_000)
        return float(seen.json_value()) / 1000 - clock - start

    def wheel_to_frame(self, turns: int) -> list[float]:
        """Measure the milliseconds from a turn of the wheel in the axial view to its next picture, `turns` times."""
        box = self.window.locator(".layout-grid-item img").first.bounding_box()
        assert box is not None
        self.window.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        self.window.wait_for_timeout(1000)
        self.window.evaluate(WATCH)
        taken = []
        for turn in range(turns):
            self.window.wait_for_timeout(500)
            start = self.window.evaluate("window.frames_seen.length = 0, performance.now()")
            self.window.mouse.wheel(0, 100 if (turn // 10) % 2 else -100)
            self.window.wait_for_function("window.frames_seen.length > 0", polling=5)
            taken.append(self.window.evaluate("window.frames_seen[0]") - start)
        return taken

    def threshold_updates(self, seconds: float) -> float:
        """Return the number of mask updates a second in the views while the slider is dragged back and forth."""
        box = self.window.locator('[data-test="threshold"]').bounding_box()
        assert box is not None
        middle = box["y"] + box["height"] / 2
        before = self.state()["mask_changes"]
        self.window.mouse.move(box["x"] + box["width"] / 2, middle)
        self.window.mouse.down()
        start = time.perf_counter()
        while (passed := time.perf_counter() - start) < seconds:
            share = 0.5 + 0.35 * (1 - abs(1 - (passed % 2)) * 2)  # a triangle: once back and forth in 2 s
            self.window.mouse.move(box["x"] + share * box["width"], middle)
            self.window.wait_for_timeout(15)
        count = self.state()["mask_changes"] - before
        passed = time.perf_counter() - start
        self.window.mouse.up()
        return count / passed


def measure(bench: Bench, scan: str, repeats: int, turns: int) -> None:
    """Run all measurements and print them."""
    say = sys.stdout.write
    bench.wait(lambda s: s["connected"])
    bench.window.click(f'[data-case="{scan}"]')
    say(f"open to scan in the views          {bench.wait(lambda s: s['image'] == scan):8.2f} s    n=1\n")
    bench.rest()
    say(f"click to mask, first               {bench.click_to_mask():8.2f} s    n=1\n")
    bench.wait(lambda s: s["has_probability"])
    again = [bench.click_to_mask() for _ in range(repeats)]
    say(f"click to mask, server has it       {statistics.median(again):8.2f} s    n={repeats}, median\n")
    bench.wait(lambda s: s["has_probability"])
    bench.rest()
    frames = bench.wheel_to_frame(turns)
    say(f"wheel to new picture               {statistics.median(frames):8.0f} ms   n={turns}, median\n")
    say(f"threshold drag                     {bench.threshold_updates(6):8.1f} /s   n=1, over 6 s\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Start the page, measure, and stop it."""
    parser = argparse.ArgumentParser(description="Measure how fast the page is.")
    parser.add_argument("--server", default="http://127.0.0.1:8000")
    parser.add_argument("--scan", default="sub-01_T1w", help="id of a scan on the server")
    parser.add_argument("--port", type=int, default=8091)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--turns", type=int, default=30)
    options = parser.parse_args(arguments)
    url = f"http://127.0.0.1:{options.port}"
    sys.stdout.write(
        f"machine: {os.cpu_count()} CPU cores, {platform.machine()}, load {os.getloadavg()[0]:.1f} at start\n"
    )
    start = [sys.executable, str(Path(__file__).with_name("start.py")), "--server", options.server]
    with tempfile.TemporaryDirectory() as folder:
        page = subprocess.Popen([*start, "--port", str(options.port), "--folder", folder, "--with-state"])
        try:
            _wait_until_it_answers(url)
            with sync_playwright() as playwright:
                chromium = shutil.which("chromium") or shutil.which("google-chrome")
                browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
                window = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
                window.goto(url)
                window.wait_for_selector(".layout-grid-item img", timeout=PATIENCE_S * 1000)
                measure(Bench(url, window), options.scan, options.repeats, options.turns)
                browser.close()
        finally:
            page.terminate()
            page.wait()
    sys.stdout.write(
        f"load {os.getloadavg()[0]:.1f} at the end; the page, Chromium and the server share the cores\n"
    )
    return 0


def _wait_until_it_answers(url: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url + "/state", timeout=10).close()
            return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError("the page did not start")


if __name__ == "__main__":
    sys.exit(main())
