"""Files without nibabel, and voxels put back in order, held against nibabel for all 48 orientations."""

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from StrokeLabelLib.errors import FileFormatError, GeometryError
from StrokeLabelLib.nifti import NiftiFiles, decode_nifti, encode_nifti
from StrokeLabelLib.volume import Grid, Volume, onto_grid

from support.bright_network import centred_affine, rotation

SHAPE = (5, 7, 4)
ORIENTATIONS = [
    np.column_stack([order, signs])
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]
IDS = ["".join(nib.orientations.ornt2axcodes(o)) for o in ORIENTATIONS]


def oblique_image(orientation: np.ndarray, dtype: str = "int16") -> nib.Nifti1Image:
    """An oblique image with voxels of 1.1 x 1.7 x 3.2 mm, stored in an orientation."""
    data = np.random.default_rng(5).integers(0, 200, SHAPE).astype(dtype)
    affine = centred_affine(rotation((9, -13, 21)) @ np.diag([1.1, 1.7, 3.2]), SHAPE)
    return nib.Nifti1Image(data, affine).as_reoriented(orientation)


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=IDS)
def test_what_nibabel_writes_is_read_alike_and_the_other_way_round(orientation: np.ndarray) -> None:
    image = oblique_image(orientation)
    ours = decode_nifti(image.to_bytes(), "scan")
    assert np.array_equal(ours.data, image.dataobj) and np.allclose(ours.affine, image.affine, atol=1e-5)
    back = nib.Nifti1Image.from_bytes(encode_nifti(ours, compress=False))
    assert np.array_equal(back.dataobj, image.dataobj) and back.get_data_dtype() == np.int16
    for affine, code in (back.get_sform(coded=True), back.get_qform(coded=True)):
        assert code == 1 and np.allclose(affine, image.affine, atol=1e-4)


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=IDS)
def test_voxels_are_put_back_in_the_scans_order(orientation: np.ndarray) -> None:
    plain, stored = oblique_image(ORIENTATIONS[0]), oblique_image(orientation)
    grid = Grid(SHAPE, plain.affine)
    back = onto_grid(Volume(np.asarray(stored.dataobj), stored.affine), grid)
    assert np.array_equal(back.data, plain.dataobj) and back.affine is grid.affine
    assert back.grid.same_as(grid)


@pytest.mark.parametrize("orientation", ORIENTATIONS[::5], ids=IDS[::5])
def test_a_cropped_mask_is_put_in_its_place_and_what_is_outside_is_left_out(orientation: np.ndarray) -> None:
    plain, stored = oblique_image(ORIENTATIONS[0]), oblique_image(orientation)
    cropped = stored.slicer[1:3, 1:, 2:]
    back = onto_grid(Volume(np.asarray(cropped.dataobj), cropped.affine), Grid(SHAPE, plain.affine))
    inside = back.data != 0
    assert np.array_equal(back.data[inside], np.asarray(plain.dataobj)[inside])
    assert np.count_nonzero(back.data) == np.count_nonzero(cropped.dataobj)
    small = plain.slicer[2:4, 1:6, 1:]
    clipped = onto_grid(Volume(np.asarray(stored.dataobj), stored.affine), Grid(small.shape, small.affine))
    assert np.array_equal(clipped.data, small.dataobj)


def turned(affine: np.ndarray) -> np.ndarray:
    return np.vstack([rotation((0, 0, 4)) @ affine[:3], affine[3:]])


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a + np.eye(4)[:, [3, 0, 1, 2]] * [0, 0, 0, 0.6],
        lambda a: a @ np.diag([1.1, 1, 1, 1]),
        lambda a: a @ np.diag([2.0, 1, 1, 1]),
        turned,
    ],
    ids=["half a voxel away", "other spacing", "twice the spacing", "turned"],
)
def test_a_mask_between_the_voxels_is_refused(change) -> None:
    image = oblique_image(ORIENTATIONS[7])
    grid = Grid(image.shape, image.affine)
    with pytest.raises(GeometryError, match="does not lie on the scan's voxels"):
        onto_grid(Volume(np.asarray(image.dataobj), change(image.affine)), grid)


def test_points_and_voxels_are_inverse_and_points_outside_are_refused() -> None:
    grid = Grid(SHAPE, oblique_image(ORIENTATIONS[9]).affine)
    assert grid.to_voxel(grid.to_mm((4, 2, 3))) == (4, 2, 3)
    assert grid.voxel_ml == pytest.approx(1.1 * 1.7 * 3.2 / 1000)
    with pytest.raises(GeometryError, match="outside the scan"):
        grid.to_voxel(grid.to_mm((5, 2, 3)))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint16", "int32", "uint32", "float32"])
def test_types_survive(dtype: str) -> None:
    image = oblique_image(ORIENTATIONS[3], dtype)
    read = decode_nifti(image.to_bytes(), "scan")
    assert read.data.dtype == dtype
    assert np.array_equal(decode_nifti(encode_nifti(read), "again").data, image.dataobj)


def test_scaled_voxels_are_scaled_and_double_precision_becomes_single() -> None:
    image = oblique_image(ORIENTATIONS[3], "float64")
    assert decode_nifti(image.to_bytes(), "scan").data.dtype == np.float32
    image = oblique_image(ORIENTATIONS[3])
    image.header.set_slope_inter(0.5, -3)
    scaled = nib.Nifti1Image.from_bytes(image.to_bytes())
    expected = scaled.get_fdata(dtype=np.float32)
    assert np.allclose(decode_nifti(image.to_bytes(), "scan").data, expected)


@pytest.mark.parametrize(("sform", "qform"), [(0, 1), (2, 1), (0, 0), (1, 0)])
def test_the_place_is_the_one_that_nibabel_takes(sform: int, qform: int) -> None:
    image = oblique_image(ORIENTATIONS[11])
    moved = image.affine.copy()
    moved[:3, 3] += 5
    image.set_qform(moved, qform)
    image.set_sform(image.affine, sform)
    content = image.to_bytes()
    expected = nib.Nifti1Image.from_bytes(content).affine
    assert np.allclose(decode_nifti(content, "scan").affine, expected, atol=1e-4)


def test_big_endian_files_and_trailing_axes_of_one_are_read() -> None:
    image = oblique_image(ORIENTATIONS[2])
    big = nib.Nifti1Image(image.dataobj, image.affine, nib.Nifti1Header(endianness=">"))
    assert np.array_equal(decode_nifti(big.to_bytes(), "scan").data, image.dataobj)
    longer = nib.Nifti1Image(np.asarray(image.dataobj)[..., None], image.affine)
    assert decode_nifti(longer.to_bytes(), "scan").data.shape == image.shape


def test_sheared_axes_are_kept_in_the_sform_alone() -> None:
    affine = oblique_image(ORIENTATIONS[4]).affine.copy()
    affine[0, 1] += 0.4
    back = nib.Nifti1Image.from_bytes(encode_nifti(Volume(np.zeros(SHAPE, np.uint8), affine), compress=False))
    assert np.allclose(back.affine, affine, atol=1e-5) and back.get_qform(coded=True)[1] == 0


def bad_files() -> dict[str, tuple[bytes, str]]:
    image = oblique_image(ORIENTATIONS[0])
    content = image.to_bytes()
    four = nib.Nifti1Image(np.zeros((3, 4, 5, 2), np.uint8), np.eye(4)).to_bytes()
    rgb = np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    return {
        "empty": (b"", "something else"),
        "text": (b"no image" * 100, "something else"),
        "cut off": (content[:-20], "ends before them"),
        "damaged gzip": (encode_nifti(decode_nifti(content, "x"))[:200], "damaged"),
        "4-D": (four, "one 3-D volume, found 3 x 4 x 5 x 2"),
        "2-D": (nib.Nifti1Image(np.zeros((3, 4), np.uint8), np.eye(4)).to_bytes(), "one 3-D volume"),
        "colour": (nib.Nifti1Image(rgb, np.eye(4)).to_bytes(), "scalar voxels"),
        "complex": (nib.Nifti1Image(np.zeros(SHAPE, np.complex64), np.eye(4)).to_bytes(), "scalar voxels"),
        "flat": (content[:280] + b"\0" * 48 + content[328:], "a singular affine"),
    }


@pytest.mark.parametrize("kind", list(bad_files()))
def test_what_is_no_image_is_refused_in_a_sentence(kind: str) -> None:
    content, words = bad_files()[kind]
    with pytest.raises(FileFormatError, match=words) as refused:
        decode_nifti(content, "scan 7")
    assert str(refused.value).startswith("scan 7: expected")


def test_files_are_written_wholly_or_not_at_all(tmp_path: Path) -> None:
    volume = decode_nifti(oblique_image(ORIENTATIONS[6]).to_bytes(), "scan")
    for name in ("a.nii.gz", "b.nii", "new folder/c.nii.gz"):
        NiftiFiles().write(tmp_path / name, volume)
        assert np.array_equal(NiftiFiles().read(tmp_path / name).data, volume.data)
    with pytest.raises(FileFormatError, match=r"ends in \.nii"):
        NiftiFiles().write(tmp_path / "d.png", volume)
    with pytest.raises(FileFormatError, match="could not be written"):
        NiftiFiles().write(tmp_path / "a.nii.gz" / "e.nii", volume)
    with pytest.raises(FileFormatError, match="cannot be read"):
        NiftiFiles().read(tmp_path / "missing.nii")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nii.gz", "b.nii", "new folder"]
