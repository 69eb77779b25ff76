"""Header of a DICOM file, and its numbers: as they are in the file, or refused by the name of the tag."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.tag import Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from strokelabel.errors import HeaderError, ImageError, UnreadableImageError

EXPORT_AGAIN = "export the series again"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_BINARY_NUMBERS = {"US", "SS", "UL", "SL", "UV", "SV", "FL", "FD"}
_NO_IMAGES = {"SEG", "SR", "PR", "KO", "RTSTRUCT", "RTPLAN", "RTDOSE", "RWV", "REG", "DOC"}
"""Modalities of objects about images, which may lie beside them."""
_COLOURS = ("RGB", "YBR", "PALETTE", "HSV", "ARGB", "CMYK")
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@dataclass(frozen=True, eq=False)
class DicomFile:
    """An image file of a DICOM series, before its pixels are read.

    Attributes:
        path: the file.
        header: all elements before the pixels.
        series, description, modality: identification; empty where the file does not say.
        size: columns, rows, frames.
    """

    path: Path
    header: Dataset
    series: str
    description: str
    modality: str
    size: tuple[int, int, int]

    @property
    def is_colour(self) -> bool:
        """True if its pixels are colours or indices of colours."""
        return text(self.header, "PhotometricInterpretation").startswith(_COLOURS)

    @property
    def is_aside(self) -> bool:
        """True if it is a picture that archives put beside scans: colour, a screenshot or a localizer."""
        capture = text(self.header, "SOPClassUID").startswith(_SECONDARY_CAPTURE)
        return self.is_colour or capture or "LOCALIZER" in text(self.header, "ImageType").upper()


def read_dicom_file(path: Path) -> DicomFile | None:
    """Read a DICOM file's header; None when it holds no image (a report, a directory).

    Raises:
        UnreadableImageError: an image whose header is truncated or corrupt.
        HeaderError: impossible numbers of rows, columns or frames.
    """
    header, goes_on = _read(path)
    with silent_pydicom():
        modality = text(header, "Modality")
        if modality in _NO_IMAGES or not _is_image(header, path):
            return None
        if not goes_on:
            raise UnreadableImageError(
                f"expected a DICOM image, found a file that ends before its pixels; it is truncated: "
                f"{EXPORT_AGAIN}.",
                source=path,
            )
        return _image_file(header, path, modality)


def read_header(path: Path) -> Dataset:
    """Read the elements before the pixels; a preamble is not needed.

    Raises:
        UnreadableImageError: it is truncated or corrupt.
    """
    return _read(path)[0]


def announces_an_image(path: Path) -> bool:
    """Return whether a DICOM file's class is one of images; one too corrupt to tell may be an image."""
    try:
        with silent_pydicom():
            tags = ["SOPClassUID", "Modality", "Rows"]
            header = dcmread(path, stop_before_pixels=True, force=True, specific_tags=tags)
            return text(header, "Modality") not in _NO_IMAGES and _is_image(header, path)
    except Exception:  # pydicom has no common error for corrupt files: any kind may come through
        return True


def text(dataset: Dataset, keyword: str) -> str:
    """Return an element as text without blanks; empty where it is missing."""
    try:
        value = dataset.get(keyword)
    except Exception:  # a value that pydicom cannot convert
        value = dataset.get_item(Tag(keyword)).value.decode("latin-1")
    return "" if value is None else str(value).strip(" \0")


def has_value(dataset: Dataset, keyword: str) -> bool:
    """Return whether an element is there and not empty."""
    element = dataset.get_item(Tag(keyword))
    value = None if element is None else element.value
    if isinstance(value, bytes) and _vr(element) not in _BINARY_NUMBERS:
        value = value.strip(b" \0")
    return value is not None and (not hasattr(value, "__len__") or len(value) > 0)


def numbers(dataset: Dataset, keyword: str, count: int, where: str) -> np.ndarray | None:
    """Return the numbers of an element as float64 (count,); None where it is missing or empty.

    Text is read as it stands in the file: pydicom takes other values than DICOM's decimal strings for numbers too.

    Args:
        dataset: holds the element, or not.
        keyword: its name.
        count: how many numbers there must be.
        where: name of the file, for messages.

    Raises:
        HeaderError: something else than that many finite numbers with a decimal point.
    """
    if not has_value(dataset, keyword):
        return None
    found = as_written(dataset, keyword)
    values = parse_numbers(found)
    if values is not None and len(values) == count:
        return values
    reason = ", with a comma for the decimal point" if "," in found else ""
    raise HeaderError(
        f"expected {tag_name(keyword)} as {count} number{'s' if count > 1 else ''}, found "
        f"{found[:80]!r}{reason}; repair the tag or {EXPORT_AGAIN}.",
        source=where,
    )


def parse_numbers(text: str) -> np.ndarray | None:
    """Return the numbers of a decimal string with backslashes between them; None when they are no finite numbers."""
    parts = [part.strip(" \0") for part in text.split("\\")]
    if not all(_NUMBER.fullmatch(part) for part in parts):
        return None
    values = np.array([float(part) for part in parts])
    return values if np.isfinite(values).all() else None


def tag_name(keyword: str) -> str:
    """Return a tag as PixelSpacing (0028,0030)."""
    tag = Tag(keyword)
    return f"{keyword} ({tag.group:04x},{tag.element:04x})"


@contextmanager
def silent_pydicom() -> Iterator[None]:
    """Keep pydicom from warning about values that play no role here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def refusing_corruption(path: Path) -> Iterator[None]:
    """Turn whatever pydicom raises at a corrupt file into a refusal.

    Raises:
        UnreadableImageError: the file is truncated or corrupt.
    """
    try:
        with silent_pydicom():
            yield
    except ImageError:
        raise
    except Exception as error:  # pydicom has no common error for corrupt files
        raise UnreadableImageError(
            f"expected a readable DICOM image, found a truncated or corrupt one; {EXPORT_AGAIN}.", source=path
        ) from error


def _read(path: Path) -> tuple[Dataset, bool]:
    """Read the elements before the pixels; return them, and whether the file continues after them."""
    with refusing_corruption(path), path.open("rb") as file:
        header = dcmread(file, stop_before_pixels=True, force=True)
        deflated = (
            text(getattr(header, "file_meta", Dataset()), "TransferSyntaxUID")
            == DeflatedExplicitVRLittleEndian
        )
        return header, deflated or bool(file.read(1))


def _image_file(header: Dataset, path: Path, modality: str) -> DicomFile:
    columns, rows = (_count(header, name, path) for name in ("Columns", "Rows"))
    frames = _count(header, "NumberOfFrames", path) if has_value(header, "NumberOfFrames") else 1
    return DicomFile(
        path=path,
        header=header,
        series=text(header, "SeriesInstanceUID"),
        description=text(header, "SeriesDescription"),
        modality=modality,
        size=(columns, rows, frames),
    )


def _is_image(header: Dataset, path: Path) -> bool:
    """Return whether a header is an image's, by its class or its rows; raise an error if it has neither."""
    meta = getattr(header, "file_meta", Dataset())
    classes = [text(header, "SOPClassUID"), text(meta, "MediaStorageSOPClassUID")]
    names = [str(UID(uid).name) for uid in classes if uid]
    if has_value(header, "Rows") or any("Image Storage" in name for name in names):
        return True
    if names:
        return False
    raise UnreadableImageError(
        f"expected a readable DICOM image, found a truncated or corrupt one without "
        f"{tag_name('SOPClassUID')}; {EXPORT_AGAIN}.",
        source=path,
    )


def _count(header: Dataset, keyword: str, path: Path) -> int:
    value = numbers(header, keyword, 1, str(path))
    if value is None or value[0] < 1 or value[0] % 1:
        found = "none" if value is None else f"{value[0]:g}"
        raise HeaderError(
            f"expected {tag_name(keyword)} as a whole number above 0, found {found}; the file is truncated "
            f"or corrupt: {EXPORT_AGAIN}.",
            source=path,
        )
    return int(value[0])


def as_written(dataset: Dataset, keyword: str) -> str:
    """Return the numbers as text with backslashes between them, unchanged by pydicom."""
    element = dataset.get_item(Tag(keyword))
    if (
        isinstance(element, RawDataElement)
        and _vr(element) not in _BINARY_NUMBERS
        and isinstance(element.value, bytes)
    ):
        return element.value.decode("latin-1").strip(" \0")
    try:
        value = dataset[keyword].value
    except Exception as error:  # as above
        return f"unreadable ({error})"
    values = value if isinstance(value, list | tuple) or hasattr(value, "insert") else [value]
    return "\\".join(repr(float(v)) if isinstance(v, int | float) else str(v) for v in values)


def _vr(element: DataElement | RawDataElement) -> str:
    """Return an element's type; implicit files leave it to the dictionary."""
    try:
        return str(element.VR or dictionary_VR(element.tag))
    except KeyError:
        return "UN"
