"""The Python API, as `strokelabel` offers it to those who write scripts and notebooks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import strokelabel
from strokelabel.errors import DimensionError, LabelMapError
from support.bright_network import centred_affine, phantom, rotation

SHAPE = (30, 24, 20)
AFFINE = centred_affine(rotation((8, 0, -12)) @ np.diag([-2.4, 3.0, 3.5]), SHAPE)


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    image, lesion = phantom(SHAPE, AFFINE, (6.0, -9.0, 3.0), radius_mm=10)
    nib.save(nib.Nifti1Image(image.data, AFFINE), tmp_path / "scan.nii.gz")
    nib.save(nib.Nifti1Image(lesion.astype(np.uint8), AFFINE), tmp_path / "truth.nii.gz")
    return tmp_path / "scan.nii.gz"


def test_a_path_an_image_and_one_of_nibabel_are_the_same_scan(scan: Path, bright_model: Path) -> None:
    model = strokelabel.load_model(bright_model, device="cpu")
    kinds = (scan, str(scan), strokelabel.read_image(scan), nib.load(scan))
    volumes = [strokelabel.predict(kind, model).volume_ml for kind in kinds]
    assert volumes == [pytest.approx(4 / 3 * np.pi, rel=0.2)] * 4
    assert len(set(volumes)) == 1


def test_a_mask_is_written_on_the_grid_of_its_scan_and_scored(scan: Path, bright_model: Path) -> None:
    found = strokelabel.predict(scan, bright_model, device="cpu")
    mask = scan.with_name("mask.nii.gz")
    strokelabel.write_mask(mask, found, scan)
    assert np.array_equal(nib.load(mask).affine, nib.load(scan).affine)
    truth = scan.with_name("truth.nii.gz")
    of_file = strokelabel.evaluate(mask, truth)
    assert of_file.dice > 0.8
    assert strokelabel.evaluate(found, truth, scan=scan) == of_file
    assert strokelabel.evaluate(nib.load(mask), nib.load(truth)) == of_file


def test_what_cannot_be_scored_is_refused(scan: Path, bright_model: Path) -> None:
    found = strokelabel.predict(scan, bright_model, device="cpu")
    with pytest.raises(DimensionError, match="give `scan`"):
        strokelabel.evaluate(found, scan.with_name("truth.nii.gz"))
    half = nib.Nifti1Image(np.full(SHAPE, 0.5, np.float32), AFFINE)
    with pytest.raises(LabelMapError, match="whole numbers"):
        strokelabel.evaluate(half, scan.with_name("truth.nii.gz"))
    with pytest.raises(DimensionError, match="three-dimensional"):
        strokelabel.predict(nib.Nifti1Image(np.zeros((*SHAPE, 2), np.float32), AFFINE), bright_model)


def test_importing_the_package_takes_no_torch_and_names_what_it_offers() -> None:
    code = "import sys, strokelabel; print('torch' in sys.modules, 'predict' in dir(strokelabel))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
    assert all(hasattr(strokelabel, name) for name in strokelabel.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'predikt'"):
        _ = strokelabel.predikt
