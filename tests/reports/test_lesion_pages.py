"""Pages about lesions show the patient's left on the right, say what the sidecar says, and need no other file."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import html5lib
import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Picture

from strokelabel.inference.segment.prediction import Prediction
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.io import Image
from strokelabel.reports.lesions.page import lesion_side
from strokelabel.reports.lesions.pictures import axial_levels, draw_lesion
from support.bright_network import centred_affine, phantom, rotation
from support.browser_page import chromium
from support.command_line import predict

SHAPE = (30, 24, 20)
RIGHT, LEFT = (24.0, -9.0, 3.0), (-24.0, -9.0, 3.0)
MATRICES = {
    "RAS": np.diag([3.0, 3.0, 3.5]),
    "LPI": np.diag([-3.0, -3.0, -3.5]),
    "SAR": np.array([[0, 0, 4.0], [0, 3.5, 0], [2.5, 0, 0]]),
    "oblique": rotation((8, 0, -12)) @ np.diag([-2.4, 3.0, 3.5]),
}


def write_scan(path: Path, matrix: np.ndarray, lesion_mm: tuple[float, float, float]) -> Image:
    affine = centred_affine(matrix, SHAPE)
    image, _ = phantom(SHAPE, affine, lesion_mm, radius_mm=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(image.data, affine), path)
    return image


def predicted(
    model: Path, matrix: np.ndarray, lesion_mm: tuple[float, float, float]
) -> tuple[Image, Prediction]:
    image, _ = phantom(SHAPE, centred_affine(matrix, SHAPE), lesion_mm, radius_mm=10)
    return image, Predictor.from_model(model, "cpu").predict(image)


@pytest.mark.parametrize("name", MATRICES)
def test_a_lesion_on_the_patients_left_is_drawn_on_the_right_and_called_left(
    bright_model: Path, name: str
) -> None:
    for lesion_mm, side in ((LEFT, "left"), (RIGHT, "right")):
        image, prediction = predicted(bright_model, MATRICES[name], lesion_mm)
        assert lesion_side(prediction, image).startswith(side)
        drawn = draw_lesion(image, prediction.lesion_mask, prediction.lesion_probability)
        axial = np.asarray(Picture.open(io.BytesIO(drawn.thumbnail)).convert("RGB")).astype(int)
        outline = axial[..., 0] - axial[..., 2] > 60  # orange
        columns = np.flatnonzero(outline.any(axis=0))
        assert (columns.mean() > axial.shape[1] / 2) == (side == "left")


def test_a_lesion_across_the_middle_lies_on_both_sides_and_no_lesion_on_none(bright_model: Path) -> None:
    image, prediction = predicted(bright_model, MATRICES["RAS"], (1.0, 0.0, 0.0))
    assert lesion_side(prediction, image) == "both sides"
    image, prediction = predicted(bright_model, MATRICES["RAS"], (300.0, 0.0, 0.0))
    assert lesion_side(prediction, image) == ""
    assert draw_lesion(image, prediction.lesion_mask, prediction.lesion_probability).slices


@pytest.mark.parametrize(
    ("filled", "depth", "count", "expected"),
    [
        ((10, 12), 40, 5, [9, 10, 11, 12, 13]),
        ((0, 0), 40, 3, [0, 1, 2]),
        ((39, 39), 40, 3, [37, 38, 39]),
        ((0, 39), 40, 3, [0, 20, 39]),
        ((1, 1), 2, 5, [0, 1]),
    ],
)
def test_slices_are_spread_over_the_lesion(
    filled: tuple[int, int], depth: int, count: int, expected: list[int]
) -> None:
    mask = np.zeros((4, 5, depth), bool)
    mask[2, 2, filled[0] : filled[1] + 1] = True
    assert axial_levels(mask, count) == expected


@pytest.fixture(scope="module")
def results(bright_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of three scans, the first with markup in its name, and of one that is broken."""
    folder = tmp_path_factory.mktemp("pages")
    write_scan(folder / "in" / "<b>a&b.nii.gz", MATRICES["oblique"], LEFT)
    write_scan(folder / "in" / "sub-1_ses-2_T2w.nii.gz", MATRICES["LPI"], RIGHT)
    write_scan(folder / "in" / "empty.nii.gz", MATRICES["RAS"], (300.0, 0.0, 0.0))
    (folder / "in" / "broken.nii").write_bytes(b"no image")
    assert predict(folder / "in", "-o", folder / "out", "--model", bright_model, "--report") == 1
    return folder / "out"


def pages(folder: Path) -> list[Path]:
    return [folder / "report.html", *sorted((folder / "report").glob("*.html"))]


def test_pages_are_valid_html_and_load_nothing_from_elsewhere(results: Path) -> None:
    assert len(pages(results)) == 4
    for page in pages(results):
        text = page.read_text(encoding="utf-8")
        html5lib.HTMLParser(strict=True).parse(text)
        assert not re.search(r"https?:|//\w|@import|url\(", re.sub(r"base64,[^\"]*", "", text))
        addresses = re.findall(r'(?:src|href)="([^"]*)"', text)
        if page.parent.name == "report":
            assert addresses.pop(0) == "../report.html" and len(addresses) == 3
            assert all(one.startswith("data:image/webp;base64,") for one in addresses)
        assert page.stat().st_size < 400_000


def test_a_page_says_what_the_sidecar_says(results: Path) -> None:
    (page,) = (page for page in pages(results) if "T2w" in page.name)
    text = page.read_text(encoding="utf-8")
    with (results / "predictions.csv").open(newline="") as file:
        rows = {Path(row["source"]).name: row for row in csv.DictReader(file)}
    assert f"{float(rows['sub-1_ses-2_T2w.nii.gz']['volume_ml']):.1f} ml" in text
    assert "right (100 %)" in text and "SHA-256" in text and "For research only" in text
    assert "&lt;b&gt;a&amp;b.nii.gz" in (results / "report" / "<b>a&b_lesion_mask.html").read_text(
        encoding="utf-8"
    )


def test_results_with_pages_are_kept_and_those_without_get_them(
    bright_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = tmp_path / "scan.nii.gz"
    write_scan(scan, MATRICES["RAS"], LEFT)
    common = (scan, "-o", tmp_path / "out", "--model", bright_model)
    kept = []
    for more in ([], ["--report"], ["--report"]):
        assert predict(*common, *more) == 0
        kept.append("kept from an earlier run" in capsys.readouterr().out)
    assert kept == [False, False, True]


def test_a_strange_table_is_refused_with_a_report_as_it_is_without(
    bright_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scan(tmp_path / "scan.nii.gz", MATRICES["RAS"], LEFT)
    (tmp_path / "predictions.csv").write_text("patient,age\n1,60\n")
    assert predict(tmp_path / "scan.nii.gz", "-o", tmp_path, "--model", bright_model, "--report") == 1
    assert "expected a table with the columns" in capsys.readouterr().err


def test_the_index_sorts_and_filters_and_opens_pages(results: Path) -> None:
    with chromium() as browser:
        page = browser.new_page()
        page.goto((results / "report.html").as_uri())
        names = page.locator("#scans tbody tr:visible td:nth-child(2)")
        assert names.count() == 4 and page.locator("#count").inner_text() == "4 of 4"
        volumes = page.get_by_role("button", name="Volume (ml)")
        volumes.click()
        volumes.click()
        shown = [float(text or 0) for text in page.locator("#scans tbody td:nth-child(3)").all_inner_texts()]
        assert shown == sorted(shown, reverse=True) and shown[0] > 0
        page.locator("#kind").select_option("failed")
        assert names.all_inner_texts() == ["broken.nii"]
        page.locator("#kind").select_option("lesion")
        page.locator("#words").fill("T2W")
        assert names.all_inner_texts() == ["sub-1_ses-2_T2w.nii.gz"]
        page.get_by_role("link", name="sub-1_ses-2_T2w.nii.gz").click()
        page.locator("h1", has_text="sub-1_ses-2_T2w.nii.gz").wait_for()
        drawn = "() => [...document.images].every((one) => one.complete && one.naturalWidth > 100)"
        page.wait_for_function(drawn)
