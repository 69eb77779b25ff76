"""A person's review of pseudo-labels: sheets to look at, and a table that is handed back."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as PILImage

from strokelabel.errors import DataError
from strokelabel.fit.pseudo_labels.record import (
    KEY,
    PseudoLabel,
    PseudoMeasures,
    QualityGate,
    read_pseudo_labels,
    write_reviews,
)
from strokelabel.reports.contact_sheet import write_review_sheets

AFFINE = np.array([[0, 0, -3.0, 40], [2, 0, 0, -30], [0, 2.5, 0.2, -20], [0, 0, 0, 1]])


def write(folder: Path, subject: str, confidence: float, volume_ml: float = 2.0) -> None:
    """Write a scan, a mask and its record."""
    scan = folder / "scans" / f"{subject}_T1w.nii.gz"
    scan.parent.mkdir(exist_ok=True, parents=True)
    mask = np.zeros((22, 18, 14), np.uint8)
    mask[8:14, 6:11, 5:9] = volume_ml > 0
    rng = np.random.default_rng(3)
    nib.Nifti1Image(rng.uniform(20, 30, mask.shape).astype(np.float32) + 40 * mask, AFFINE).to_filename(scan)
    nib.Nifti1Image(mask, AFFINE).to_filename(folder / f"{subject}_mask.nii.gz")
    measures = PseudoMeasures(volume_ml, confidence, 0.95, 1.0)
    label = PseudoLabel(
        f"{subject}_mask.nii.gz", str(scan), measures, tuple(map(tuple, np.eye(4))), QualityGate()
    )
    record = {"Sources": [str(scan)], KEY: label.to_json()}
    (folder / f"{subject}_mask.json").write_text(json.dumps(record))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for subject, confidence in (("sub-1", 0.9), ("sub-2", 0.4), ("sub-3", 0.8)):
        write(tmp_path, subject, confidence)
    return tmp_path


def statuses(folder: Path) -> list[str]:
    return [label.status for label in read_pseudo_labels(folder)]


def test_the_decisions_of_a_table_go_into_the_records_and_empty_ones_leave_the_gate_to_decide(folder: Path):
    table = folder / "reviewed.csv"
    table.write_text(
        "source;mask;review\n/a;sub-1_mask.nii.gz;rejected\n/b;sub-2_mask.nii.gz;accepted\n/c;sub-3_mask.nii.gz;\n"
    )
    assert write_reviews(table, folder) == 2
    assert statuses(folder) == ["rejected", "accepted", "pseudo"]
    assert [label.trains() for label in read_pseudo_labels(folder)] == [False, True, True]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "mask,verdict\nsub-1_mask.nii.gz,accepted\n",
            "expected the columns mask and review, found no review",
        ),
        ("mask,review\nsub-1_mask.nii.gz,rejected\nsub-2_mask.nii.gz,good\n", "line 3: expected a status of"),
        (
            "mask,review\nsub-1_mask.nii.gz,rejected\nsub-9_mask.nii.gz,accepted\n",
            "line 3: expected a mask of",
        ),
    ],
)
def test_a_table_with_a_mistake_is_refused_and_changes_no_record(folder: Path, text: str, message: str):
    (folder / "reviewed.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        write_reviews(folder / "reviewed.csv", folder)
    assert statuses(folder) == ["pseudo"] * 3


def test_a_sheet_shows_every_mask_in_the_colour_of_its_fate_and_old_sheets_go(folder: Path):
    (folder / "review-07.png").write_bytes(b"of an earlier cohort")
    write(folder, "sub-4", 0.9, volume_ml=0)
    paths = write_review_sheets(folder)
    assert [path.name for path in paths] == ["review-01.png"] == [p.name for p in folder.glob("review-*.png")]
    pixels = np.asarray(PILImage.open(paths[0]).convert("RGB")).astype(int)
    red, green, blue = np.moveaxis(pixels, -1, 0)
    panel = pixels.shape[1] // 6
    greens, reds = (
        sorted({x // panel for x in np.flatnonzero(found.any(axis=0))})
        for found in ((green > 200) & (red < 90) & (blue < 90), (red > 200) & (green < 90) & (blue < 90))
    )
    assert (reds, greens) == ([0], [1, 2])


def test_a_scan_that_is_gone_is_left_out_of_the_sheet(folder: Path):
    for path in (folder / "scans").iterdir():
        path.unlink()
    assert write_review_sheets(folder) == []
