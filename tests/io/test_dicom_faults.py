"""DICOM as archives and careless exports leave it: read with a note, or refused by the name of what is wrong."""

import shutil

import numpy as np
import pydicom
import pytest
from pydicom.uid import RLELossless, generate_uid

from dicom_faults import AFFINE, DECIMAL_FAULTS, SHAPE, phantom, set_raw, spoil, write_frames, write_slices
from strokelabel.errors import DimensionError, HeaderError, UnreadableImageError
from strokelabel.io import read_image
from strokelabel.io.file_kinds import is_dicom_file
from support.dicom_writer import decimals

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
HTJ2K, MPEG4_AS_LONG = "1.2.840.10008.1.2.4.203", "1.2.840.10008.1.2.4.102"


@pytest.fixture
def series(tmp_path):
    return tmp_path / "series", write_slices(tmp_path / "series")


@pytest.fixture
def enhanced(tmp_path):
    return tmp_path / "enhanced", write_frames(tmp_path / "enhanced")[0]


def edit(path, **values):
    dataset = pydicom.dcmread(path)
    for name, value in values.items():
        setattr(dataset, name, value)
    dataset.save_as(path)
    return dataset


@pytest.mark.parametrize(
    ("keyword", "fault", "found"),
    [
        ("PixelSpacing", "removed", r"PixelSpacing \(0028,0030\), mm between.*found none"),
        ("PixelSpacing", "empty", "found none"),
        ("PixelSpacing", "zero", "above 0 mm, found 0 and 0"),
        (
            "PixelSpacing",
            "decimal commas",
            r"3,0000000000\\\\2,0000000000', with a comma for the decimal point",
        ),
        ("PixelSpacing", "a word", "UNDEFINED"),
        ("ImageOrientationPatient", "removed", r"ImageOrientationPatient \(0020,0037\)"),
        ("ImageOrientationPatient", "zero", "perpendicular directions of length 1"),
        ("ImagePositionPatient", "removed", r"ImagePositionPatient \(0020,0032\)"),
        ("ImagePositionPatient", "one value less", "as 3 numbers"),
        ("RescaleSlope", "zero", r"RescaleSlope \(0028,1053\) other than 0"),
        ("RescaleSlope", "removed", r"RescaleIntercept \(0028,1052\), found none and -100"),
    ],
)
def test_a_tag_that_gives_no_geometry_is_named_with_what_was_found(series, keyword, fault, found):
    folder, paths = series
    spoil(paths, keyword, DECIMAL_FAULTS[fault])
    with pytest.raises(HeaderError, match=found) as error:
        read_image(folder)
    assert "export the series again" in str(error.value)
    assert str(paths[0].parent) in str(error.value)


@pytest.mark.parametrize("stand_in", ["ImagerPixelSpacing", "SliceLocation"])
def test_a_tag_that_measures_something_else_does_not_stand_in(series, stand_in):
    folder, paths = series
    removed = {"ImagerPixelSpacing": "PixelSpacing", "SliceLocation": "ImagePositionPatient"}[stand_in]
    spoil(paths, removed, DECIMAL_FAULTS["removed"])
    for path in paths:
        edit(path, **{stand_in: ["3", "2"] if stand_in == "ImagerPixelSpacing" else "7"})
    with pytest.raises(HeaderError, match=f"{stand_in} .* measures something else"):
        read_image(folder)


def test_tags_are_read_from_each_frames_group_then_the_shared_one_then_the_data_set(enhanced):
    folder, path = enhanced
    dataset = pydicom.dcmread(path)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    measures = shared.PixelMeasuresSequence
    dataset.PixelSpacing = ["9", "9"]  # what converters leave behind
    for groups in dataset.PerFrameFunctionalGroupsSequence:
        groups.PixelMeasuresSequence = measures
    shared.PixelMeasuresSequence[0].SliceThickness = "1"
    dataset.save_as(path)
    np.testing.assert_allclose(read_image(folder).affine, AFFINE, atol=1e-5)
    del shared.PixelMeasuresSequence
    dataset.save_as(path)
    np.testing.assert_allclose(read_image(folder).affine, AFFINE, atol=1e-5)
    for groups in dataset.PerFrameFunctionalGroupsSequence:
        del groups.PixelMeasuresSequence
    dataset.PixelSpacing = decimals([3, 2])
    dataset.save_as(path)
    np.testing.assert_allclose(read_image(folder).affine, AFFINE, atol=1e-5)


def test_every_frame_has_its_own_slope_and_intercept(enhanced):
    np.testing.assert_allclose(read_image(enhanced[0]).data, phantom(), atol=0.01)


def test_a_frame_without_position_is_named(enhanced):
    folder, path = enhanced
    dataset = pydicom.dcmread(path)
    del dataset.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence
    dataset.ImagePositionPatient = ["0", "0", "0"]  # one place is not that of all frames
    dataset.save_as(path)
    with pytest.raises(HeaderError, match="enhanced, frame 4: expected ImagePositionPatient"):
        read_image(folder)


def test_frames_of_another_number_than_their_descriptions_are_refused(enhanced):
    folder, path = enhanced
    edit(path, NumberOfFrames=3)
    with pytest.raises(HeaderError, match=r"each of the 3 frames \(NumberOfFrames .* found 6"):
        read_image(folder)


def test_slices_that_partly_lack_a_scale_are_not_in_one_unit(series):
    folder, paths = series
    dataset = pydicom.dcmread(paths[2])
    del dataset.RescaleSlope, dataset.RescaleIntercept
    dataset.save_as(paths[2])
    with pytest.raises(HeaderError, match="found none in 1 of 6"):
        read_image(folder)


def test_a_ct_without_the_scale_of_hounsfield_units_is_refused(series):
    folder, paths = series
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.Modality = "CT"
        del dataset.RescaleSlope, dataset.RescaleIntercept
        dataset.save_as(path)
    with pytest.raises(HeaderError, match="RescaleSlope"):
        read_image(folder)


def test_roughly_rounded_directions_are_made_unit_with_a_note(series):
    folder, paths = series
    for path in paths:
        edit(path, ImageOrientationPatient=["0.96", "0.30", "0", "-0.30", "0.95", "0"])
    image = read_image(folder)
    assert np.linalg.det(image.affine[:3, :3]) == pytest.approx(33, rel=1e-3)
    assert "coarsely rounded" in image.notes[0]


def test_positions_along_the_slices_are_refused(series):
    folder, paths = series
    for k, path in enumerate(sorted(paths, key=lambda p: pydicom.dcmread(p).InstanceNumber)):
        edit(path, ImagePositionPatient=[str(8 * k), "0", str(2 * k)])
    with pytest.raises(HeaderError, match="76 degrees to the slices' normal"):
        read_image(folder)


def test_a_slice_moved_sideways_is_located(series):
    folder, paths = series
    path = next(p for p in paths if pydicom.dcmread(p).InstanceNumber == 4)
    x, y, z = pydicom.dcmread(path).ImagePositionPatient
    edit(path, ImagePositionPatient=[x + 4, y, z])
    with pytest.raises(
        UnreadableImageError, match="between slices 3 and 4 of 6, as if some were missing or moved"
    ):
        read_image(folder)


def test_an_announced_distance_that_positions_contradict_is_noted(series):
    folder, paths = series
    for path in paths:
        edit(path, SpacingBetweenSlices="2.2", SliceThickness="2.2")
    assert "says 2.2 mm, the positions of the slices 5.5 mm" in read_image(folder).notes[0]


@pytest.mark.parametrize("change", [-4, 40])
def test_pixels_of_another_number_than_announced_are_counted(series, change):
    folder, paths = series
    content = pydicom.dcmread(paths[1]).PixelData
    edit(paths[1], PixelData=content[:change] if change < 0 else content + bytes(change))
    with pytest.raises(UnreadableImageError, match=f"{216 + change} bytes for 1 x 9 x 12 .*which take 216"):
        read_image(folder)


def test_values_beyond_the_announced_bits_are_refused_unless_an_overlay_lies_there(series):
    folder, paths = series
    for path in paths:
        dataset = pydicom.dcmread(path)
        pixels = np.frombuffer(dataset.PixelData, "<u2") | 0x8000
        dataset.PixelData, dataset.BitsStored, dataset.HighBit = pixels.tobytes(), 12, 11
        dataset.save_as(path)
    with pytest.raises(HeaderError, match=r"12 bits \(BitsStored .*up to 32868"):
        read_image(folder)
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.add_new(0x60000102, "US", 15)
        dataset.save_as(path)
    np.testing.assert_array_equal(read_image(folder).data, phantom())


def test_white_for_low_values_is_inverted_with_a_note_but_not_in_a_ct(series):
    folder, paths = series
    for path in paths:
        edit(path, PhotometricInterpretation="MONOCHROME1")
    image = read_image(folder)
    np.testing.assert_array_equal(image.data, 2 * (-1 - (phantom() + 100) / 2) - 100)
    assert "values are inverted" in image.notes[0]
    for path in paths:
        edit(path, Modality="CT")
    np.testing.assert_array_equal(read_image(folder).data, phantom())


def test_run_length_encoded_pixels_are_read_and_counted(series):
    folder, paths = series
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.compress(RLELossless)
        dataset.save_as(path)
    np.testing.assert_array_equal(read_image(folder).data, phantom())
    for path in paths:
        edit(path, Rows=7)
    with pytest.raises(UnreadableImageError, match="compressed pixels of another number"):
        read_image(folder)


def test_a_compression_without_a_decoder_is_named(series):
    folder, paths = series
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = MPEG4_AS_LONG
        dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51" + bytes(100)])
        dataset["PixelData"].is_undefined_length = True
        dataset.save_as(path)
        path.write_bytes(
            path.read_bytes().replace(MPEG4_AS_LONG.encode(), HTJ2K.encode())
        )  # pydicom does not know it
    with pytest.raises(
        UnreadableImageError, match=r"found HTJ2K .*another decoder; export the series uncompressed"
    ):
        read_image(folder)


@pytest.mark.parametrize("syntax", ["explicit", "implicit"])
def test_files_without_preamble_are_read(series, syntax):
    folder, paths = series
    for path in paths:
        if syntax == "explicit":
            path.write_bytes(path.read_bytes()[132:])
        else:
            bare = pydicom.Dataset()
            bare.update(pydicom.dcmread(path))
            bare.is_little_endian = bare.is_implicit_VR = True
            bare.save_as(path, write_like_original=True)
    assert all(map(is_dicom_file, paths))
    image = read_image(folder)
    np.testing.assert_array_equal(image.data, phantom())
    assert bool(image.notes) == (syntax == "implicit")


@pytest.mark.parametrize(
    "content", [b"", b"\x08\0\x05\0", b"hello, this is a text", bytes(200), b"\x5c\x01\0\0" * 60]
)
def test_other_files_are_not_taken_for_dicom(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    assert not is_dicom_file(tmp_path / "file")


def test_copies_of_instances_count_once_with_a_note(series):
    folder, paths = series
    for path in paths[1:4]:
        shutil.copy(path, folder / f"{path.name} (1)")
    image = read_image(folder)
    np.testing.assert_array_equal(image.data, phantom())
    assert image.notes == (
        "3 files are copies of others (the same SOPInstanceUID and pixels): they count once",
    )


def test_one_identifier_for_different_pixels_is_no_copy(series):
    folder, paths = series
    for path in paths:
        edit(path, SOPInstanceUID="1.2.3")
    np.testing.assert_array_equal(read_image(folder).data, phantom())


@pytest.mark.parametrize("same_series", [True, False])
def test_a_screenshot_beside_the_slices_is_left_out_with_a_note(series, same_series):
    folder, paths = series
    shutil.copy(paths[0], folder / "shot")
    changes = {"SeriesInstanceUID": generate_uid()} if not same_series else {}
    edit(folder / "shot", SOPClassUID=SECONDARY_CAPTURE, SeriesDescription="Screen save", Rows=3, **changes)
    image = read_image(folder)
    assert image.data.shape == SHAPE
    assert image.notes == (
        "left out 1 files that are no scan (colour, a screenshot, a localizer): Screen save",
    )


@pytest.mark.parametrize(
    "content", [b"", b"/annex/objects/MD5E-s1--0\n", None], ids=["empty", "pointer", "link"]
)
def test_a_slice_without_content_is_not_passed_over(series, content):
    folder, paths = series
    last = max(paths, key=lambda path: pydicom.dcmread(path).InstanceNumber)
    last.unlink()
    if content is None:
        last.symlink_to("nowhere")
    else:
        last.write_bytes(content)
    (folder / "empty.log").write_bytes(b"")
    with pytest.raises(UnreadableImageError, match=f"{last.name}: .*without content .*1 in all"):
        read_image(folder)


def test_slices_that_do_not_say_their_series_are_refused_beside_those_that_do(series):
    folder, paths = series
    edit(paths[5], SeriesInstanceUID="")
    with pytest.raises(HeaderError, match=r"SeriesInstanceUID \(0020,000e\) in every file, found 1"):
        read_image(folder)


def test_a_directory_of_a_medium_says_what_to_pass(tmp_path, series):
    dataset = pydicom.dcmread(series[1][0])
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    del dataset.Rows, dataset.Columns, dataset.PixelData
    dataset.save_as(tmp_path / "DICOMDIR")
    with pytest.raises(UnreadableImageError, match="DICOMDIR of a medium"):
        read_image(tmp_path / "DICOMDIR")


def test_two_kinds_of_gray_in_a_series_are_refused(series):
    folder, paths = series
    edit(paths[2], PhotometricInterpretation="MONOCHROME1")
    with pytest.raises(HeaderError, match="MONOCHROME1, MONOCHROME2"):
        read_image(folder)


def test_a_table_of_values_is_not_ignored(series):
    folder, paths = series
    for path in paths:
        edit(path, ModalityLUTSequence=[pydicom.Dataset()])
    with pytest.raises(HeaderError, match="ModalityLUTSequence"):
        read_image(folder)


def test_numbers_in_binary_are_read_whatever_type_they_have(series):
    folder, paths = series
    for path in paths:
        dataset = pydicom.dcmread(path)
        set_raw(dataset, "PixelSpacing", np.array([3.0, 2.0]).tobytes(), "FD")
        dataset.save_as(path)
    np.testing.assert_allclose(read_image(folder).affine, AFFINE, atol=1e-5)


def test_several_gray_multi_frame_files_are_read_one_by_one(enhanced):
    folder, path = enhanced
    shutil.copy(path, folder / "second")
    edit(folder / "second", SOPInstanceUID=generate_uid())
    with pytest.raises(DimensionError, match="2 multi-frame files"):
        read_image(folder)
    np.testing.assert_allclose(read_image(path).data, phantom(), atol=0.01)
