"""Real slices: read as documented, and stored at three quarters of their size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from strokelabel.errors import DataError
from strokelabel.fit.data.real_images.slices import load_slices, prepare_slices
from support.slice_data import SHAPES, write_slices


@pytest.mark.parametrize("view", SHAPES)
def test_slices_shrink_to_three_quarters_with_their_lesion_in_place(view: str, tmp_path: Path) -> None:
    prepare_slices(write_slices(tmp_path, view), tmp_path / "out.npz")

    stored = load_slices(tmp_path / "out.npz")

    assert stored.view == view
    assert tuple(stored.image.shape[1:]) == tuple(round(0.75 * side) for side in SHAPES[view])
    rows, columns = np.nonzero(stored.lesion[0].numpy())
    assert (rows.min(), rows.max()) == (75, 89)
    assert (columns.min(), columns.max()) == (30, 53)
    assert (stored.image[0][stored.lesion[0]] > 200).float().mean() > 0.8
    np.testing.assert_allclose(stored.lesion_mm2, 20 * 32, rtol=0.01)


def test_air_is_zero_and_the_subjects_stay(tmp_path: Path) -> None:
    prepare_slices(write_slices(tmp_path, "axial", count=3), tmp_path / "out.npz")
    stored = load_slices(tmp_path / "out.npz")
    assert stored.image[:, 0, 0].tolist() == [0, 0, 0]
    assert stored.subject.tolist() == [0, 1, 2]


def test_slices_of_the_same_source_are_not_made_again(tmp_path: Path) -> None:
    source, target = write_slices(tmp_path, "coronal"), tmp_path / "out.npz"
    prepare_slices(source, target)
    first = target.stat().st_mtime_ns
    prepare_slices(source, target)
    assert target.stat().st_mtime_ns == first
    write_slices(tmp_path, "coronal", count=4)
    prepare_slices(source, target)
    assert len(load_slices(target)) == 4


def test_a_view_that_nobody_knows_and_damaged_files_are_named(tmp_path: Path) -> None:
    oblique = write_slices(tmp_path, "axial").rename(tmp_path / "cohort_oblique.npz")
    with pytest.raises(DataError, match="expected one of the views axial, coronal, sagittal"):
        prepare_slices(oblique, tmp_path / "out.npz")
    (tmp_path / "cohort_axial.npz").write_bytes(b"nothing")
    with pytest.raises(DataError, match="expected slices"):
        prepare_slices(tmp_path / "cohort_axial.npz", tmp_path / "out.npz")
    np.savez(
        tmp_path / "wide_axial.npz",
        subject=[1],
        image=np.zeros((1, 4, 9), np.uint8),
        lesion=np.zeros((1, 4, 1)),
    )
    with pytest.raises(DataError, match=r"found uint8 \(1, 4, 9\), \(1, 4, 1\) and \(1,\)"):
        prepare_slices(tmp_path / "wide_axial.npz", tmp_path / "out.npz")
    assert not (tmp_path / "out.npz").exists()
    with pytest.raises(DataError, match="run `strokelabel prepare` again"):
        load_slices(tmp_path / "out.npz")
