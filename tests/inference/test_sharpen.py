"""Sharper borders: the scan's intensities decide where coarse voxels leave borders open, and nothing elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from strokelabel.geometry import CanonicalGrid
from strokelabel.geometry.crop import CropBox
from strokelabel.inference.network_input import likeliest_on_source_grid
from strokelabel.inference.sharpen import sharpened_on_source_grid
from support.bright_network import centred_affine, phantom
from support.command_line import predict
from support.sided_network import save_sided_model

SHAPE, AFFINE = (36, 42, 30), np.diag([-1.0, 1.0, 1.2, 1.0])


def truth() -> np.ndarray:
    """A ball (2) in a larger one (1) in air (0), (i, j, k)."""
    i, j, k = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in SHAPE), indexing="ij")
    radius = np.sqrt(i**2 + j**2 + (1.2 * k) ** 2)
    return (radius < 14).astype(int) + (radius < 6)


def coarse_probabilities(labels: np.ndarray, canonical: CanonicalGrid) -> tuple[np.ndarray, CropBox]:
    """Shares of the classes in voxels of 3 mm, and the box that they fill; a fourth class is nowhere."""
    shares = [canonical.forward((labels == number).astype(np.float32)) for number in range(4)]
    shares[0] = 1 - sum(shares[1:])
    shape = canonical.target.shape
    return np.stack(shares).astype(np.float32), CropBox(shape, (0, 0, 0), shape)


@pytest.fixture
def case() -> tuple[np.ndarray, np.ndarray, CropBox, CanonicalGrid]:
    labels = truth()
    canonical = CanonicalGrid.for_image(SHAPE, AFFINE, 3.0)
    return labels, *coarse_probabilities(labels, canonical), canonical


def test_borders_follow_the_intensities_of_the_scan_and_sums_their_volume(
    case: tuple[np.ndarray, np.ndarray, CropBox, CanonicalGrid], rng: np.random.Generator
) -> None:
    labels, probabilities, box, canonical = case
    scan = np.array([0, 100, 60, 0])[labels] + rng.normal(0, 4, SHAPE)
    plain, _ = likeliest_on_source_grid(probabilities, box, canonical)
    sharp, sums = sharpened_on_source_grid(probabilities, box, canonical, scan.astype(np.float32))
    assert (sharp != labels).mean() < 0.3 * (plain != labels).mean()
    for number in (1, 2):
        assert sums[number] == pytest.approx((labels == number).sum(), rel=0.05)
    assert sums[3] == pytest.approx(0, abs=1) and len(sums) == 4


def test_intensities_of_another_structure_far_from_it_and_of_none_decide_nothing(
    case: tuple[np.ndarray, np.ndarray, CropBox, CanonicalGrid],
) -> None:
    labels, probabilities, box, canonical = case
    scan = np.array([0, 100, 60, 0])[labels].astype(np.float32)
    scan[5:8, 20:23, 14:17] = 60  # as the inner ball, but at the outer border of the other
    scan[17:19, 20:22, 14:16] = 250  # as nothing else, in the middle of the inner ball
    sharp, _ = sharpened_on_source_grid(probabilities, box, canonical, scan)
    assert (sharp[5:8, 20:23, 14:17] != 2).all()
    assert (sharp[17:19, 20:22, 14:16] == 2).all()


def test_on_the_command_line_the_sidecar_says_it_and_volumes_are_those_of_the_sharper_borders(
    tmp_path: Path, bright_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_sided_model(tmp_path / "sided.safetensors")
    affine = centred_affine(np.diag([-2.5, 2.5, 3.0]), (24, 30, 20))
    image, _ = phantom((24, 30, 20), affine, (6.0, -9.0, 3.0), radius_mm=10)
    scan, out = tmp_path / "scan.nii", tmp_path / "out"
    nib.save(nib.Nifti1Image(image.data, affine), scan)
    for _ in range(2):
        assert predict(scan, "-o", out, "--model", model, "--sharpen") == 0
    assert "kept from an earlier run" in capsys.readouterr().out
    sidecar = json.loads((out / "scan_parcellation_dseg.json").read_text())
    labels = np.asarray(nib.load(out / "scan_parcellation_dseg.nii.gz").dataobj)
    counted = (labels > 0).sum() * 2.5 * 2.5 * 3.0 / 1000
    assert sidecar["sharpened"] is True
    assert sidecar["volumes_ml"]["total intracranial"] == pytest.approx(counted, rel=0.15)
    assert predict(scan, "-o", out, "--model", model) == 1
    assert predict(scan, "-o", out, "--model", bright_model, "--sharpen") == 2
    assert "expected --sharpen with a model for parcellation" in " ".join(capsys.readouterr().err.split())
