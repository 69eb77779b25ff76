"""One scan, many formats: the same array and the same place in space from each of them, in every orientation."""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest

from strokelabel.errors import HeaderError, ImageError, LabelMapError, UnreadableImageError
from strokelabel.io import read_image, read_label_image, write_nifti
from strokelabel.io.images import read_image_header
from strokelabel.io.volumes import files_of, read_grid, scan_content
from support.dicom_writer import write_series
from support.image_formats import WRITERS, rigid_affine, write_itk
from support.label_data import write_segmentation
from support.turned_grids import ORIENTATION_IDS, ORIENTATIONS, reordered

FLOAT32 = 1e-5  # mm; most headers hold single precision


@pytest.mark.parametrize("turn", ORIENTATIONS, ids=ORIENTATION_IDS)
def test_every_format_gives_the_same_array_and_affine_in_all_48_orientations(tmp_path, scan, turn):
    data, affine = reordered(scan, rigid_affine(), turn)
    for suffix, write in WRITERS.items():
        image = read_image(write(tmp_path / f"scan{suffix}", data, affine))
        np.testing.assert_array_equal(image.data, data, err_msg=suffix)
        np.testing.assert_allclose(image.affine, affine, atol=FLOAT32, err_msg=suffix)
        assert image.notes == () and image.data.dtype == np.float32 and image.affine.dtype == np.float64


def test_a_dicom_series_gives_the_same_array_and_affine(tmp_path, scan):
    data = scan - scan % 2
    affine = rigid_affine()
    if (
        np.linalg.det(affine) * np.linalg.det(np.diag([-1, -1, 1])) < 0
    ):  # slices in the direction of their normal
        affine[:3, 2] *= -1
    write_series(tmp_path / "series", data, affine)
    image = read_image(tmp_path / "series")
    np.testing.assert_array_equal(image.data, data)
    np.testing.assert_allclose(image.affine, affine, atol=1e-4)


TYPES = ["u1", "i2", "i4", "f4", "u2", "f8"]


@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [(suffix, dtype) for suffix in WRITERS for dtype in (TYPES[:4] if suffix.startswith(".mg") else TYPES)],
)
def test_types_of_voxels_are_read_and_compression_makes_no_difference(tmp_path, scan, suffix, dtype):
    data = (scan % 200).astype(dtype)
    image = read_image(WRITERS[suffix](tmp_path / f"SCAN{suffix}", data, rigid_affine()))
    np.testing.assert_array_equal(image.data, data)
    if suffix in (".mha", ".mhd", ".nrrd", ".nhdr"):
        path = write_itk(tmp_path / f"raw{suffix}", data, rigid_affine(), compressed=False)
        np.testing.assert_array_equal(read_image(path).data, data)


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_result_lies_on_the_grid_of_the_scan(tmp_path, scan, suffix):
    image = read_image(WRITERS[suffix](tmp_path / f"scan{suffix}", scan, rigid_affine()))
    write_nifti(tmp_path / "mask.nii.gz", image.data > 600, image, np.uint8)
    mask = nib.load(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(np.asarray(mask.dataobj), scan > 600)
    np.testing.assert_allclose(mask.affine, rigid_affine(), atol=1e-4)
    assert mask.header["magic"] == b"n+1" and mask.header["sform_code"] > 0


@pytest.mark.parametrize("suffix", WRITERS)
def test_masks_are_read_as_whole_numbers_or_refused(tmp_path, scan, suffix):
    write = WRITERS[suffix]
    mask = (scan > 600).astype(np.uint8)
    labels = read_label_image(write(tmp_path / f"mask{suffix}", mask, rigid_affine()))
    assert labels.data.dtype == np.int32
    np.testing.assert_array_equal(labels.data, mask)
    half = write(tmp_path / f"half{suffix}", mask.astype(np.float32) / 2, rigid_affine())
    with pytest.raises(LabelMapError, match=r"whole numbers, found values such as 0\.5"):
        read_label_image(half)


@pytest.mark.parametrize("suffix", WRITERS)
def test_the_grid_is_known_from_the_header_alone(tmp_path, scan, suffix):
    path = WRITERS[suffix](tmp_path / f"scan{suffix}", scan, rigid_affine())
    grid, image = read_grid(path), read_image_header(path)
    assert grid.shape == scan.shape == image.data.shape and not image.data.any()
    np.testing.assert_allclose(grid.affine, rigid_affine(), atol=FLOAT32)
    np.testing.assert_array_equal(image.affine, grid.affine)


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("content", [b"", b"text of no format", b"<html>login</html>", bytes(range(256)) * 9])
def test_a_file_of_another_content_is_refused_with_what_it_is(tmp_path, suffix, content):
    path = tmp_path / f"scan{suffix}"
    path.write_bytes(content)
    for half in (".hdr", ".img"):
        path.with_suffix(half).write_bytes(content)
    with pytest.raises(ImageError, match=r"expected .* found|reading failed") as error:
        read_image(path)
    assert str(path.parent) in str(error.value) and "\n" not in str(error.value)
    if content.startswith(b"<html"):
        assert "a web page" in str(error.value)


@pytest.mark.parametrize("suffix", [*WRITERS])
def test_a_file_that_ends_too_early_is_refused(tmp_path, scan, suffix):
    path = WRITERS[suffix](tmp_path / f"scan{suffix}", scan, rigid_affine())
    voxels = files_of(path)[-1]
    content = voxels.read_bytes()
    for part in (0.3, 0.6, 0.95):
        voxels.write_bytes(content[: int(len(content) * part)])
        with pytest.raises(ImageError, match="expected"):
            read_image(path)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".mgh", ".img", ".nhdr"])
def test_every_random_corruption_gives_an_image_or_a_clear_error(tmp_path, scan, rng, suffix):
    path = WRITERS[suffix](tmp_path / f"scan{suffix}", scan, rigid_affine())
    header = files_of(path)[0]
    original = header.read_bytes()
    for _ in range(300):
        raw = bytearray(original)
        start = int(rng.integers(0, min(len(raw), 500)))
        raw[start : start + 3] = rng.integers(0, 256, 3, np.uint8).tobytes()
        header.write_bytes(raw)
        try:
            read_image(path)
        except ImageError as error:
            assert str(tmp_path) in str(error)


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd", ".hdr", ".img"])
def test_a_scan_in_two_files_is_both_of_them(tmp_path, scan, suffix):
    path = WRITERS[suffix](tmp_path / f"scan{suffix}", scan, rigid_affine())
    header, voxels = files_of(path)
    assert header != voxels and path in (header, voxels) and header.parent == voxels.parent
    before = scan_content(path)
    WRITERS[suffix](tmp_path / f"scan{suffix}", scan + 1, rigid_affine())
    assert len(before) == 64 and scan_content(path) not in ("", before)
    (header if path == voxels else voxels).unlink()
    with pytest.raises(UnreadableImageError, match="found no"):
        read_image(path)
    assert scan_content(path) == ""


def test_a_segmentation_of_3d_slicer_is_a_mask(tmp_path, scan):
    path = write_segmentation(tmp_path / "x.seg.nrrd", {"lesion": scan > 600}, rigid_affine())
    np.testing.assert_array_equal(read_label_image(path).data, scan > 600)


def test_analyze_headers_are_refused_since_they_do_not_say_which_side_is_left(tmp_path, scan):
    nib.save(nib.AnalyzeImage(scan, np.diag([-1, 1, 1, 1])), tmp_path / "old.img")
    for name in ("old.img", "old.hdr"):
        with pytest.raises(HeaderError, match=r"Analyze 7\.5, which does not say which side is left"):
            read_image(tmp_path / name)


def test_a_pair_may_be_compressed_and_spelt_in_capitals(tmp_path, scan):
    nib.save(nib.Nifti1Pair(scan, rigid_affine()), tmp_path / "scan.img.gz")
    for name in ("scan.img.gz", "scan.hdr.gz"):
        np.testing.assert_array_equal(read_image(tmp_path / name).data, scan)
    nib.save(nib.Nifti1Pair(scan, rigid_affine()), tmp_path / "b.img")
    for name in ("b.hdr", "b.img"):
        (tmp_path / name).rename(tmp_path / name.upper())
    np.testing.assert_array_equal(read_image(tmp_path / "B.HDR").data, scan)


def test_a_scaled_pair_is_read_with_its_scale(tmp_path, scan):
    image = nib.Nifti1Pair(scan, rigid_affine())
    image.header.set_slope_inter(0.25, -10)
    nib.save(image, tmp_path / "scaled.img")
    expected = nib.load(tmp_path / "scaled.img").get_fdata()
    np.testing.assert_allclose(read_image(tmp_path / "scaled.hdr").data, expected, rtol=1e-6)


def test_freesurfer_files_that_do_not_say_how_they_lie_are_refused(tmp_path, scan):
    path = WRITERS[".mgh"](tmp_path / "scan.mgh", scan, rigid_affine())
    content = bytearray(path.read_bytes())
    content[28:30] = bytes(2)  # goodRASFlag
    path.write_bytes(content)
    with pytest.raises(HeaderError, match="goodRASFlag"):
        read_image(path)


def test_freesurfer_files_of_several_frames_are_refused(tmp_path, scan):
    nib.save(nib.MGHImage(np.stack([scan, scan], -1), rigid_affine()), tmp_path / "frames.mgz")
    with pytest.raises(ImageError, match="expected one 3-D volume"):
        read_image(tmp_path / "frames.mgz")


def test_what_follows_the_voxels_of_a_freesurfer_file_is_left_alone(tmp_path, scan):
    path = WRITERS[".mgh"](tmp_path / "scan.mgh", scan, rigid_affine())
    path.write_bytes(path.read_bytes() + bytes(scan.nbytes))
    np.testing.assert_array_equal(read_image(path).data, scan)


def test_a_freesurfer_file_that_unpacks_to_far_more_is_not_unpacked_to_its_end(tmp_path, scan):
    path = WRITERS[".mgh"](tmp_path / "scan.mgh", scan, rigid_affine())
    packed = gzip.compress(path.read_bytes() + bytes(200_000_000), 1)
    (tmp_path / "bomb.mgz").write_bytes(packed[: len(packed) * 9 // 10])  # its end is never reached
    np.testing.assert_array_equal(read_image(tmp_path / "bomb.mgz").data, scan)
