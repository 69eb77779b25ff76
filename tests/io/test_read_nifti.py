import gzip
import logging
import struct

import nibabel as nib
import numpy as np
import pytest

from strokelabel.errors import (
    ConstantImageError,
    DimensionError,
    EmptyImageError,
    HeaderError,
    ImageError,
    LabelMapError,
    NonFiniteImageError,
    UnreadableImageError,
)
from strokelabel.io import check_volume, read_image, read_label_image, write_nifti

AFFINE = np.array([[-0.9, 0, 0, 31.5], [0, 0.5, -3.6, 12.25], [0, 1.2, 1.5, -40], [0, 0, 0, 1]])
LABELS_BEYOND_FLOAT32 = 2**24 + 1


def patch_header(path, name, values):
    """Overwrite one header field of an uncompressed NIfTI-1 file as it stands."""
    header = nib.Nifti1Header()
    field = header.template_dtype.fields[name]
    content = np.asarray(values, dtype=field[0].base).tobytes()
    raw = bytearray(path.read_bytes())
    raw[field[1] : field[1] + len(content)] = content
    path.write_bytes(raw)


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "SCAN.NII.GZ"])
@pytest.mark.parametrize("image_type", [nib.Nifti1Image, nib.Nifti2Image])
def test_values_and_affine_are_read_as_they_are(write_scan, scan, name, image_type):
    image = read_image(write_scan(name=name, image_type=image_type))
    assert image.data.dtype == np.float32
    np.testing.assert_array_equal(image.data, scan)
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-6)
    assert image.affine.dtype == np.float64
    assert image.grid.shape == scan.shape
    assert image.notes == ()
    assert image.source.endswith(name)


@pytest.mark.parametrize(
    "dtype", [np.uint8, np.int8, np.uint16, np.int32, np.float32, np.float64, ">i2", ">f4"]
)
def test_every_real_voxel_type_is_read(write_scan, scan, dtype):
    data = (scan % 100).astype(dtype)
    np.testing.assert_array_equal(read_image(write_scan(data)).data, data)


def test_scaled_integers_are_read_with_their_scale(write_scan, scan, tmp_path):
    image = nib.Nifti1Image(scan, AFFINE)
    image.header.set_slope_inter(0.25, -10)
    nib.save(image, tmp_path / "scaled.nii.gz")
    read = read_image(tmp_path / "scaled.nii.gz")
    np.testing.assert_allclose(read.data, nib.load(tmp_path / "scaled.nii.gz").get_fdata(), rtol=1e-6)


def test_a_file_may_be_overwritten_after_reading(write_scan, scan):
    path = write_scan(scan.astype(np.float32), name="scan.nii")
    image = read_image(path)
    path.write_bytes(b"")
    np.testing.assert_array_equal(image.data, scan)


@pytest.mark.parametrize("extra", [(1,), (1, 1), (1, 1, 1)])
def test_trailing_axes_of_one_are_dropped(write_scan, scan, extra):
    image = read_image(write_scan(scan.reshape(*scan.shape, *extra)))
    np.testing.assert_array_equal(image.data, scan)


@pytest.mark.parametrize("shape", [(9, 12), (9, 12, 1), (9, 1, 7), (9, 12, 1, 1)])
def test_a_single_slice_is_refused(write_scan, rng, shape):
    with pytest.raises(DimensionError, match="single slice"):
        read_image(write_scan(rng.random(shape).astype(np.float32)))


@pytest.mark.parametrize("shape", [(9, 12, 7, 2), (9, 12, 7, 1, 3), (9, 12, 1, 3)])
def test_several_volumes_are_refused(write_scan, rng, shape):
    with pytest.raises(DimensionError, match="choose one volume"):
        read_image(write_scan(rng.random(shape).astype(np.float32)))


def test_colour_and_complex_voxels_are_refused(write_scan, scan):
    colour = np.zeros(scan.shape, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(DimensionError, match="colour"):
        read_image(write_scan(colour))
    with pytest.raises(DimensionError, match="complex"):
        read_image(write_scan((scan + 1j).astype(np.complex64)))


def test_an_all_zero_and_a_constant_image_are_refused(write_scan, scan):
    with pytest.raises(EmptyImageError, match="zero in every voxel"):
        read_image(write_scan(scan * 0))
    with pytest.raises(ConstantImageError, match="found 7 in every voxel"):
        read_image(write_scan(scan * 0 + 7))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_values_that_are_not_finite_are_counted_and_refused(write_scan, scan, bad):
    data = scan.astype(np.float64)
    data[3, 4, 5] = data[0, 0, 0] = bad
    with pytest.raises(NonFiniteImageError, match="found 2 of 756 voxels"):
        read_image(write_scan(data))


def test_an_image_without_voxels_is_refused(write_scan):
    path = write_scan(name="scan.nii")
    patch_header(path, "dim", [3, 9, 0, 7, 1, 1, 1, 1])
    with pytest.raises(EmptyImageError, match="expected voxels"):
        read_image(path)


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
@pytest.mark.parametrize("keep", [0, 1, 10, 200, 400, 900])
def test_a_truncated_file_is_refused(write_scan, name, keep):
    path = write_scan(name=name)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UnreadableImageError, match="copy or export it again"):
        read_image(path)


def test_a_damaged_compressed_file_is_refused(write_scan):
    path = write_scan()
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(UnreadableImageError, match="truncated, corrupt"):
        read_image(path)


def test_a_compressed_file_that_goes_on_without_end_is_refused(write_scan):
    path = write_scan(name="scan.nii")
    raw = path.read_bytes()
    path = path.with_name("scan.nii.gz")
    path.write_bytes(gzip.compress(raw + bytes(30_000_000)))
    with pytest.raises(UnreadableImageError, match="continues after"):
        read_image(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x00" * 5000, b"DICM" * 100])
def test_another_file_with_the_name_of_a_nifti_is_refused(tmp_path, content):
    plain, zipped = tmp_path / "text.nii", tmp_path / "text.nii.gz"
    plain.write_bytes(content)
    zipped.write_bytes(gzip.compress(content))
    for path in (plain, zipped):
        with pytest.raises(UnreadableImageError, match="expected a readable NIfTI"):
            read_image(path)


def test_a_name_that_contradicts_the_compression_is_explained(write_scan):
    path = write_scan(name="scan.nii")
    with pytest.raises(UnreadableImageError, match="rename it"):
        read_image(path.rename(path.with_name("scan.nii.gz")))


def test_missing_files_and_other_formats_are_explained(tmp_path):
    with pytest.raises(UnreadableImageError, match="found none; check the path"):
        read_image(tmp_path / "nothing.nii.gz")
    (tmp_path / "scan.mnc").write_bytes(b"CDF")
    with pytest.raises(UnreadableImageError, match=r"found \.mnc, .*convert it to NIfTI"):
        read_image(tmp_path / "scan.mnc")


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
@pytest.mark.parametrize("sides", [(20000, 20000, 20000), (1000, 1000, 1000), (32767, 32767, 32767)])
def test_a_header_that_announces_far_more_than_the_file_holds_is_refused_at_once(write_scan, name, sides):
    path = write_scan(name="scan.nii")
    patch_header(path, "dim", [3, *sides, 1, 1, 1, 1])
    raw = path.read_bytes()[:1000]
    path = path.with_name(name)
    path.write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
    with pytest.raises((HeaderError, UnreadableImageError), match="header"):
        read_image(path)


def test_voxels_compressed_beyond_the_size_of_any_scan_are_refused(tmp_path):
    header = nib.Nifti1Header()
    header["dim"] = [3, 1100, 1100, 1100, 1, 1, 1, 1]
    header["bitpix"], header["datatype"], header["vox_offset"] = 8, 2, 352
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(gzip.compress(header.binaryblock + bytes(4) + bytes(20_000_000)))
    with pytest.raises(HeaderError, match="at most 1,073,741,824 voxels"):
        read_image(path)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("datatype", [9999]),
        ("dim", [3, -9, 12, 7, 1, 1, 1, 1]),
        ("dim", [9, 9, 12, 7, 1, 1, 1, 1]),
        ("dim", [-1, 9, 12, 7, 1, 1, 1, 1]),
        ("vox_offset", [np.nan]),
        ("vox_offset", [-1e9]),
        ("vox_offset", [3e38]),
        ("magic", [b"xyz"]),
        ("sizeof_hdr", [999]),
    ],
)
def test_impossible_header_fields_are_refused(write_scan, field, values):
    path = write_scan(name="scan.nii")
    patch_header(path, field, values)
    with pytest.raises(ImageError):
        read_image(path)


@pytest.mark.parametrize(
    "bad", [np.zeros(4), np.full(4, np.nan), np.full(4, np.inf), np.array([0, 2.4, 3.0, 0])]
)
def test_an_affine_that_is_singular_or_not_finite_is_refused(write_scan, bad):
    path = write_scan(name="scan.nii")
    patch_header(path, "srow_y", bad)
    with pytest.raises(HeaderError, match=r"scan\.nii: Expected"):
        read_image(path)


@pytest.mark.parametrize(("factor", "found"), [(1e-3, "0.0009"), (1e3, "900 x 1300")])
def test_voxel_sizes_in_metres_or_micrometres_are_refused(write_scan, scan, factor, found):
    affine = np.diag([0.9 * factor, 1.3 * factor, 3.9 * factor, 1])
    with pytest.raises(HeaderError, match=f"{found}.*convert it to millimetres"):
        read_image(write_scan(affine=affine))


def test_a_field_of_view_of_several_metres_is_refused(write_scan):
    with pytest.raises(HeaderError, match="crop the scan to the head"):
        read_image(write_scan(affine=np.diag([1, 90.0, 2, 1])))


def test_voxel_sizes_of_zero_are_not_silently_taken_for_one_mm(write_scan):
    path = write_scan(name="scan.nii")
    patch_header(path, "sform_code", [0])
    patch_header(path, "pixdim", [1, 0.9, 0, 3.9])
    with pytest.raises(HeaderError, match="write the true sizes"):
        read_image(path)


def test_a_field_that_is_repaired_is_noted_and_not_printed(write_scan, capfd, caplog):
    path = write_scan(name="scan.nii")
    patch_header(path, "pixdim", [1, -0.9, 1.3, 3.9])
    with caplog.at_level(logging.DEBUG):
        image = read_image(path)
    assert any("header repaired: pixdim" in note for note in image.notes)
    assert capfd.readouterr().err == ""


def test_disagreeing_sform_and_qform_are_reported_with_their_distance(tmp_path, scan):
    for sform_code, expected in [(1, "as ITK and 3D Slicer do"), (2, "3D Slicer will use the qform")]:
        image = nib.Nifti1Image(scan, AFFINE)
        shifted = AFFINE.copy()
        shifted[:3, 3] += (3, 4, 0)
        image.set_sform(AFFINE, sform_code)
        image.set_qform(shifted, 1)
        nib.save(image, tmp_path / "scan.nii.gz")
        read = read_image(tmp_path / "scan.nii.gz")
        np.testing.assert_allclose(read.affine, AFFINE, atol=1e-6)
        assert len(read.notes) == 1
        assert "disagree by up to 5.0 mm" in read.notes[0]
        assert expected in read.notes[0]


def test_small_rounding_between_sform_and_qform_is_not_reported(tmp_path, scan):
    image = nib.Nifti1Image(scan, AFFINE)
    nudged = AFFINE.copy()
    nudged[0, 3] += 0.02
    image.set_sform(AFFINE, 1)
    image.set_qform(nudged, 1)
    nib.save(image, tmp_path / "scan.nii.gz")
    assert read_image(tmp_path / "scan.nii.gz").notes == ()


def test_a_scan_without_any_transform_is_read_with_a_warning_about_sides(tmp_path, scan):
    image = nib.Nifti1Image(scan, None)
    image.header.set_zooms((0.9, 1.3, 3.9))
    image.header["sform_code"] = image.header["qform_code"] = 0
    nib.save(image, tmp_path / "scan.nii.gz")
    assert "left and right included, is only assumed" in read_image(tmp_path / "scan.nii.gz").notes[0]


def with_qform(path, scan, excess=0.0, **fields):
    """Write a scan with a qform alone, whose quaternion is longer than 1 by a part, and patch fields."""
    image = nib.Nifti1Image(scan, None)
    image.set_qform(np.diag([-0.9, -1.3, 3.9, 1]), 1)
    nib.save(image, path)
    patch_header(path, "sform_code", [0])
    quaternion = [float(nib.load(path).header[f"quatern_{name}"]) for name in "bcd"]
    for name, value in zip("bcd", quaternion, strict=True):
        patch_header(path, f"quatern_{name}", [value * (1 + excess)])
    for name, values in fields.items():
        patch_header(path, name, values)
    return path


@pytest.mark.parametrize("excess", [1e-7, 1e-6, 3e-4])
def test_a_quaternion_that_is_rounded_is_repaired_with_a_note(tmp_path, scan, excess):
    image = read_image(with_qform(tmp_path / "scan.nii", scan, excess))
    np.testing.assert_allclose(image.affine[:3, :3], np.diag([-0.9, -1.3, 3.9]), atol=1e-5)
    assert len(image.notes) == (excess > 5e-7) and all("quaternion" in note for note in image.notes)


def test_a_quaternion_that_is_no_rotation_is_refused(tmp_path, scan):
    with pytest.raises(ImageError, match="w2 should be positive"):
        read_image(with_qform(tmp_path / "scan.nii", scan, 0.1))


def test_a_qform_that_does_not_tell_left_from_right_is_refused(tmp_path, scan):
    with pytest.raises(HeaderError, match=r"1 or -1 in pixdim\[0\].*found 5"):
        read_image(with_qform(tmp_path / "scan.nii", scan, pixdim=[5]))


@pytest.mark.parametrize("offset", [0, 1, 348])
@pytest.mark.parametrize("image_type", [nib.Nifti1Image, nib.Nifti2Image])
def test_voxels_that_would_begin_within_the_header_are_read_after_it(write_scan, scan, offset, image_type):
    path = write_scan(name="scan.nii", image_type=image_type)
    dtype, place, *_ = image_type.header_class.template_dtype.fields["vox_offset"]
    raw = bytearray(path.read_bytes())
    raw[place : place + dtype.itemsize] = np.array(offset, dtype).tobytes()
    path.write_bytes(raw)
    image = read_image(path)
    np.testing.assert_array_equal(image.data, scan)
    assert any("vox_offset" in note for note in image.notes)


def test_an_sform_that_is_no_transform_gives_way_to_a_valid_qform(tmp_path, scan):
    for rows in ([0, 0, 0, 0], [np.nan] * 4):
        path = with_qform(tmp_path / "scan.nii", scan, sform_code=[2], srow_x=rows)
        image = read_image(path)
        np.testing.assert_allclose(image.affine[:3, :3], np.diag([-0.9, -1.3, 3.9]), atol=1e-5)
        assert image.notes == (
            "the sform (code 2) is no transform (zero, singular or not finite): the qform is used",
        )
        write_nifti(tmp_path / "mask.nii", image.data > 600, image, np.uint8)
        np.testing.assert_allclose(nib.load(tmp_path / "mask.nii").affine, image.affine, atol=1e-5)


def test_a_transform_with_an_unknown_code_is_used_as_it_stands(tmp_path, scan):
    image = read_image(with_qform(tmp_path / "scan.nii", scan, qform_code=[9]))
    np.testing.assert_allclose(image.affine[:3, :3], np.diag([-0.9, -1.3, 3.9]), atol=1e-5)
    assert "qform_code 9 is unknown" in image.notes[0]


@pytest.mark.parametrize(("unit", "per_mm"), [("meter", 1e-3), ("micron", 1e3)])
def test_other_units_are_converted_with_a_note_and_kept_in_results(tmp_path, scan, unit, per_mm):
    affine = np.diag([0.9 * per_mm, 1.3 * per_mm, 3.9 * per_mm, 1])
    image = nib.Nifti1Image(scan, affine)
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "scan.nii.gz")
    read = read_image(tmp_path / "scan.nii.gz")
    np.testing.assert_allclose(read.grid.spacing, (0.9, 1.3, 3.9), rtol=1e-5)
    assert "sizes were converted to mm" in read.notes[0]
    write_nifti(tmp_path / "mask.nii.gz", read.data > 600, read, np.uint8)
    mask = nib.load(tmp_path / "mask.nii.gz")
    np.testing.assert_allclose(mask.affine, affine, rtol=1e-5)
    assert mask.header.get_xyzt_units()[0] == unit


def test_a_unit_that_makes_sizes_impossible_is_named_with_them(tmp_path, scan):
    image = nib.Nifti1Image(scan, np.diag([0.9, 1.3, 3.9, 1]))
    image.header.set_xyzt_units("meter")
    nib.save(image, tmp_path / "scan.nii.gz")
    with pytest.raises(HeaderError, match=r"found 900 x 1300 x 3900.*its numbers are metres \(xyzt_units\)"):
        read_image(tmp_path / "scan.nii.gz")


def test_voxel_sizes_that_contradict_the_sform_are_refused_with_both(write_scan):
    path = write_scan(name="scan.nii")
    patch_header(path, "pixdim", [1, 1.8, 1.3, 3.9])
    with pytest.raises(
        HeaderError, match=r"found 0\.9 x 1\.3 x 3\.9 in the sform and 1\.8 x 1\.3 x 3\.9 in pixdim"
    ):
        read_image(path)


def test_voxel_sizes_that_are_none_contradict_no_sform(write_scan):
    path = write_scan(name="scan.nii")
    patch_header(path, "pixdim", [1, 0, np.nan, 0])
    np.testing.assert_allclose(read_image(path).affine, AFFINE, atol=1e-6)


def test_slanted_axes_beside_a_qform_are_a_gantrys_tilt_or_refused(tmp_path, scan):
    for slanted, column in ((True, 0), (False, 2)):
        affine = np.diag([0.9, 1.3, 3.9, 1])
        affine[:3, column] += 0.4 * affine[column, column] * np.array([0, 1.0, 0])
        affine[:3, column] *= np.diag([0.9, 1.3, 3.9])[column, column] / np.linalg.norm(affine[:3, column])
        image = nib.Nifti1Image(scan, affine)
        image.set_qform(np.diag([0.9, 1.3, 3.9, 1]), 1)
        nib.save(image, tmp_path / "scan.nii")
        if slanted:
            with pytest.raises(HeaderError, match="sheared sform"):
                read_image(tmp_path / "scan.nii")
        else:
            np.testing.assert_allclose(read_image(tmp_path / "scan.nii").affine, affine, atol=1e-6)


@pytest.mark.parametrize(
    ("field", "values"), [("dim", [3, 9, 6, 7]), ("datatype", [2]), ("dim", [3, 9, 12, 6])]
)
@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_voxels_beyond_those_announced_are_refused(write_scan, field, values, name):
    path = write_scan(name="scan.nii")
    patch_header(path, field, values)
    if name.endswith("gz"):
        raw = path.read_bytes()
        path = path.with_name(name)
        path.write_bytes(gzip.compress(raw))
    with pytest.raises(
        UnreadableImageError, match=r"continues after the .* bytes that its header announces \(dim"
    ):
        read_image(path)


def test_a_few_bytes_at_the_end_are_padding(write_scan, scan):
    path = write_scan(name="scan.nii")
    path.write_bytes(path.read_bytes() + bytes(100))
    np.testing.assert_array_equal(read_image(path).data, scan)


ANALYZE = nib.AnalyzeHeader()
ANALYZE.set_data_shape((5, 4, 3))
NO_NIFTI = {
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS pointer.*git lfs pull"),
    "annex": (b"/annex/objects/MD5E-s1--0.nii.gz\n", "git-annex pointer.*datalad get"),
    "page": (b"\n <!DOCTYPE html><html>404</html>", "a web page.*download the file again"),
    "xml": (b"<?xml version='1.0'?><Error>AccessDenied</Error>", "a web page"),
    "json": (b'{"error": "not found"}', "a text file that begins with .*error"),
    "empty": (b"", "an empty file"),
    "zip": (b"PK\x03\x04" + bytes(50), "a zip archive: unpack it"),
    "xz": (b"\xfd7zXZ\0" + bytes(50), "an xz file"),
    "png": (b"\x89PNG\r\n" + bytes(50), "a PNG picture"),
    "nrrd": (b"NRRD0004\ntype: short\n", "an NRRD file: rename it to end in .nrrd"),
    "dicom": (bytes(128) + b"DICM" + bytes(100), "a DICOM file"),
    "analyze": (ANALYZE.binaryblock + bytes(600), "Analyze 7.5 header"),
}


@pytest.mark.parametrize("kind", NO_NIFTI)
@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_a_file_that_is_no_nifti_is_told_for_what_it_is(tmp_path, kind, name):
    content, found = NO_NIFTI[kind]
    (tmp_path / name).write_bytes(content)
    if (kind, name) == ("analyze", "scan.nii.gz"):
        found = "rename it to end in .nii"
    with pytest.raises(UnreadableImageError, match=found) as error:
        read_image(tmp_path / name)
    assert kind == "analyze" or "rename it to end in .nii" not in str(error.value)


def test_what_is_inside_a_compressed_file_is_told_too(tmp_path, write_scan):
    path = tmp_path / "page.nii.gz"
    path.write_bytes(gzip.compress(b"<html>login</html>"))
    with pytest.raises(UnreadableImageError, match="compressed, and inside it a web page"):
        read_image(path)
    path.write_bytes(gzip.compress(write_scan(name="twice.nii.gz").read_bytes()))
    with pytest.raises(UnreadableImageError, match="compressed file once more"):
        read_image(path)


def test_a_link_to_nothing_is_told_from_a_wrong_path(tmp_path):
    (tmp_path / "scan.nii.gz").symlink_to(".git/annex/objects/MD5E-s1--0.nii.gz")
    with pytest.raises(UnreadableImageError, match=r"a link whose target is not there.*datalad get"):
        read_image(tmp_path / "scan.nii.gz")


@pytest.mark.parametrize(("name", "advice"), [("T1.mnc", "MINC"), ("a.7z", "unpack"), ("a.xyz", "to NIfTI")])
def test_other_formats_are_told_how_to_convert(tmp_path, name, advice):
    (tmp_path / name).write_bytes(b"content")
    with pytest.raises(
        UnreadableImageError, match=rf"found \{tmp_path.joinpath(name).suffix}[,;].* {advice}"
    ):
        read_image(tmp_path / name)


def test_labels_keep_values_that_float32_cannot_hold(write_scan, scan):
    labels = scan.astype(np.int32)
    labels[1, 2, 3] = LABELS_BEYOND_FLOAT32
    image = read_label_image(write_scan(labels))
    assert image.data.dtype == np.int32
    np.testing.assert_array_equal(image.data, labels)


def test_labels_stored_as_floats_are_read_when_they_are_whole(write_scan, scan):
    np.testing.assert_array_equal(read_label_image(write_scan(scan.astype(np.float32))).data, scan)


def test_an_empty_lesion_mask_is_a_label_image(write_scan, scan):
    assert not read_label_image(write_scan((scan * 0).astype(np.uint8))).data.any()


@pytest.mark.parametrize("bad", [0.5, np.nan, np.inf])
def test_values_that_are_no_labels_are_refused(write_scan, scan, bad):
    data = scan.astype(np.float32)
    data[2, 2, 2] = bad
    with pytest.raises(LabelMapError, match=f"whole numbers, found values such as {bad:g}"):
        read_label_image(write_scan(data))


def test_labels_beyond_32_bits_are_refused(write_scan, scan):
    data = scan.astype(np.float64)
    data[2, 2, 2] = 2.0**40
    with pytest.raises(LabelMapError, match="renumber them"):
        read_label_image(write_scan(data))


def test_arrays_are_checked_as_strictly_as_files(scan):
    check_volume(scan, AFFINE, "array")
    cases = [
        (scan[0], AFFINE, DimensionError),
        (scan[..., None].repeat(2, -1), AFFINE, DimensionError),
        (scan.astype(complex), AFFINE, DimensionError),
        (scan.astype(str), AFFINE, DimensionError),
        (scan[:0], AFFINE, EmptyImageError),
        (scan * 0, AFFINE, EmptyImageError),
        (scan * 0 + 1, AFFINE, ConstantImageError),
        (scan * np.nan, AFFINE, NonFiniteImageError),
        (scan, np.zeros((4, 4)), HeaderError),
        (scan, np.eye(3), HeaderError),
    ]
    for data, affine, error in cases:
        with pytest.raises(error, match="array"):
            check_volume(data, affine, "array")


def test_every_random_corruption_of_a_header_gives_an_image_or_a_clear_error(write_scan, rng):
    path = write_scan(name="scan.nii")
    original = path.read_bytes()
    for _ in range(1000):
        raw = bytearray(original)
        start = int(rng.integers(0, 348))
        raw[start : start + 4] = struct.pack("<I", int(rng.integers(0, 2**32)))
        path.write_bytes(raw)
        try:
            read_image(path)
        except ImageError as error:
            assert str(path) in str(error)
