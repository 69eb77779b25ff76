"""Files of two-dimensional scans with lesion masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from strokelabel.errors import DataError
from strokelabel.io.slice_files import read_slices


def write(path: Path, **changes: np.ndarray) -> Path:
    image = np.arange(3 * 5 * 11, dtype=np.uint8).reshape(3, 5, 11)
    content = {"subject": np.array([4, 7, 9]), "image": image, "lesion": np.packbits(image > 90, axis=-1)}
    np.savez_compressed(path, **(content | changes))
    return path


def test_masks_are_unpacked_to_the_width_of_the_images(tmp_path: Path) -> None:
    slices = read_slices(write(tmp_path / "some_sagittal.npz"))
    assert slices.view == "sagittal" and len(slices) == 3
    assert slices.subject.tolist() == [4, 7, 9]
    np.testing.assert_array_equal(slices.lesion, slices.image > 90)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("slices.npz", {}, "as the end of its name"),
        ("x_axial.npz", {"image": np.zeros((3, 5, 11), np.float32)}, "float32"),
        ("x_axial.npz", {"lesion": np.zeros((3, 5, 11), np.uint8)}, r"packed bits"),
        ("x_axial.npz", {"subject": np.zeros(2)}, "subjects"),
    ],
)
def test_what_is_no_file_of_slices_is_refused(
    name: str, changes: dict[str, np.ndarray], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        read_slices(write(tmp_path / name, **changes))


def test_a_damaged_or_missing_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x_axial.npz").write_bytes(b"nothing")
    for name in ("x_axial.npz", "y_axial.npz"):
        with pytest.raises(DataError, match="could not be read"):
            read_slices(tmp_path / name)
