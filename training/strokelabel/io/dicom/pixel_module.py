"""Tags of the storage of the pixels of a DICOM file, and refusals of files where they do not fit."""

from __future__ import annotations

from pydicom import Dataset, uid

from strokelabel.errors import HeaderError, UnreadableImageError
from strokelabel.io.dicom.header import EXPORT_AGAIN, DicomFile, numbers, tag_name

PIXEL_MODULE = ("BitsAllocated", "BitsStored", "PixelRepresentation")
"""Tags without which stored numbers have no meaning."""


def transfer_syntax(dataset: Dataset) -> uid.UID:
    """Return how a data set is stored; empty for a file without DICOM's file header."""
    return uid.UID(str(getattr(dataset, "file_meta", Dataset()).get("TransferSyntaxUID", "") or ""))


def pixel_number(dataset: Dataset, keyword: str, file: DicomFile) -> int:
    """Return a tag of the pixel module.

    Raises:
        HeaderError: it is missing or no number.
    """
    value = numbers(dataset, keyword, 1, str(file.path))
    if value is None:
        raise missing(file, keyword)
    return int(value[0])


def missing(file: DicomFile, keyword: str) -> HeaderError:
    """Make the refusal of a file without a tag that its pixels need."""
    return HeaderError(
        f"expected {tag_name(keyword)}, without which the pixels have no meaning, found none; "
        f"{EXPORT_AGAIN}.",
        source=file.path,
    )


def truncated(file: DicomFile, found: str) -> UnreadableImageError:
    """Make the refusal of a file whose pixels are fewer or more than announced."""
    return UnreadableImageError(
        f"expected all pixels that its header announces, found {found}; the file is truncated or its "
        f"header is wrong: {EXPORT_AGAIN}.",
        source=file.path,
    )
