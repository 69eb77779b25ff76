"""Label maps come out as table indices on a canonical 1 mm grid, or are refused."""

import nibabel as nib
import numpy as np
import pytest

from strokelabel.errors import LabelMapError
from strokelabel.labels import AnatomicalLabel, LabelTable, default_label_table
from strokelabel.synthesis.prepared.source_files import read_label_map
from support.label_phantoms import rigid, write

TABLE = default_label_table()


def center_mm(mask, affine):
    return affine[:3, :3] @ np.argwhere(mask).mean(axis=0) + affine[:3, 3]


@pytest.mark.parametrize("order", ["RAS", "LPS", "SLA", "AIR"])
def test_labels_keep_their_place_in_any_axis_order(tmp_path, order):
    volume = np.zeros((20, 26, 31), dtype=np.int32)
    volume[3:8, 5:9, 20:30] = 42
    ras = nib.Nifti1Image(volume, rigid((4, -6, 3), (5, -20, 30)))
    turned = ras.as_reoriented(
        nib.orientations.ornt_transform(nib.io_orientation(ras.affine), nib.orientations.axcodes2ornt(order))
    )
    path = write(tmp_path / "head.nii.gz", np.asarray(turned.dataobj), turned.affine)

    labels, affine = read_label_map(path, TABLE)

    assert nib.aff2axcodes(affine) == ("R", "A", "S")
    assert np.array_equal(labels == TABLE.index(42), volume == 42)
    assert np.allclose(affine, ras.affine, atol=1e-5)


def test_other_voxel_sizes_are_resampled_to_one_millimetre_in_place(tmp_path):
    affine = rigid((3, 5, -8), (10, 20, -30)) @ np.diag([2.0, 0.8, 3.0, 1.0])
    volume = np.zeros((24, 50, 18), dtype=np.uint8)
    volume[6:16, 15:40, 4:12] = 10
    path = write(tmp_path / "thick.nii.gz", volume, affine)

    labels, resampled = read_label_map(path, TABLE)

    inside = labels == TABLE.index(10)
    assert np.allclose(np.linalg.norm(resampled[:3, :3], axis=0), 1.0)
    assert np.allclose(center_mm(inside, resampled), center_mm(volume == 10, affine), atol=0.3)
    assert inside.sum() == pytest.approx((volume == 10).sum() * 4.8, rel=0.05)


def test_whole_numbers_stored_as_floats_are_labels(tmp_path):
    volume = np.array([0, 2, 530, 0, 0, 41, 0, 0], dtype=np.float32).reshape(2, 2, 2)
    labels, _ = read_label_map(write(tmp_path / "float.nii", volume, np.eye(4)), TABLE)
    assert [TABLE.labels[i].id for i in labels.ravel()] == [0, 2, 530, 0, 0, 41, 0, 0]


@pytest.mark.parametrize("value", [999, -3])
def test_unknown_labels_are_named(tmp_path, value):
    volume = np.full((3, 4, 5), value, dtype=np.int16)
    with pytest.raises(LabelMapError, match=str(value)):
        read_label_map(write(tmp_path / "odd.nii.gz", volume, np.eye(4)), TABLE)


def test_fractions_are_no_labels(tmp_path):
    volume = np.full((3, 4, 5), 2.5, dtype=np.float32)
    with pytest.raises(LabelMapError, match=r"2\.5"):
        read_label_map(write(tmp_path / "soft.nii.gz", volume, np.eye(4)), TABLE)


def test_a_table_too_long_for_one_byte_is_refused(tmp_path):
    rows = tuple(AnatomicalLabel(i, f"label {i}", "midline", "soft", i) for i in range(257))
    path = write(tmp_path / "head.nii.gz", np.zeros((3, 4, 5), np.uint8), np.eye(4))
    with pytest.raises(LabelMapError, match="at most 256"):
        read_label_map(path, LabelTable(rows))
