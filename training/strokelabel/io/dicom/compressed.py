"""Compressed pixels of DICOM files, decoded by GDCM."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom import Dataset, uid
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import generate_pixel_data_frame

from strokelabel.io.dicom.header import DicomFile
from strokelabel.io.dicom.pixel_module import PIXEL_MODULE, pixel_number, transfer_syntax, truncated

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
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        reader.SetImageIO("GDCMImageIO")
        with _silent_itk():
            values = sitk.GetArrayFromImage(reader.Execute())
    if values.size != frames * rows * columns:
        raise truncated(file, f"pixels of shape {values.shape} for {frames} x {rows} x {columns}")
    return values.reshape(frames, rows, columns).astype(np.int64)


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


@contextmanager
def _silent_itk() -> Iterator[None]:
    """Keep ITK from printing warnings."""
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)
