import shutil

import nibabel as nib
import numpy as np
import pydicom
import pytest
from scipy.spatial.transform import Rotation

from strokelabel.errors import (
    ConstantImageError,
    DimensionError,
    EmptyImageError,
    HeaderError,
    ImageError,
    UnreadableImageError,
)
from strokelabel.geometry import CanonicalGrid
from strokelabel.io import read_image, search_images, write_nifti
from support.dicom_writer import decimals, write_multi_frame, write_series

SHAPE = (14, 11, 9)
SPACING = (0.9, 1.3, 4.2)
ROTATION = Rotation.from_euler("xyz", (12, -20, 8), degrees=True).as_matrix()


def oblique_affine(axes=((1, 0, 0), (0, 1, 0), (0, 0, 1))):
    """RAS affine whose axes are tilted from the given patient axes; right-handed in LPS as slices are sorted."""
    affine = np.eye(4)
    affine[:3, :3] = ROTATION @ np.array(axes, dtype=float).T * SPACING
    affine[:3, 3] = (12.5, -33.25, 47.125)
    return affine


# LPS axes of the rows' columns, the columns' rows and the slices, written in RAS
AXIAL = oblique_affine(((-1, 0, 0), (0, -1, 0), (0, 0, 1)))
CORONAL = oblique_affine(((-1, 0, 0), (0, 0, -1), (0, -1, 0)))
SAGITTAL = oblique_affine(((0, -1, 0), (0, 0, -1), (1, 0, 0)))


@pytest.fixture
def data(rng):
    """Even numbers, which the written rescale slope of 2 can hold."""
    return rng.integers(-50, 600, SHAPE).astype(np.int16) * 2


@pytest.fixture
def series(tmp_path, data):
    folder = tmp_path / "series"
    return folder, write_series(folder, data, AXIAL)


def edit(path, **values):
    dataset = pydicom.dcmread(path)
    for name, value in values.items():
        setattr(dataset, name, value)
    dataset.save_as(path)


@pytest.mark.parametrize("affine", [AXIAL, CORONAL, SAGITTAL], ids=["axial", "coronal", "sagittal"])
def test_a_dicom_series_and_the_nifti_of_the_same_data_are_the_same_image(tmp_path, data, affine):
    write_series(tmp_path / "dicom", data, affine)
    nib.save(nib.Nifti1Image(data, affine), tmp_path / "scan.nii.gz")
    dicom, nifti = read_image(tmp_path / "dicom"), read_image(tmp_path / "scan.nii.gz")

    canonical = []
    for image in (dicom, nifti):
        plan = CanonicalGrid.for_image(image.data.shape, image.affine)
        canonical.append((plan.target.affine, plan.forward(image.data)))

    assert dicom.data.dtype == np.float32
    assert dicom.notes == ()
    np.testing.assert_allclose(canonical[0][0], canonical[1][0], atol=1e-4)
    np.testing.assert_allclose(canonical[0][1], canonical[1][1], atol=0.1)


def test_axes_are_columns_rows_and_slices_and_values_are_rescaled(series, data):
    image = read_image(series[0])
    np.testing.assert_array_equal(image.data, data)
    np.testing.assert_allclose(image.affine, AXIAL, atol=1e-5)
    assert image.header is None


def test_a_mask_for_a_dicom_series_lands_on_its_grid(tmp_path, series, data):
    image = read_image(series[0])
    write_nifti(tmp_path / "mask.nii.gz", image.data > 300, image, np.uint8)
    mask = nib.load(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(np.asarray(mask.dataobj), data > 300)
    np.testing.assert_allclose(mask.affine, image.affine, atol=1e-5)


def test_slices_with_scales_of_their_own_are_read_in_common_units(series, data):
    folder, paths = series
    edit(paths[3], RescaleSlope="0.5", RescaleIntercept="7")
    image = read_image(folder)
    stored = (data[:, :, 3].astype(float) + 100) / 2
    np.testing.assert_allclose(image.data[:, :, 3], stored * 0.5 + 7)
    np.testing.assert_array_equal(image.data[:, :, 4], data[:, :, 4])


def test_a_tilted_gantry_gives_a_sheared_affine(tmp_path, data):
    sheared = AXIAL.copy()
    sheared[:3, 2] += 0.3 * sheared[:3, 1]
    write_series(tmp_path / "ct", data, sheared)
    np.testing.assert_allclose(read_image(tmp_path / "ct").affine, sheared, atol=1e-5)


@pytest.mark.parametrize(
    "order", [[*range(9)], [*range(8, -1, -1)], [3, 1, 4, 0, 5, 8, 2, 6, 7]], ids=["up", "down", "mixed"]
)
@pytest.mark.parametrize("affine", [AXIAL, CORONAL], ids=["axial", "coronal"])
def test_an_enhanced_file_with_all_frames_is_one_volume(tmp_path, data, affine, order):
    folder = tmp_path / "enhanced"
    folder.mkdir()
    write_multi_frame(folder / "IM0001", data, affine, order)
    image = read_image(folder)
    np.testing.assert_array_equal(image.data, data)
    np.testing.assert_allclose(image.affine, affine, atol=1e-5)


def test_an_enhanced_file_is_checked_like_a_series(tmp_path, data):
    for name, order, error, found in [
        ("gap", [0, 1, 2, 4, 5], UnreadableImageError, "some were missing"),
        ("times", [0, 1, 2, 0, 1, 2], DimensionError, "6 slices at 3 places"),
    ]:
        (tmp_path / name).mkdir()
        write_multi_frame(tmp_path / name / "IM0001", data, AXIAL, order)
        with pytest.raises(error, match=found):
            read_image(tmp_path / name)


def test_other_files_beside_the_series_are_passed_over(series, data):
    folder, paths = series
    (folder / "readme.txt").write_text("scanned on Monday")
    (folder / "subfolder").mkdir()
    report = pydicom.dcmread(paths[0])
    report.Modality, report.SeriesInstanceUID = "SR", "1.2.3.4"
    report.save_as(folder / "rendered-report.dcm")
    report.file_meta.MediaStorageSOPClassUID = report.SOPClassUID = pydicom.uid.BasicTextSRStorage
    del report.PixelData, report.Rows, report.Columns
    report.save_as(folder / "report.dcm")
    np.testing.assert_array_equal(read_image(folder).data, data)


def test_several_series_in_a_folder_are_named(series, data):
    folder, _ = series
    write_series(folder, data[:, :, :5], AXIAL, "FLAIR sagittal")
    with pytest.raises(UnreadableImageError, match=r"found 2: .*FLAIR sagittal \(5 files") as error:
        read_image(folder)
    assert "T2 axial (9 files" in str(error.value)
    assert "folder of its own" in str(error.value)


def test_a_missing_slice_is_located(series):
    folder, paths = series
    paths[4].unlink()
    with pytest.raises(
        UnreadableImageError, match=r"4\.20 mm apart, found 8\.40 mm between slices 4 and 5 of 8"
    ):
        read_image(folder)


def test_slightly_uneven_slices_are_read_with_a_note(series, data):
    folder, paths = series
    position = np.array(pydicom.dcmread(paths[4]).ImagePositionPatient, dtype=float)
    normal = (np.diag([-1, -1, 1]) @ AXIAL[:3, 2]) / SPACING[2]
    edit(paths[4], ImagePositionPatient=decimals(position + 0.3 * normal))
    image = read_image(folder)
    np.testing.assert_array_equal(image.data, data)
    assert "unevenly spaced by up to 0.30 mm" in image.notes[0]


def test_a_time_series_is_refused(series, data):
    folder, paths = series
    for path in paths:
        second = path.with_name(path.name + "-second")
        shutil.copy(path, second)
        edit(second, SOPInstanceUID=pydicom.uid.generate_uid())
    with pytest.raises(DimensionError, match="18 slices at 9 places"):
        read_image(folder)


def test_a_localizer_with_several_angles_is_refused(tmp_path, series, data):
    folder, _ = series
    for path in write_series(tmp_path / "other", data, SAGITTAL, "other plane"):
        shutil.copy(path, folder)
        edit(folder / path.name, SeriesInstanceUID=pydicom.dcmread(series[1][0]).SeriesInstanceUID)
    with pytest.raises(DimensionError, match="several angles"):
        read_image(folder)


def test_slices_of_several_sizes_or_pixel_sizes_are_refused(series):
    folder, paths = series
    edit(paths[2], PixelSpacing=["2.0", "2.0"])
    with pytest.raises(DimensionError, match="one pixel size"):
        read_image(folder)
    edit(paths[2], PixelSpacing=decimals([SPACING[1], SPACING[0]]), Rows=10)
    with pytest.raises(DimensionError, match="slices of one size"):
        read_image(folder)


def test_a_single_slice_is_refused(series):
    folder, paths = series
    for path in paths[1:]:
        path.unlink()
    with pytest.raises(DimensionError, match="single slice"):
        read_image(folder)


def test_colour_is_refused(series):
    folder, paths = series
    for path in paths:
        dataset = pydicom.dcmread(path)
        edit(
            path,
            SamplesPerPixel=3,
            PhotometricInterpretation="RGB",
            PlanarConfiguration=0,
            BitsAllocated=8,
            BitsStored=8,
            HighBit=7,
            PixelRepresentation=0,
            PixelData=bytes(dataset.Rows * dataset.Columns * 3),
        )
    with pytest.raises(DimensionError, match="colour"):
        read_image(folder)


@pytest.mark.parametrize("keep", [140, 400, 1000, -100])
def test_a_truncated_slice_is_named_even_at_the_end_of_the_stack(series, keep):
    folder, paths = series
    paths[-1].write_bytes(paths[-1].read_bytes()[:keep])
    with pytest.raises(UnreadableImageError, match=f"{paths[-1].name}: .*export the series again"):
        read_image(folder)


def test_a_slice_whose_header_lies_about_its_size_is_refused(series):
    folder, paths = series
    for path in paths:
        edit(path, Rows=60000, Columns=60000)
    with pytest.raises((HeaderError, UnreadableImageError), match="again"):
        read_image(folder)


def test_empty_and_constant_series_are_refused(tmp_path, data):
    write_series(tmp_path / "zero", data * 0, AXIAL)
    write_series(tmp_path / "constant", data * 0 + 8, AXIAL)
    with pytest.raises(EmptyImageError):
        read_image(tmp_path / "zero")
    with pytest.raises(ConstantImageError):
        read_image(tmp_path / "constant")


def test_a_folder_without_dicom_is_explained_by_what_it_holds(tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    with pytest.raises(UnreadableImageError, match="found no DICOM image but nothing"):
        read_image(folder)
    (folder / "IM0001").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(
        UnreadableImageError, match=r"no DICOM image but IM0001 .*Git LFS pointer.*git lfs pull"
    ):
        read_image(folder)


def test_one_file_stands_for_its_series_among_others(series, data):
    folder, paths = series
    other = write_series(folder, data[:, :, :5], AXIAL, "FLAIR sagittal")
    np.testing.assert_array_equal(read_image(paths[3]).data, data)
    np.testing.assert_array_equal(read_image(other[0]).data, data[:, :, :5])
    assert [path.name for path in search_images([folder]).images] == ["FLAIR-sagittal-0000", "T2-axial-0000"]
    assert search_images([f"{folder}/T2*"]).images == [folder / "T2-axial-0000"]


def test_nothing_is_printed_by_the_libraries_below(series, capfd):
    folder, paths = series
    position = pydicom.dcmread(paths[2]).ImagePositionPatient
    edit(paths[2], ImagePositionPatient=[position[0] + 0.3, position[1], position[2]])
    read_image(folder)
    paths[0].write_bytes(paths[0].read_bytes()[:-100])
    with pytest.raises(UnreadableImageError):
        read_image(folder)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("enhanced", [False, True], ids=["series", "enhanced"])
def test_every_random_corruption_of_a_header_gives_an_image_or_a_clear_error(tmp_path, data, rng, enhanced):
    folder = tmp_path / "fuzzed"
    if enhanced:
        folder.mkdir()
        path = folder / "IM0001"
        write_multi_frame(path, data, AXIAL, [*range(9)])
    else:
        path = write_series(folder, data[:, :, :3], AXIAL)[1]
    original = path.read_bytes()
    header = original.rindex(b"\xe0\x7f\x10\x00")  # the pixel data element
    for _ in range(200):
        raw = bytearray(original)
        raw[int(rng.integers(132, header))] = int(rng.integers(0, 256))
        path.write_bytes(raw)
        try:
            read_image(folder)
        except ImageError as error:
            assert str(folder) in str(error)


@pytest.mark.parametrize("keyword", ["PatientID", "FrameOfReferenceUID"])
def test_a_slice_of_another_patient_or_frame_of_reference_is_refused(series, keyword):
    folder, paths = series
    edit(paths[2], **{keyword: "1.2.3"})
    with pytest.raises(HeaderError, match=keyword):
        read_image(folder)
