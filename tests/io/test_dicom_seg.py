"""DICOM SEG: each frame lies on its source instance, says what it is, and comes back as it was written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest

from dicom_faults import set_raw
from strokelabel.errors import HeaderError, LabelMapError, OptionError, OutputError, UnreadableImageError
from strokelabel.geometry import Grid
from strokelabel.io import read_image
from strokelabel.io.dicom.segmentation import DicomSource, SegOrigin, write_dicom_seg, write_probability_seg
from strokelabel.io.dicom.segmentation_attributes import TISSUE_SEGMENTS, cielab, meaning_of, means_lesion
from strokelabel.io.dicom.segmentation_reader import read_dicom_seg
from support.dicom_writer import LPS_TO_RAS, write_multi_frame, write_series
from support.turned_grids import shifted

SHAPE = (11, 8, 6)
ORIGIN = SegOrigin("base", "0.2.0")
OBLIQUE = np.array([[-0.9, 0, 0, 31.5], [0, 0.5, -3.6, 12.25], [0, 1.2, 1.5, -40], [0, 0, 0, 1]])
SAGITTAL = np.array([[0, 0, 2.5, -30], [-0.7, 0, 0, 40], [0, -0.8, 0, 55], [0, 0, 0, 1.0]])
AXIAL_WITH_GAPS = np.array([[-1.1, 0, 0, 60], [0, -0.9, 0, 44], [0, 0, 6.5, -20], [0, 0, 0, 1.0]])
GRIDS = {"oblique": OBLIQUE, "sagittal": SAGITTAL, "axial with gaps": AXIAL_WITH_GAPS}


def scan(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(1, 900, SHAPE).astype(np.int16)


def mask(rng: np.random.Generator) -> np.ndarray:
    """Voxels in four of the six slices, without any symmetry."""
    labels = (rng.random(SHAPE) < 0.3).astype(np.uint8)
    labels[:, :, [0, 3]] = 0
    return labels


def by_place(folder: Path) -> dict[tuple[float, ...], pydicom.Dataset]:
    files = [pydicom.dcmread(file) for file in folder.iterdir()]
    return {tuple(map(float, file.ImagePositionPatient)): file for file in files}


def slice_at(position: Sequence[float], affine: np.ndarray) -> int:
    """The k of a DICOM position (LPS) on a RAS affine."""
    return round(float((np.linalg.inv(affine) @ LPS_TO_RAS @ [*map(float, position), 1.0])[2]))


@pytest.fixture(params=GRIDS)
def series(request, tmp_path, rng) -> Path:
    write_series(tmp_path / "series", scan(rng), GRIDS[request.param])
    return tmp_path / "series"


def test_each_frame_lies_on_its_source_instance_and_holds_its_slice_of_the_mask(
    series, tmp_path, rng
) -> None:
    labels, image = mask(rng), read_image(series)
    write_dicom_seg(tmp_path / "seg.dcm", labels, DicomSource(series), ORIGIN)
    seg, sources = pydicom.dcmread(tmp_path / "seg.dcm"), by_place(series)
    assert seg.NumberOfFrames == len(seg.PerFrameFunctionalGroupsSequence) == 4
    shared = seg.SharedFunctionalGroupsSequence[0]
    for groups, pixels in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        position = tuple(map(float, groups.PlanePositionSequence[0].ImagePositionPatient))
        source = sources[position]
        reference = groups.DerivationImageSequence[0].SourceImageSequence[0]
        assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert reference.SpatialLocationsPreserved == "YES"
        assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == source.ImageOrientationPatient
        assert shared.PixelMeasuresSequence[0].PixelSpacing == source.PixelSpacing
        assert np.array_equal(pixels, labels[:, :, slice_at(position, image.affine)].T)


def test_highdicom_reads_the_mask_back_by_source_instance(series, tmp_path, rng) -> None:
    labels = mask(rng)
    source = DicomSource(series)
    write_dicom_seg(tmp_path / "seg.dcm", labels, source, ORIGIN)
    seg = hd.seg.segread(str(tmp_path / "seg.dcm"))
    uids = [header.SOPInstanceUID for header in source.headers()]
    planes = seg.get_pixels_by_source_instance(
        uids, segment_numbers=[1], ignore_spatial_locations=False, assert_missing_frames_are_empty=True
    )
    assert np.array_equal(planes[..., 0].transpose(2, 1, 0), labels)


def test_a_mask_read_onto_the_series_grid_equals_what_was_written(series, tmp_path, rng) -> None:
    labels = mask(rng)
    write_dicom_seg(tmp_path / "seg.dcm", labels, DicomSource(series), ORIGIN)
    seg = read_dicom_seg(tmp_path / "seg.dcm", read_image(series).grid)
    assert np.array_equal(seg.lesion_mask(), labels)


def test_the_distance_of_slices_is_told_with_their_gaps(tmp_path, rng) -> None:
    for path in write_series(tmp_path / "series", scan(rng), AXIAL_WITH_GAPS):
        header = pydicom.dcmread(path)
        header.SliceThickness = "5"
        header.save_as(path)
    seg = write_dicom_seg(tmp_path / "seg.dcm", mask(rng), DicomSource(tmp_path / "series"), ORIGIN)
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert (float(measures.SliceThickness), float(measures.SpacingBetweenSlices)) == (5, 6.5)


def test_codes_algorithm_and_identity_are_those_of_an_infarct_of_this_patient(series, tmp_path, rng) -> None:
    for path in series.iterdir():
        header = pydicom.dcmread(path)
        header.SpecificCharacterSet = "ISO_IR 100"
        header.PatientName, header.PatientSex, header.AccessionNumber = "Müller^Zoë", "F", "A7"
        header.save_as(path)
    write_dicom_seg(tmp_path / "seg.dcm", mask(rng), DicomSource(series), ORIGIN)
    seg, source = pydicom.dcmread(tmp_path / "seg.dcm"), next(iter(by_place(series).values()))
    (segment,) = seg.SegmentSequence

    def code(item: pydicom.Dataset) -> tuple[str, str, str]:
        return item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning

    assert code(segment.SegmentedPropertyCategoryCodeSequence[0])[:2] == ("49755003", "SCT")
    assert code(segment.SegmentedPropertyTypeCodeSequence[0]) == ("55641003", "SCT", "Infarct")
    assert code(segment.AnatomicRegionSequence[0]) == ("12738006", "SCT", "Brain")
    algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
    assert code(algorithm.AlgorithmFamilyCodeSequence[0]) == ("123110", "DCM", "Artificial Intelligence")
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("StrokeLabel", "base 0.2.0")
    assert (segment.SegmentLabel, segment.SegmentAlgorithmType) == ("lesion", "AUTOMATIC")
    assert len(segment.RecommendedDisplayCIELabValue) == 3
    for name in ("PatientID", "PatientName", "AccessionNumber", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert seg[name].value == source[name].value
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID
    assert seg.SeriesInstanceUID != source.SeriesInstanceUID and seg.SeriesDescription.startswith(
        "Stroke lesion"
    )


def test_a_corrected_label_is_semiautomatic(series, tmp_path, rng) -> None:
    origin = SegOrigin("base", "0.2.0", corrected=True)
    seg = write_dicom_seg(tmp_path / "seg.dcm", mask(rng), DicomSource(series), origin)
    assert seg.SegmentSequence[0].SegmentAlgorithmType == "SEMIAUTOMATIC"


def test_an_empty_mask_is_a_valid_seg_with_every_slice(series, tmp_path) -> None:
    write_dicom_seg(tmp_path / "seg.dcm", np.zeros(SHAPE, np.uint8), DicomSource(series), ORIGIN)
    seg = hd.seg.segread(str(tmp_path / "seg.dcm"))
    assert seg.NumberOfFrames == SHAPE[2] and not seg.pixel_array.any()
    assert not read_dicom_seg(tmp_path / "seg.dcm", read_image(series).grid).lesion_mask().any()


def test_tissues_are_segments_with_their_own_codes_and_come_back_as_they_were(series, tmp_path, rng) -> None:
    labels = rng.integers(0, 6, SHAPE)
    write_dicom_seg(tmp_path / "seg.dcm", labels, DicomSource(series), ORIGIN, TISSUE_SEGMENTS)
    seg = read_dicom_seg(tmp_path / "seg.dcm", read_image(series).grid)
    assert np.array_equal(seg.labels, labels) and np.array_equal(seg.lesion_mask(), labels == 5)
    assert [segment.label for segment in seg.segments][::4] == ["gray matter", "lesion"]
    assert seg.segments[3].type is not None and seg.segments[3].type.value == "65216001"


def test_a_probability_is_fractional_and_within_a_step_of_what_was_given(series, tmp_path, rng) -> None:
    probability = rng.random(SHAPE).astype(np.float32)
    probability[:, :, 2] = 0
    source = DicomSource(series)
    write_probability_seg(tmp_path / "seg.dcm", probability, source, ORIGIN)
    seg = hd.seg.segread(str(tmp_path / "seg.dcm"))
    assert (seg.SegmentationType, seg.SegmentationFractionalType) == ("FRACTIONAL", "PROBABILITY")
    uids = [header.SOPInstanceUID for header in source.headers()]
    planes = seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)[..., 0]
    assert np.abs(planes.transpose(2, 1, 0) - probability).max() <= 0.5 / 255 + 1e-6
    half = read_dicom_seg(tmp_path / "seg.dcm", read_image(series).grid).lesion_mask()
    far = np.abs(probability - 0.5) > 1 / 255
    assert np.array_equal(half[far], (probability >= 0.5)[far])


def test_a_multi_frame_source_is_matched_by_place_not_by_the_order_of_its_frames(tmp_path, rng) -> None:
    folder = tmp_path / "series"
    folder.mkdir()
    order = [4, 0, 5, 2, 1, 3]
    write_multi_frame(folder / "one.dcm", scan(rng), OBLIQUE, order)
    labels = mask(rng)
    write_dicom_seg(tmp_path / "seg.dcm", labels, DicomSource(folder), ORIGIN)
    assert np.array_equal(read_dicom_seg(tmp_path / "seg.dcm", read_image(folder).grid).lesion_mask(), labels)
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    frames = pydicom.dcmread(folder / "one.dcm").PerFrameFunctionalGroupsSequence
    for groups, pixels in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        number = groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber
        place = frames[number - 1].PlanePositionSequence[0].ImagePositionPatient
        assert groups.PlanePositionSequence[0].ImagePositionPatient == place
        assert np.array_equal(pixels, labels[:, :, slice_at(place, read_image(folder).affine)].T)


@pytest.mark.parametrize("element", ["PatientID", "FrameOfReferenceUID", "StudyInstanceUID"])
def test_what_identifies_the_source_is_not_invented(tmp_path, rng, element) -> None:
    for path in write_series(tmp_path / "series", scan(rng), OBLIQUE):
        header = pydicom.dcmread(path)
        delattr(header, element)
        header.save_as(path)
    with pytest.raises(OutputError, match=element):
        write_dicom_seg(tmp_path / "seg.dcm", mask(rng), DicomSource(tmp_path / "series"), ORIGIN)
    assert not (tmp_path / "seg.dcm").exists()


@pytest.mark.parametrize(
    ("element", "found", "written"),
    [
        ("PatientSex", "U", ""),
        ("PatientSex", "female", "F"),
        ("PatientBirthDate", "19600000", ""),
        ("PatientBirthDate", "1960", ""),
        ("PatientBirthDate", "01/02/1960", ""),
        ("StudyDate", "2020.01.31", "20200131"),
        ("StudyDate", "2020-01-31", "20200131"),
        ("StudyTime", "12:30:59", "123059"),
        ("StudyTime", "12:30:59.5", "123059.5"),
        ("StudyTime", "1230", "1230"),
        ("StudyTime", "25:00:00", ""),
        ("PatientWeight", "70,5", None),
        ("PatientAge", "about forty", "about forty"),
    ],
)
def test_odd_values_of_the_source_are_brought_into_the_standards_form_or_left_unknown(
    tmp_path, rng, element, found, written
) -> None:
    for path in write_series(tmp_path / "series", scan(rng), OBLIQUE):
        header = pydicom.dcmread(path)
        header.PatientName = "A^B"
        set_raw(header, element, found.encode())
        header.save_as(path)
    source = DicomSource(tmp_path / "series")
    write_dicom_seg(tmp_path / "seg.dcm", mask(rng), source, ORIGIN)
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    assert seg.get(element) == written and seg.PatientName == "A^B"
    assert len(source.notes) == (not written) and all(
        element in note and found in note for note in source.notes
    )


def test_a_class_that_no_seg_can_refer_to_is_an_error_that_names_it(tmp_path, rng) -> None:
    for path in write_series(tmp_path / "series", scan(rng), OBLIQUE):
        header = pydicom.dcmread(path)
        header.SOPClassUID = "1.2.3.4"
        header.save_as(path)
    with pytest.raises(OutputError, match=r"1\.2\.3\.4"):
        write_dicom_seg(tmp_path / "seg.dcm", mask(rng), DicomSource(tmp_path / "series"), ORIGIN)


def test_directions_that_were_made_unit_are_those_of_the_seg(tmp_path, rng) -> None:
    for path in write_series(tmp_path / "series", scan(rng), AXIAL_WITH_GAPS):
        header = pydicom.dcmread(path)
        header.ImageOrientationPatient = ["0.97", "0", "0", "0", "1", "0"]
        header.save_as(path)
    labels = mask(rng)
    seg = write_dicom_seg(tmp_path / "seg.dcm", labels, DicomSource(tmp_path / "series"), ORIGIN)
    shared = seg.SharedFunctionalGroupsSequence[0]
    assert np.allclose(
        np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)[:3], [1, 0, 0]
    )
    back = read_dicom_seg(tmp_path / "seg.dcm", read_image(tmp_path / "series").grid)
    assert np.array_equal(back.lesion_mask(), labels)


def test_results_of_another_shape_or_with_other_values_are_refused(series, tmp_path, rng) -> None:
    source = DicomSource(series)
    with pytest.raises(HeaderError, match="shape"):
        write_dicom_seg(tmp_path / "seg.dcm", mask(rng)[1:], source, ORIGIN)
    with pytest.raises(OptionError, match="7"):
        write_dicom_seg(tmp_path / "seg.dcm", mask(rng) * 7, source, ORIGIN)
    with pytest.raises(OptionError, match="0 to 1"):
        write_probability_seg(tmp_path / "seg.dcm", mask(rng) * 1.5, source, ORIGIN)


def foreign_seg(path: Path, labels: np.ndarray, source: DicomSource, name: str, code: str | None) -> None:
    """A SEG as a viewer writes it: two segments, frames from the last slice to the first, mirrored along rows."""
    segments = {1: meaning_of("edema"), 2: meaning_of("lesion")}
    write_dicom_seg(path, labels, source, ORIGIN, segments)
    seg = pydicom.dcmread(path)
    pixels = seg.pixel_array[::-1, :, ::-1]
    groups = list(seg.PerFrameFunctionalGroupsSequence)[::-1]
    shared = seg.SharedFunctionalGroupsSequence[0]
    orientation = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    width = float(shared.PixelMeasuresSequence[0].PixelSpacing[1]) * (seg.Columns - 1)
    for group in groups:
        place = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float) + width * orientation[:3]
        group.PlanePositionSequence[0].ImagePositionPatient = [f"{value:.9f}"[:16] for value in place]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [
        f"{value:.9f}"[:16] for value in (*-orientation[:3], *orientation[3:])
    ]
    seg.PerFrameFunctionalGroupsSequence = groups
    seg.PixelData = np.packbits(pixels.ravel().astype(np.uint8), bitorder="little").tobytes()
    seg.PixelData += b"\0" * (len(seg.PixelData) % 2)
    seg.SegmentSequence[1].SegmentLabel = name
    if code is None:
        del seg.SegmentSequence[1].SegmentedPropertyTypeCodeSequence
    else:
        seg.SegmentSequence[1].SegmentedPropertyTypeCodeSequence[0].CodeValue = code
    seg.save_as(path)


@pytest.mark.parametrize(("name", "code"), [("Segment_2", "55641003"), ("Lesion left", None)])
def test_the_lesion_of_a_viewers_seg_is_found_by_its_code_or_name(series, tmp_path, rng, name, code) -> None:
    labels = rng.integers(0, 3, SHAPE)
    foreign_seg(tmp_path / "seg.dcm", labels, DicomSource(series), name, code)
    seg = read_dicom_seg(tmp_path / "seg.dcm", read_image(series).grid)
    assert np.array_equal(seg.labels, labels) and np.array_equal(seg.lesion_mask(), labels == 2)


def test_a_seg_without_lesion_says_what_it_holds(series, tmp_path, rng) -> None:
    foreign_seg(tmp_path / "seg.dcm", rng.integers(0, 3, SHAPE), DicomSource(series), "ventricle", "1234")
    with pytest.raises(LabelMapError, match="'edema', 'ventricle'"):
        read_dicom_seg(tmp_path / "seg.dcm", read_image(series).grid).lesion_mask()


def test_a_seg_of_another_grid_and_files_that_are_none_are_refused(series, tmp_path, rng) -> None:
    grid = read_image(series).grid
    write_dicom_seg(tmp_path / "seg.dcm", mask(rng), DicomSource(series), ORIGIN)
    finer = grid.affine @ np.diag([0.5, 0.5, 1, 1])
    beside = [
        shifted(grid.affine, 0.5, 0, 0),
        shifted(grid.affine, 0, 0.2, 0),
        shifted(grid.affine, 0, 0, 0.5),
    ]
    for other in (*(Grid(SHAPE, affine) for affine in beside), Grid((22, 16, 6), finer)):
        with pytest.raises(HeaderError, match="another grid"):
            read_dicom_seg(tmp_path / "seg.dcm", other)
    with pytest.raises(HeaderError, match="outside"):
        read_dicom_seg(tmp_path / "seg.dcm", Grid((11, 8, 3), grid.affine))
    with pytest.raises(UnreadableImageError, match="another object"):
        read_dicom_seg(next(series.iterdir()), grid)
    cut = tmp_path / "cut.dcm"
    cut.write_bytes((tmp_path / "seg.dcm").read_bytes()[:-40])
    with pytest.raises(UnreadableImageError, match="corrupt"):
        read_dicom_seg(cut, grid)


def test_colours_and_names_mean_what_viewers_take_them_for() -> None:
    assert np.allclose(cielab((255, 0, 0)), (53.24, 80.09, 67.20), atol=0.05)
    assert np.allclose(cielab((255, 255, 255)), (100, 0, 0), atol=0.05)
    assert means_lesion(None, "Acute infarct") and not means_lesion(None, "gray matter")
    assert meaning_of("something").type.value == "85756007"
