import itertools

import nibabel as nib
import numpy as np
import pytest

from strokelabel.errors import DimensionError, OutputError
from strokelabel.io import Image, read_image, read_label_image, write_nifti
from strokelabel.io.images import channel_writer

AFFINE = np.array([[-0.9, 0, 0, 31.5], [0, 0.5, -3.6, 12.25], [0, 1.2, 1.5, -40], [0, 0, 0, 1]])
GEOMETRY_FIELDS = (
    "sform_code",
    "qform_code",
    "srow_x",
    "srow_y",
    "srow_z",
    "quatern_b",
    "quatern_c",
    "quatern_d",
)
CODES = list(itertools.product((0, 1, 2, 4), repeat=2))


def save_with_forms(path, data, sform_code, qform_code, image_type=nib.Nifti1Image):
    """A scan whose two transforms differ, whatever their codes are."""
    image = image_type(data, AFFINE)
    shifted = AFFINE.copy()
    shifted[:3, 3] += (1, 2, 3)
    image.header.set_sform(AFFINE, 1)
    image.header.set_qform(shifted, 1)
    image.header["sform_code"], image.header["qform_code"] = sform_code, qform_code
    nib.save(image_type(data, None, image.header), path)


def geometry(path):
    header = nib.load(path).header
    fields = {name: np.asarray(header[name]).tobytes() for name in GEOMETRY_FIELDS}
    offsets = {name: np.asarray(header[name]).tobytes() for name in ("qoffset_x", "qoffset_y", "qoffset_z")}
    return fields | offsets | {"pixdim": header["pixdim"][:4].tobytes(), "units": header.get_xyzt_units()[0]}


@pytest.mark.parametrize(("sform_code", "qform_code"), CODES)
@pytest.mark.parametrize("image_type", [nib.Nifti1Image, nib.Nifti2Image])
def test_both_transforms_and_both_codes_are_kept(tmp_path, scan, sform_code, qform_code, image_type):
    save_with_forms(tmp_path / "in.nii.gz", scan, sform_code, qform_code, image_type)
    image = read_image(tmp_path / "in.nii.gz")
    write_nifti(tmp_path / "out.nii.gz", image.data > 600, image, np.uint8)
    before, after = nib.load(tmp_path / "in.nii.gz"), nib.load(tmp_path / "out.nii.gz")
    assert geometry(tmp_path / "out.nii.gz") == geometry(tmp_path / "in.nii.gz")
    assert (int(after.header["sform_code"]), int(after.header["qform_code"])) == (sform_code, qform_code)
    np.testing.assert_array_equal(after.affine, before.affine)
    assert after.shape == before.shape
    assert type(after) is type(before)


@pytest.mark.parametrize("in_dtype", [np.int16, np.uint8, np.float32])
@pytest.mark.parametrize("out_dtype", [np.uint8, np.int16, np.float32])
def test_the_scale_of_the_input_does_not_leak_into_the_output(tmp_path, scan, in_dtype, out_dtype):
    image = nib.Nifti1Image((scan % 100).astype(in_dtype), AFFINE)
    image.header.set_slope_inter(0.05, -3)
    image.header["cal_min"], image.header["cal_max"] = 10, 20
    nib.save(image, tmp_path / "in.nii.gz")
    read = read_image(tmp_path / "in.nii.gz")
    labels = (read.data > 0).astype(np.uint8)
    write_nifti(tmp_path / "out.nii.gz", labels, read, out_dtype)
    written = nib.load(tmp_path / "out.nii.gz")
    assert written.get_data_dtype() == out_dtype
    assert (written.dataobj.slope, written.dataobj.inter) == (1, 0)
    np.testing.assert_array_equal(np.asarray(written.dataobj), labels)
    assert written.header["cal_max"] == 0


def test_probabilities_come_back_to_the_bit(tmp_path, write_scan, rng):
    image = read_image(write_scan())
    probabilities = rng.random(image.data.shape).astype(np.float32)
    write_nifti(tmp_path / "p.nii", probabilities, image, np.float32)
    np.testing.assert_array_equal(read_image(tmp_path / "p.nii").data, probabilities)


def test_a_big_endian_scan_gives_a_right_result(tmp_path, scan):
    nib.save(
        nib.Nifti1Image(scan.astype(">i2"), AFFINE, nib.Nifti1Header(endianness=">")), tmp_path / "in.nii.gz"
    )
    image = read_image(tmp_path / "in.nii.gz")
    write_nifti(tmp_path / "out.nii.gz", scan, image, np.int16)
    np.testing.assert_array_equal(image.data, scan)
    np.testing.assert_array_equal(read_image(tmp_path / "out.nii.gz").data, scan)
    np.testing.assert_array_equal(read_image(tmp_path / "out.nii.gz").affine, image.affine)


def test_large_labels_come_back_exactly(tmp_path, write_scan, scan):
    image = read_image(write_scan())
    labels = scan.astype(np.int32) + 2**30
    write_nifti(tmp_path / "labels.nii.gz", labels, image, np.int32)
    np.testing.assert_array_equal(read_label_image(tmp_path / "labels.nii.gz").data, labels)


def test_the_grid_of_a_single_4d_volume_is_that_of_its_volume(tmp_path, write_scan, scan):
    image = read_image(write_scan(scan[..., None]))
    write_nifti(tmp_path / "mask.nii.gz", image.data > 5, image, np.uint8)
    assert nib.load(tmp_path / "mask.nii.gz").shape == scan.shape


def test_an_image_without_a_header_gets_both_transforms(tmp_path, scan):
    write_nifti(tmp_path / "mask.nii.gz", scan > 5, Image(scan, AFFINE), np.uint8)
    written = nib.load(tmp_path / "mask.nii.gz")
    np.testing.assert_allclose(written.get_sform(), AFFINE, atol=1e-6)
    np.testing.assert_allclose(written.get_qform(), AFFINE, atol=1e-5)
    assert (int(written.header["sform_code"]), int(written.header["qform_code"])) == (1, 1)
    assert written.header.get_xyzt_units()[0] == "mm"


def test_a_sheared_grid_without_a_header_gets_the_sform_only(tmp_path, scan):
    sheared = AFFINE.copy()
    sheared[1, 2] += 1.0
    write_nifti(tmp_path / "mask.nii.gz", scan > 5, Image(scan, sheared), np.uint8)
    written = nib.load(tmp_path / "mask.nii.gz")
    np.testing.assert_allclose(written.affine, sheared, atol=1e-6)
    assert int(written.header["qform_code"]) == 0


def test_nothing_that_may_name_a_patient_is_taken_over(tmp_path, scan):
    image = nib.Nifti1Image(scan, AFFINE)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"DOE^JANE"))
    image.header["descrip"] = b"DOE^JANE"
    image.header["aux_file"] = image.header["db_name"] = b"DOE^JANE"
    image.header["intent_name"] = b"DOE^JANE"
    nib.save(image, tmp_path / "in.nii")
    write_nifti(
        tmp_path / "out.nii", scan > 5, read_image(tmp_path / "in.nii"), np.uint8, "StrokeLabel lesion mask"
    )
    assert b"DOE" not in (tmp_path / "out.nii").read_bytes()
    assert nib.load(tmp_path / "out.nii").header["descrip"] == b"StrokeLabel lesion mask"


def test_a_long_description_is_cut_between_characters(tmp_path, write_scan, scan):
    image = read_image(write_scan())
    write_nifti(tmp_path / "out.nii.gz", scan > 5, image, np.uint8, "ü" * 100)
    assert nib.load(tmp_path / "out.nii.gz").header["descrip"].item().decode() == "ü" * 39


def test_the_same_result_gives_the_same_bytes(tmp_path, write_scan, scan):
    image = read_image(write_scan())
    for name in ("a.nii.gz", "b.nii.gz"):
        write_nifti(tmp_path / name, scan > 5, image, np.uint8)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


@pytest.mark.parametrize("value", [0.5, -1, 256, np.nan])
def test_values_that_the_type_would_change_are_refused(tmp_path, write_scan, scan, value):
    data = scan * 0.0
    data[1, 2, 3] = value
    with pytest.raises(OutputError, match="whole numbers that fit uint8"):
        write_nifti(tmp_path / "out.nii.gz", data, read_image(write_scan()), np.uint8)
    assert not (tmp_path / "out.nii.gz").exists()


def test_a_wrong_shape_name_or_type_is_refused(tmp_path, write_scan, scan):
    image = read_image(write_scan())
    with pytest.raises(DimensionError, match=r"expected data of shape \(9, 12, 7\)"):
        write_nifti(tmp_path / "out.nii.gz", scan.T, image, np.uint8)
    with pytest.raises(OutputError, match=r"ending in \.nii or \.nii\.gz"):
        write_nifti(tmp_path / "out.mgz", scan > 5, image, np.uint8)
    with pytest.raises(OutputError, match="found float16"):
        write_nifti(tmp_path / "out.nii.gz", scan > 5, image, np.float16)


def test_a_place_that_cannot_be_written_to_is_reported(tmp_path, write_scan, scan):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="expected a writable location"):
        write_nifti(tmp_path / "file" / "out.nii.gz", scan > 5, read_image(write_scan()), np.uint8)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image], ids=["NIfTI-1", "NIfTI-2"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_channels_are_written_one_at_a_time_with_the_scans_geometry(kind, suffix, tmp_path):
    rng = np.random.default_rng(3)
    affine = np.array([[0, -1.2, 0.1, 3], [2.1, 0, 0, -7], [0, 0.1, 3.0, 5], [0, 0, 0, 1]])
    nib.save(kind(rng.random((5, 7, 4), np.float32), affine), tmp_path / f"scan{suffix}")
    channels, out = rng.random((3, 5, 7, 4), np.float32), tmp_path / f"out{suffix}"
    with channel_writer(out, read_image(tmp_path / f"scan{suffix}"), 3) as write:
        for channel in channels:
            write(channel)

    written = nib.load(out)
    assert type(written) is kind
    np.testing.assert_array_equal(np.moveaxis(np.asarray(written.dataobj), -1, 0), channels)
    np.testing.assert_allclose(written.affine, affine, atol=1e-6)
    with pytest.raises(ZeroDivisionError), channel_writer(out, read_image(tmp_path / f"scan{suffix}"), 3):
        raise ZeroDivisionError
    assert nib.load(out).shape == (5, 7, 4, 3) and len(list(tmp_path.iterdir())) == 2
