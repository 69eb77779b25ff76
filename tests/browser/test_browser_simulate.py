"""The Simulate tab: dragging the inversion time of a FLAIR takes the fluid through its null."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from support.browser_page import PATIENCE_S, Page

pytestmark = pytest.mark.server


def shown(page: Page) -> np.ndarray:
    """The pixels of the picture in the tab."""
    source = page.window.get_attribute('[data-test="simulated"]', "src") or ""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))))


def signal(page: Page, tissue: str) -> float:
    """Signal in the table; below 0 while it is inverted."""
    said = page.window.inner_text(f'[data-signal="{tissue}"]')
    return float(said.split()[0]) * (-1 if "inv" in said else 1)


def value(page: Page, name: str) -> str:
    return page.window.inner_text(f'[data-value="{name}"]')


def wait(page: Page, holds: Callable[[], bool]) -> None:
    for _ in range(PATIENCE_S * 20):
        if holds():
            return
        page.window.wait_for_timeout(50)
    raise AssertionError("Waited in vain")


def drag_to(page: Page, name: str, share: float) -> None:
    """Drag a slider to a share of its length with the mouse."""
    slider = page.window.locator(f'[data-test="simulate-controls"] input[name="{name}"]')
    box = slider.bounding_box()
    assert box is not None
    low, high, now = (float(slider.evaluate(f"e => e.{key}")) for key in ("min", "max", "value"))
    thumb = 16.0

    def x(at: float) -> float:
        return box["x"] + thumb / 2 + at * (box["width"] - thumb)

    y = box["y"] + box["height"] / 2
    page.window.mouse.move(x((now - low) / (high - low)), y)
    page.window.mouse.down()
    page.window.mouse.move(x(share), y, steps=12)
    page.window.mouse.up()


def test_dragging_the_inversion_time_of_a_flair_takes_the_fluid_through_its_null(page: Page) -> None:
    page.wait(lambda s: s["connected"])
    page.click("tab simulate")
    page.window.wait_for_selector('[data-test="simulated"]', timeout=PATIENCE_S * 1000)
    assert "e^(−R1 TI)" in page.window.inner_text('[data-test="equation"]')
    chosen = [page.window.input_value(f'[data-test="simulate_{key}"]') for key in ("sequence", "lesion")]
    assert chosen == ["flair", "lesion-acute"]

    drag_to(page, "inversion_time", 0.3)
    wait(page, lambda: signal(page, "csf") < -20)
    inverted, dark = signal(page, "csf"), shown(page)
    page.picture("19-simulate-inverted")

    drag_to(page, "inversion_time", (2.48 - 0.1) / 3.9)
    wait(page, lambda: abs(signal(page, "csf")) < 1.0)
    null = shown(page)
    assert 2400 < float(value(page, "inversion_time").split()[0]) < 2560
    page.picture("20-simulate-null")

    drag_to(page, "inversion_time", 0.9)
    wait(page, lambda: signal(page, "csf") > 15)
    recovered = shown(page)
    fluid = dark > 200
    assert fluid.sum() > 300 and inverted < 0
    assert null[fluid].mean() < 40 < recovered[fluid].mean()
    assert page.error == "" and page.faults == []


def test_impossible_timings_are_told_beside_the_sliders_and_another_sequence_has_other_ones(
    page: Page,
) -> None:
    drag_to(page, "repetition_time", 0.0)
    page.window.wait_for_selector('[data-test="simulate-problem"]:has-text("before the repetition time")')
    page.window.select_option('[data-test="simulate_sequence"]', "gre")
    wait(page, lambda: page.window.locator('input[name="flip_angle"]').count() == 1)
    page.window.wait_for_selector('[data-test="simulate-problem"]', state="detached")
    assert page.window.locator('input[name="inversion_time"]').count() == 0
    wait(page, lambda: "sin α" in page.window.inner_text('[data-test="equation"]'))
    before = signal(page, "lesion")
    page.window.select_option('[data-test="simulate_lesion"]', "haemorrhage-chronic")
    wait(page, lambda: signal(page, "lesion") < before)
    drag_to(page, "field", 1.0)
    wait(page, lambda: value(page, "field") == "7 T")
    page.picture("21-simulate-gradient-echo")
    page.click("simulate_reset")
    wait(page, lambda: value(page, "field") == "3 T")
    assert page.window.input_value('[data-test="simulate-controls"] input[name="field"]') == "3"

    page.click("tab annotate")
    page.open("sub-03_FLAIR")
    assert page.error == "" and page.faults == []


def test_each_picture_comes_within_half_a_second(page: Page) -> None:
    page.click("tab simulate")
    page.window.select_option('[data-test="simulate_sequence"]', "fse")
    wait(page, lambda: page.window.locator('input[name="inversion_time"]').count() == 0)
    took = []
    for milliseconds in (20, 60, 100, 140, 180):
        script = """async ms => {
            const picture = () => document.querySelector('[data-test="simulated"]').src;
            const before = picture(), began = performance.now();
            const slider = document.querySelector('input[name="echo_time"]');
            slider.value = ms / 1000;
            slider.dispatchEvent(new Event('input'));
            while (picture() === before) await new Promise(done => setTimeout(done, 5));
            return (performance.now() - began) / 1000;
        }"""
        took.append(page.window.evaluate(script, milliseconds))
    assert min(took) < 0.5, took
    assert page.faults == []
