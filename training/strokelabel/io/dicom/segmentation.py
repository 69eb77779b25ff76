"""DICOM SEG: a mask on the grid of its source instances, whose headers it takes over."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import highdicom as hd
import numpy as np
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from strokelabel import __version__
from strokelabel.errors import HeaderError, OptionError, OutputError
from strokelabel.geometry import Grid
from strokelabel.io.atomic import atomic_path
from strokelabel.io.dicom.geometry import Slice
from strokelabel.io.dicom.header import (
    numbers,
    read_header,
    refusing_corruption,
    silent_pydicom,
    tag_name,
    text,
)
from strokelabel.io.dicom.reader import find_dicom_stack
from strokelabel.io.dicom.segmentation_attributes import (
    ARTIFICIAL_INTELLIGENCE,
    BRAIN,
    LESION_SEGMENT,
    SegmentMeaning,
    cielab,
    take_over,
)
from strokelabel.types import PathLike

_REQUIRED = (
    "PatientID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "SOPClassUID",
    "FrameOfReferenceUID",
)
"""Attributes that place a result in an archive and in space; they cannot be replaced."""


class DicomSource:
    """A DICOM series that results are written back to.

    Args:
        folder: holds the files of one series, or one file of the series, as for `read_dicom_series`.

    Raises:
        UnreadableImageError, DimensionError, HeaderError: as `read_dicom_series`.
    """

    def __init__(self, folder: PathLike) -> None:
        self._folder = Path(folder)
        self._stack = find_dicom_stack(self._folder)
        self._notes: dict[str, None] = {}

    @property
    def grid(self) -> Grid:
        """Shape and affine that `read_image` gives for the series."""
        return Grid(self._stack.shape, self._stack.affine)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user on attributes that `headers` could not take over unchanged."""
        return tuple(self._notes)

    @silent_pydicom()
    def headers(self) -> list[Dataset]:
        """Return the instances without pixels, completed in memory where highdicom needs more than the standard
        requires.

        Returns:
            One for each k, or the one multi-frame instance.

        Raises:
            OutputError: an instance lacks what identifies the patient, the study or the frame of reference.
            UnreadableImageError: a file is corrupt.
        """
        headers = [self._header(file) for file in self._stack.files]
        for header, slice_ in zip(
            headers, self._stack.slices, strict=False
        ):  # one slice of a multi-frame file will do
            self._notes.update(dict.fromkeys(take_over(header)))
            self._complete(header, slice_)
        return headers

    def planes(self, volume: np.ndarray) -> np.ndarray:
        """Return a volume (i, j, k) as planes (instance or frame, row, column) in the order of `headers`.

        Raises:
            HeaderError: it is not on the grid of the series.
        """
        if volume.shape != self._stack.shape:
            raise HeaderError(
                f"expected a result of shape {self._stack.shape}, that of the series, found "
                f"{volume.shape}; bring it back to the series' grid first.",
                source=self._folder,
            )
        planes = np.ascontiguousarray(volume.transpose(2, 1, 0))
        if self._stack.frames is None:
            return planes
        in_file = np.empty_like(planes)
        in_file[list(self._stack.frames)] = planes
        return in_file

    def _header(self, file: Path) -> Dataset:
        with refusing_corruption(file):
            header = read_header(file)
            missing = [name for name in _REQUIRED if not text(header, name)]
        if missing:
            raise OutputError(
                f"expected {', '.join(map(tag_name, missing))} in the source for a DICOM SEG, found none; "
                "nothing is invented: export the series with it, or write NIfTI.",
                source=file.name,
            )
        return header

    def _complete(self, header: Dataset, slice_: Slice) -> None:
        """Put the geometry that was read where highdicom looks for it."""
        spacing = float(f"{np.linalg.norm(self._stack.affine[:3, 2]):.6g}")
        if self._stack.frames is None:
            _tell_place(header, slice_)
            _tell_spacing(header, spacing)
        else:
            _share_groups(header, spacing)


def _tell_place(header: Dataset, slice_: Slice) -> None:
    """Give position, directions and pixel size as they were read, where the header has them otherwise."""
    read = {
        "ImagePositionPatient": slice_.origin,
        "ImageOrientationPatient": slice_.directions[:, :2].T.ravel(),
        "PixelSpacing": slice_.spacing[::-1],
    }
    for keyword, values in read.items():
        found = numbers(header, keyword, len(values), str(slice_.file.path))
        if found is None or not np.allclose(found, values, atol=1e-4):
            setattr(header, keyword, [f"{value:.10f}"[:16] for value in values])


def _tell_spacing(header: Dataset, spacing: float) -> None:
    """Give the distance of slices, gaps included: readers of the SEG need it where slices are left out."""
    header.SpacingBetweenSlices = spacing
    if not text(header, "SliceThickness").replace(".", "", 1).strip("0").isdigit():
        header.SliceThickness = spacing


def _share_groups(header: Dataset, spacing: float) -> None:
    """Put orientation and pixel size, which are one for all frames, where highdicom looks for them."""
    frames = header.get("PerFrameFunctionalGroupsSequence")
    if not frames or "PlanePositionSequence" not in frames[0]:
        raise OutputError(
            "expected a position for each frame of the multi-frame source for a DICOM SEG, found none; "
            "export the series again, or write NIfTI."
        )
    if not header.get("SharedFunctionalGroupsSequence"):
        header.SharedFunctionalGroupsSequence = [Dataset()]
    shared = header.SharedFunctionalGroupsSequence[0]
    for name in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
        if name not in shared:
            setattr(shared, name, frames[0][name].value)
    _tell_spacing(shared.PixelMeasuresSequence[0], spacing)


MANUFACTURER = "StrokeLabel"
_LONG_STRING = 64
_SERIES_NUMBER_OFFSET = 1000
_UTF_8 = "ISO_IR 192"


@dataclass(frozen=True)
class SegOrigin:
    """Origin of a segmentation.

    Attributes:
        model: name of the model.
        version: version of its weights.
        corrected: whether a person corrected or drew it (SEMIAUTOMATIC) or not (AUTOMATIC).
        series_description: how the series is shown in an archive; at most 64 characters are kept.
        content_description: more of the same.
    """

    model: str
    version: str
    corrected: bool = False
    series_description: str = "Stroke lesion (StrokeLabel)"
    content_description: str = "Stroke lesion segmentation; for research only"


def write_dicom_seg(
    path: PathLike,
    labels: np.ndarray,
    source: DicomSource,
    origin: SegOrigin,
    segments: Mapping[int, SegmentMeaning] = LESION_SEGMENT,
) -> Dataset:
    """Write a label map as a BINARY DICOM SEG, atomically.

    Slices without label are left out. When nothing is labelled at all every slice is written, since a SEG must
    hold a frame: "nothing was found" is a result.

    Args:
        path: the file.
        labels: (i, j, k) whole numbers on the grid of `source`, 0 for background.
        source: the series.
        origin: what made it.
        segments: meaning of each value, 1 to their number.

    Returns:
        The SEG as written.

    Raises:
        OptionError: a value without a meaning.
        HeaderError: not on the grid of `source`.
        OutputError: the source lacks what a SEG must say, or the file cannot be written.
    """
    if sorted(segments) != list(range(1, len(segments) + 1)):
        raise OptionError(f"segments: expected values 1 to {len(segments)}, found {sorted(segments)}.")
    unknown = sorted(set(np.unique(labels).tolist()) - {0, *segments})
    if unknown:
        raise OptionError(f"labels: expected 0 and {sorted(segments)}, found {unknown[:10]} too.")
    planes = source.planes(np.asarray(labels).astype(np.uint8))
    return _write(Path(path), planes, source, origin, segments, hd.seg.SegmentationTypeValues.BINARY)


def write_probability_seg(
    path: PathLike,
    probability: np.ndarray,
    source: DicomSource,
    origin: SegOrigin,
    segment: SegmentMeaning = LESION_SEGMENT[1],
) -> Dataset:
    """Write a probability as a FRACTIONAL DICOM SEG in steps of 1/255, atomically.

    Args:
        path: the file.
        probability: (i, j, k), 0 to 1, on the grid of `source`.
        source: the series.
        origin: what made it.
        segment: what it is the probability of.

    Returns:
        The SEG as written.

    Raises:
        OptionError: values that are no probabilities.
        HeaderError, OutputError: as `write_dicom_seg`.
    """
    if not (np.isfinite(probability).all() and probability.min() >= 0 and probability.max() <= 1):
        raise OptionError("probability: expected values from 0 to 1, found others.")
    planes = source.planes(np.asarray(probability, np.float32))
    return _write(Path(path), planes, source, origin, {1: segment}, hd.seg.SegmentationTypeValues.FRACTIONAL)


def _write(
    path: Path,
    planes: np.ndarray,
    source: DicomSource,
    origin: SegOrigin,
    segments: Mapping[int, SegmentMeaning],
    kind: hd.seg.SegmentationTypeValues,
) -> Dataset:
    headers = source.headers()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about values of the source that are taken over as they are
            seg = hd.seg.Segmentation(
                source_images=headers,
                pixel_array=planes,
                segmentation_type=kind,
                segment_descriptions=[_describe(n, m, origin) for n, m in sorted(segments.items())],
                series_instance_uid=hd.UID(),
                series_number=_SERIES_NUMBER_OFFSET + max(0, int(headers[0].get("SeriesNumber") or 0)),
                sop_instance_uid=hd.UID(),
                instance_number=1,
                manufacturer=MANUFACTURER,
                manufacturer_model_name=_cut(origin.model),
                software_versions=__version__,
                device_serial_number=_cut(f"{origin.model} {origin.version}"),
                content_label="LESION" if segments == LESION_SEGMENT else "TISSUES",
                content_description=_cut(origin.content_description),
                series_description=_cut(origin.series_description),
                omit_empty_frames=bool(planes.any()),
                transfer_syntax_uid=ExplicitVRLittleEndian,
            )
    except Exception as error:  # whatever highdicom meets in a source that its checks did not foresee
        raise OutputError(
            f"expected a source that a DICOM SEG can refer to, but highdicom says {type(error).__name__}: "
            f"{' '.join(str(error).split())}; export the series again, or write NIfTI."
        ) from error
    seg.SpecificCharacterSet = _UTF_8
    with atomic_path(path) as temporary:
        seg.save_as(temporary, write_like_original=False)
    return seg


def _describe(number: int, meaning: SegmentMeaning, origin: SegOrigin) -> hd.seg.SegmentDescription:
    algorithm = hd.AlgorithmIdentificationSequence(
        name=MANUFACTURER,
        family=ARTIFICIAL_INTELLIGENCE,
        version=_cut(f"{origin.model} {origin.version}"),
    )
    kinds = hd.seg.SegmentAlgorithmTypeValues
    description = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=_cut(meaning.label),
        segmented_property_category=meaning.category,
        segmented_property_type=meaning.type,
        algorithm_type=kinds.SEMIAUTOMATIC if origin.corrected else kinds.AUTOMATIC,
        algorithm_identification=algorithm,
        anatomic_regions=[BRAIN],
    )
    description.RecommendedDisplayCIELabValue = list(hd.color.CIELabColor(*cielab(meaning.color)).value)
    return description


def _cut(text: str) -> str:
    return text[:_LONG_STRING]
