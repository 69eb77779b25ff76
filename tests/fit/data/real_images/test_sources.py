"""Which files real images are prepared from: never those for validation, never a stroke that nobody knows of."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from strokelabel.errors import DataError
from strokelabel.fit.data.real_images.sources import find_scans, find_slices
from support.slice_data import write_slices


def write_scan(path: Path, *, shift_mm: float = 0.0) -> Path:
    affine = np.diag([2.0, 1.0, 3.0, 1.0])
    affine[0, 3] = shift_mm
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(np.ones((3, 4, 5), np.float32), affine).to_filename(path)
    return path


def test_slices_that_are_kept_apart_are_left_out_and_noted(tmp_path: Path) -> None:
    kept = write_slices(tmp_path, "axial")
    other = write_slices(tmp_path, "axial", name="cohort-validation")
    found = find_slices([tmp_path])
    assert found.slices == (kept,)
    assert list(found.skipped) == [str(other)]


def test_a_folder_that_is_kept_apart_is_refused_even_if_it_is_named_itself(tmp_path: Path) -> None:
    write_scan(tmp_path / "Validation" / "sub-1_T1w.nii.gz")
    kept = write_scan(tmp_path / "lesion-free" / "sub-2_T1w.nii.gz")
    found = find_scans([tmp_path])
    assert [scan.image for scan in found.scans] == [kept]
    assert len(found.skipped) == 1
    for path in (tmp_path / "Validation", tmp_path / "Validation" / "sub-1_T1w.nii.gz"):
        with pytest.raises(DataError, match="found 1 whose names say that they are for validation"):
            find_scans([path])


def test_masks_are_found_beside_their_scans_and_label_maps_are_no_scans(tmp_path: Path) -> None:
    for name in ("acute_dwi", "acute_adc", "sub-1_T1w", "sub-1_dseg"):
        write_scan(tmp_path / f"{name}.nii.gz")
    mask = write_scan(tmp_path / "acute_lesion.nii.gz")
    found = find_scans([tmp_path])
    assert [(scan.name, scan.mask) for scan in found.scans] == [
        ("acute_adc", mask),
        ("acute_dwi", mask),
        ("sub-1_T1w", None),
    ]
    assert find_scans([tmp_path / "acute_dwi.nii.gz"]).scans[0].mask == mask


def test_a_mask_of_no_scan_is_an_error_since_one_of_them_may_show_a_stroke(tmp_path: Path) -> None:
    write_scan(tmp_path / "acute_dwi.nii.gz")
    write_scan(tmp_path / "acute_lesion.nii.gz", shift_mm=5.0)
    with pytest.raises(DataError, match=r"acute_lesion.nii.gz: expected lesion masks that belong to a scan"):
        find_scans([tmp_path])


def test_nothing_there_and_two_of_one_name_are_errors(tmp_path: Path) -> None:
    for find in (find_slices, find_scans):
        with pytest.raises(DataError, match="nowhere: expected"):
            find([tmp_path / "nowhere"])
    for folder in ("a", "b"):
        write_scan(tmp_path / folder / "sub-1_T1w.nii.gz")
    with pytest.raises(DataError, match="would both be named 'sub-1_T1w'"):
        find_scans([tmp_path])
