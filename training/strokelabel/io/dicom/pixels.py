"""Values of a DICOM file: stored numbers as they are, scaled by each frame's own slope and intercept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread, uid

from strokelabel.errors import DimensionError, HeaderError, UnreadableImageError
from strokelabel.io.dicom.compressed import DECODED, decompress
from strokelabel.io.dicom.geometry import Slice
from strokelabel.io.dicom.header import (
    EXPORT_AGAIN,
    DicomFile,
    has_value,
    refusing_corruption,
    tag_name,
    text,
)
from strokelabel.io.dicom.pixel_module import PIXEL_MODULE, missing, pixel_number, transfer_syntax, truncated
from strokelabel.types import Volume

_NATIVE = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
)
_NAMES = {
    "1.2.840.10008.1.2.4.201": "HTJ2K (lossless)",
    "1.2.840.10008.1.2.4.202": "HTJ2K (lossless, RPCL)",
    "1.2.840.10008.1.2.4.203": "HTJ2K",
}
"""Names of compressions that are newer than pydicom's dictionary."""

_FLOATS = {"FloatPixelData": "f4", "DoubleFloatPixelData": "f8"}
_OVERLAY_GROUPS = range(0x6000, 0x6020, 2)


def read_values(slices: Sequence[Slice]) -> Volume:
    """Read the values of slices, each with its own slope and intercept, as float32 (i, j, k).

    Args:
        slices: along k, all of one size.

    Raises:
        UnreadableImageError: pixels that are truncated or compressed in an unknown way.
        HeaderError: numbers of bits that do not fit the pixels.
    """
    columns, rows, _ = slices[0].file.size
    values = np.empty((columns, rows, len(slices)), np.float32)
    stored: dict[Path, np.ndarray] = {}
    for k, slice_ in enumerate(slices):
        if slice_.file.path not in stored:
            stored = {slice_.file.path: _stored_values(slice_.file)}  # one file at a time in memory
        frame = stored[slice_.file.path][slice_.frame].T
        slope, intercept = slice_.rescale or (1.0, 0.0)
        with np.errstate(over="ignore"):  # the check of values reports infinities
            values[:, :, k] = frame * slope + intercept
    return values


def check_pixel_format(file: DicomFile) -> tuple[str, ...]:
    """Refuse pixels that cannot be read as gray values, before they are read; return notes.

    Raises:
        DimensionError: colour.
        UnreadableImageError: a compression without a decoder here.
        HeaderError: a tag that describes the pixels is missing or impossible.
    """
    with refusing_corruption(file.path):
        _check_is_gray(file)
        if has_value(file.header, "ModalityLUTSequence"):
            raise HeaderError(
                f"expected values scaled by RescaleSlope, found a table "
                f"({tag_name('ModalityLUTSequence')}); {EXPORT_AGAIN} without it.",
                source=file.path,
            )
        return _syntax_notes(file) + _inversion_notes(file)


def _check_is_gray(file: DicomFile) -> None:
    kind, samples = (text(file.header, name) for name in ("PhotometricInterpretation", "SamplesPerPixel"))
    if not kind:
        raise missing(file, "PhotometricInterpretation")
    if file.is_colour:
        raise DimensionError(
            f"expected gray values, found colour ({kind}); pass the original series.", source=file.path
        )
    if kind not in ("MONOCHROME1", "MONOCHROME2") or samples not in ("", "1"):
        raise HeaderError(
            f"expected gray values, found {tag_name('PhotometricInterpretation')} {kind[:40]!r} and "
            f"{tag_name('SamplesPerPixel')} {samples or 'none'}; {EXPORT_AGAIN}.",
            source=file.path,
        )


def _syntax_notes(file: DicomFile) -> tuple[str, ...]:
    syntax = transfer_syntax(file.header)
    if syntax in _NATIVE or syntax in DECODED:
        return ()
    if not syntax:
        return ("files without DICOM's file header: their pixels are read as uncompressed",)
    name = _NAMES.get(str(syntax), str(syntax.name))
    raise UnreadableImageError(
        f"expected pixels that are uncompressed, or compressed as JPEG, JPEG-LS, JPEG 2000 or RLE, found "
        f"{name} ({tag_name('TransferSyntaxUID')} {syntax}), a compression that needs another decoder; export the "
        "series uncompressed, or decompress it first (gdcmconv --raw, dcmdjpeg, or the archive's transcoding).",
        source=file.path,
    )


def _inversion_notes(file: DicomFile) -> tuple[str, ...]:
    if not _is_inverted(file):
        return ()
    return ("white stands for low values (PhotometricInterpretation MONOCHROME1): the values are inverted",)


def _is_inverted(file: DicomFile) -> bool:
    """Return whether brightness is inverted against the values; those of a CT are physical and stay."""
    return text(file.header, "PhotometricInterpretation") == "MONOCHROME1" and file.modality != "CT"


def _stored_values(file: DicomFile) -> np.ndarray:
    """Return the numbers as stored, (frame, row, column); inverted where white stands for low ones."""
    with refusing_corruption(file.path):
        dataset = dcmread(file.path, force=True)
        for keyword, kind in _FLOATS.items():
            if keyword in dataset:
                return _numbers_of(dataset, keyword, np.dtype(kind), file)
        if "PixelData" not in dataset:
            raise truncated(file, "no pixels (PixelData)")
        return _gray_values(dataset, file)


def _gray_values(dataset: Dataset, file: DicomFile) -> np.ndarray:
    bits, stored, signed = (pixel_number(dataset, keyword, file) for keyword in PIXEL_MODULE)
    if bits not in (8, 16, 32) or not 1 <= stored <= bits or signed not in (0, 1):
        raise HeaderError(
            f"expected pixels of 8, 16 or 32 bits, found {tag_name('BitsAllocated')} {bits}, "
            f"{tag_name('BitsStored')} {stored} and {tag_name('PixelRepresentation')} {signed}; {EXPORT_AGAIN}.",
            source=file.path,
        )
    encapsulated = bool(dataset["PixelData"].is_undefined_length)
    compressed = transfer_syntax(dataset) in DECODED
    if encapsulated != compressed:
        raise UnreadableImageError(
            f"expected pixels as {tag_name('TransferSyntaxUID')} says ("
            f"{'' if compressed else 'un'}compressed), found {'' if encapsulated else 'un'}compressed ones; "
            f"{EXPORT_AGAIN}.",
            source=file.path,
        )
    if compressed:
        values = decompress(dataset, file)
    else:
        values = _without_other_bits(
            _numbers_of(dataset, "PixelData", np.dtype(f"u{bits // 8}"), file), dataset, file
        )
    if not _is_inverted(file):
        return values
    return (-1 if signed else (1 << stored) - 1) - values


def _numbers_of(dataset: Dataset, keyword: str, kind: np.dtype, file: DicomFile) -> np.ndarray:
    """Return the uncompressed pixels as (frame, row, column), when there are as many bytes as announced."""
    columns, rows, frames = file.size
    content = bytes(dataset[keyword].value or b"")
    expected = frames * rows * columns * kind.itemsize
    # Fewer bytes more than a row or column has are padding; others would mean a wrong size.
    if not expected <= len(content) < expected + min(rows, columns) * kind.itemsize:
        raise truncated(
            file,
            f"{len(content):,} bytes for {frames} x {rows} x {columns} (NumberOfFrames x Rows x Columns) pixels of "
            f"{kind.itemsize} bytes, which take {expected:,}",
        )
    if not dataset.is_little_endian and kind.itemsize == 1 and dataset[keyword].VR == "OW":
        content = np.frombuffer(content[: len(content) // 2 * 2], "<u2").byteswap().tobytes()
    order = kind.newbyteorder("<" if dataset.is_little_endian else ">")
    values = np.frombuffer(content[:expected], order).reshape(frames, rows, columns)
    return values.astype(kind.newbyteorder("="))


def _without_other_bits(raw: np.ndarray, dataset: Dataset, file: DicomFile) -> np.ndarray:
    """Return the numbers in the low bits that are announced to hold them; other bits must be empty, or an overlay's."""
    stored, signed = (pixel_number(dataset, keyword, file) for keyword in PIXEL_MODULE[1:])
    bits = 8 * raw.dtype.itemsize
    high = pixel_number(dataset, "HighBit", file) if has_value(dataset, "HighBit") else stored - 1
    if high != stored - 1:
        raise HeaderError(
            f"expected {tag_name('HighBit')} {stored - 1}, one less than BitsStored, found {high}; "
            f"{EXPORT_AGAIN}.",
            source=file.path,
        )
    mask = (1 << stored) - 1
    values = raw.astype(np.int64) & mask
    if signed:
        values = (values ^ (1 << high)) - (1 << high)
    rest = raw.astype(np.int64) & ~mask
    is_sign = (rest == (values & ((1 << bits) - 1) & ~mask)).all()
    if rest.any() and not is_sign and not _has_overlay_in_pixels(dataset):
        raise HeaderError(
            f"expected values of {stored} bits ({tag_name('BitsStored')}), found values up to "
            f"{int(raw.max())} in {bits} bits; {EXPORT_AGAIN}.",
            source=file.path,
        )
    return values


def _has_overlay_in_pixels(dataset: Dataset) -> bool:
    """Return whether an overlay lies in unused bits of the pixels, as in older files."""
    return any((group, 0x0102) in dataset and bool(dataset[group, 0x0102].value) for group in _OVERLAY_GROUPS)
