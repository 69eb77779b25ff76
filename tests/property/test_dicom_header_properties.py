"""The law of headers: the volume in ml is right or the scan is refused, whatever happened to a tag."""

import tempfile
from pathlib import Path

import pydicom
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dicom_faults import (
    DECIMAL_FAULTS,
    NUMBER_FAULTS,
    VOLUME_ML,
    spoil,
    volume_ml,
    write_frames,
    write_slices,
)
from strokelabel.errors import ImageError
from strokelabel.io import read_image

LAW = settings(derandomize=True, deadline=None, max_examples=50)
DECIMALS = (
    "PixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SliceThickness",
    "SpacingBetweenSlices",
    "RescaleSlope",
    "RescaleIntercept",
)
NUMBERS = (
    "Rows",
    "Columns",
    "NumberOfFrames",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "SamplesPerPixel",
)
SEQUENCES = (
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
)
TEXTS = ("SOPClassUID", "SeriesInstanceUID", "SOPInstanceUID", "PhotometricInterpretation", "Modality")


def test_the_phantom_as_it_is_written_has_its_volume(tmp_path):
    write_slices(tmp_path / "series")
    write_frames(tmp_path / "frames")
    assert right_or_refused(tmp_path / "series")
    assert right_or_refused(tmp_path / "frames")


def right_or_refused(folder):
    """Whether the phantom was read, with its own volume."""
    try:
        image = read_image(folder)
    except ImageError as error:
        assert str(folder) in str(error)
        return False
    assert volume_ml(image) == pytest.approx(VOLUME_ML, rel=1e-4)
    return True


@st.composite
def faults(draw):
    """A tag, and what happens to it."""
    decimal = draw(st.booleans())
    keyword = draw(st.sampled_from(DECIMALS if decimal else NUMBERS))
    name = draw(st.sampled_from(sorted(DECIMAL_FAULTS if decimal else NUMBER_FAULTS)))
    assume(name != "negative" or not keyword.startswith("Rescale"))  # a scale of either sign is possible
    return keyword, name


@LAW
@given(fault=faults(), which=st.sampled_from(["all", "first", "middle", "last"]))
def test_a_series_with_a_spoilt_tag_has_its_volume_or_is_refused(fault, which):
    keyword, name = fault
    with tempfile.TemporaryDirectory() as folder:
        paths = write_slices(Path(folder) / "series")
        chosen = {"all": paths, "first": paths[:1], "middle": paths[3:4], "last": paths[-1:]}[which]
        spoil(chosen, keyword, {**DECIMAL_FAULTS, **NUMBER_FAULTS}[name])
        right_or_refused(Path(folder) / "series")


@LAW
@given(fault=faults(), frames=st.sampled_from(["all", "one"]))
def test_an_enhanced_file_with_a_spoilt_tag_has_its_volume_or_is_refused(fault, frames):
    keyword, name = fault
    change = {**DECIMAL_FAULTS, **NUMBER_FAULTS}[name]
    hit = []

    def once(holder, keyword):
        if frames == "all" or len(hit) == 2:
            change(holder, keyword)
        hit.append(holder)

    with tempfile.TemporaryDirectory() as folder:
        spoil(write_frames(Path(folder) / "series"), keyword, once)
        right_or_refused(Path(folder) / "series")


@LAW
@given(
    keyword=st.sampled_from(SEQUENCES), emptied=st.booleans(), number=st.integers(0, 5), every=st.booleans()
)
def test_functional_groups_that_are_gone_are_never_guessed(keyword, emptied, number, every):
    hit = []

    def fault(holder, keyword):
        if every or len(hit) == number:
            if emptied:
                setattr(holder, keyword, [])
            else:
                delattr(holder, keyword)
        hit.append(holder)

    with tempfile.TemporaryDirectory() as folder:
        (path,) = write_frames(Path(folder) / "series")
        spoil([path], keyword, fault)
        if every and keyword == "PixelValueTransformationSequence":
            return  # no tag is left that says how values compare
        right_or_refused(path.parent)


@LAW
@given(
    text=st.sampled_from(TEXTS),
    value=st.sampled_from(["", "1.2.3", "MONOCHROME1", "CT", "OT", "X" * 70]),
    number=st.integers(0, 5),
    every=st.booleans(),
)
def test_identifiers_and_kinds_that_are_wrong_change_no_volume(text, value, number, every):
    with tempfile.TemporaryDirectory() as folder:
        paths = write_slices(Path(folder) / "series")
        for path in paths if every else [paths[number]]:
            dataset = pydicom.dcmread(path)
            setattr(dataset, text, value)
            dataset.save_as(path)
        right_or_refused(Path(folder) / "series")


@LAW
@given(cut=st.integers(-2000, 2000).filter(bool), number=st.integers(0, 5))
def test_pixels_that_are_cut_or_go_on_are_refused(cut, number):
    with tempfile.TemporaryDirectory() as folder:
        paths = write_slices(Path(folder) / "series")
        dataset = pydicom.dcmread(paths[number])
        content = dataset.PixelData
        dataset.PixelData = (
            content[: max(0, len(content) + cut) // 2 * 2] if cut < 0 else content + bytes(cut * 2)
        )
        dataset.save_as(paths[number])
        right_or_refused(Path(folder) / "series")
