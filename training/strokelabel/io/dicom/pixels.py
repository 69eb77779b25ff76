"""Pixels of DICOM files: checked against their tags, decompressed, and read."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread, uid
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import generate_pixel_data_frame

from strokelabel.errors import DimensionError, HeaderError, UnreadableImageError
from strokelabel.io.dicom.geometry import Slice
from strokelabel.io.dicom.header import (
    EXPORT_AGAIN,
    DicomFile,
    has_value,
    numbers,
    refusing_corruption,
    tag_name,
    text,
)
from strokelabel.types import Volume

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


DECODED = (
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.UID("1.2.840.10008.1.2.4.57"),  # JPEG Lossless; pydicom 2 has this name for .70
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEGLSNearLossless,
    uid.JPEG2000Lossless,
    uid.JPEG2000,
    uid.RLELossless,
)
"""Compressions that are read."""
_END_MARK = b"\xff\xd9"
"""End of every frame but RLE's, by which a truncated one is told."""


def decompress(dataset: Dataset, file: DicomFile) -> np.ndarray:
    """Decode compressed pixels with GDCM from a file that holds them and nothing that GDCM could apply to them.

    Returns:
        Stored numbers, int64 (frame, row, column).

    Raises:
        UnreadableImageError: fewer or more pixels than announced.
    """
    columns, rows, frames = file.size
    _check_frames(dataset, file)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pixels.dcm"
        _only_pixels(dataset, file).save_as(path, write_like_original=False)
        values = _decoded(path, file)
    if values.size != frames * rows * columns:
        raise truncated(file, f"pixels of shape {values.shape} for {frames} x {rows} x {columns}")
    return values.reshape(frames, rows, columns).astype(np.int64)


def _decoded(path: Path, file: DicomFile) -> np.ndarray:
    """Return the pixels of a file that GDCM decodes, flat, of the type in which they are stored."""
    import gdcm  # needed for compressed files alone

    for channel in (gdcm.Trace.WarningOff, gdcm.Trace.ErrorOff, gdcm.Trace.DebugOff):
        channel()  # the refusal below says what is wrong
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    if not reader.Read():
        raise truncated(file, "compressed pixels that cannot be decoded")
    image = reader.GetImage()
    pixels = image.GetPixelFormat()
    kind = f"{'i' if pixels.GetPixelRepresentation() else 'u'}{pixels.GetBitsAllocated() // 8}"
    # GDCM's Python module returns bytes as text; this is its inverse.
    return np.frombuffer(image.GetBuffer().encode("utf-8", "surrogateescape"), f"<{kind}")


def _check_frames(dataset: Dataset, file: DicomFile) -> None:
    frames = list(generate_pixel_data_frame(dataset.PixelData, file.size[2]))
    if len(frames) != file.size[2]:
        raise truncated(file, f"{len(frames)} compressed frames of {file.size[2]}")
    if transfer_syntax(dataset) == uid.RLELossless:
        cut = [number for number, frame in enumerate(frames) if not _is_whole_rle(frame, dataset, file)]
    else:
        cut = [number for number, frame in enumerate(frames) if not frame.rstrip(b"\0").endswith(_END_MARK)]
    if cut:
        raise truncated(file, f"compressed pixels of another number (frame {cut[0] + 1})")


def _is_whole_rle(frame: bytes, dataset: Dataset, file: DicomFile) -> bool:
    """Return whether each segment of a run-length encoded frame (PS3.5, annex G) holds a byte of every pixel."""
    columns, rows, _ = file.size
    offsets = np.frombuffer(frame[:64], "<u4")
    count = int(offsets[0])
    if count != pixel_number(dataset, "BitsAllocated", file) // 8:
        return False
    bounds = [*offsets[1 : count + 1].tolist(), len(frame)]
    lengths = [_rle_length(frame[start:stop]) for start, stop in pairwise(bounds)]
    return all(rows * columns <= length < rows * columns + min(rows, columns) for length in lengths)


def _rle_length(segment: bytes) -> int:
    """Return the bytes that a PackBits segment unpacks to."""
    place, length = 0, 0
    while place < len(segment) - 1:
        control = segment[place]
        run = control + 1 if control < 128 else 257 - control if control > 128 else 0
        place += 1 + (run if control < 128 else 1 if control > 128 else 0)
        length += run
    return length


def _only_pixels(dataset: Dataset, file: DicomFile) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = uid.generate_uid()
    meta.TransferSyntaxUID = transfer_syntax(dataset)
    plain = FileDataset("pixels.dcm", {}, file_meta=meta, preamble=bytes(128))
    plain.is_little_endian, plain.is_implicit_VR = True, False
    plain.SOPClassUID, plain.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    plain.Columns, plain.Rows, plain.NumberOfFrames = file.size
    plain.SamplesPerPixel, plain.PhotometricInterpretation = 1, "MONOCHROME2"
    for keyword in PIXEL_MODULE:
        setattr(plain, keyword, pixel_number(dataset, keyword, file))
    plain.HighBit = plain.BitsStored - 1
    plain.PixelData = dataset.PixelData
    plain["PixelData"].VR, plain["PixelData"].is_undefined_length = "OB", True
    return plain


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
