"""Writes small DICOM series for tests: oblique, unequal axes, unequal spacing, rescaled values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
MR_IMAGE, ENHANCED_MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"


def write_series(folder: Path, data: np.ndarray, affine: np.ndarray, name: str = "T2 axial") -> list[Path]:
    """Write int16 (i, j, k) data on a RAS affine as one file per slice, in shuffled file order."""
    folder.mkdir(parents=True, exist_ok=True)
    lps = LPS_TO_RAS @ affine
    uid = generate_uid(entropy_srcs=[name])
    names = np.random.default_rng(0).permutation(data.shape[2])
    paths = []
    for k in range(data.shape[2]):
        dataset = new_dataset(MR_IMAGE, uid, name)
        set_pixels(dataset, data[:, :, k].T)
        columns, rows = lps[:3, 0], lps[:3, 1]
        dataset.ImageOrientationPatient = decimals([*unit(columns), *unit(rows)])
        dataset.ImagePositionPatient = decimals(lps[:3, 3] + k * lps[:3, 2])
        dataset.PixelSpacing = decimals([np.linalg.norm(rows), np.linalg.norm(columns)])
        dataset.SliceThickness = decimals([np.linalg.norm(lps[:3, 2])])[0]
        dataset.InstanceNumber = k + 1
        path = folder / f"{name.replace(' ', '-')}-{names[k]:04d}"
        dataset.save_as(path, write_like_original=False)
        paths.append(path)
    return paths


def write_multi_frame(path: Path, data: np.ndarray, affine: np.ndarray, order: list[int]) -> None:
    """Write int16 (i, j, k) data on a RAS affine as one enhanced MR file, with its slices in the given order."""
    lps = LPS_TO_RAS @ affine
    dataset = new_dataset(ENHANCED_MR_IMAGE, generate_uid(entropy_srcs=["enhanced"]), "enhanced")
    set_pixels(dataset, data.transpose(2, 1, 0)[order])
    dataset.NumberOfFrames = len(order)
    shared, measures, orientation = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    measures.PixelSpacing = decimals([np.linalg.norm(lps[:3, 1]), np.linalg.norm(lps[:3, 0])])
    measures.SliceThickness = measures.SpacingBetweenSlices = decimals([np.linalg.norm(lps[:3, 2])])[0]
    orientation.ImageOrientationPatient = decimals([*unit(lps[:3, 0]), *unit(lps[:3, 1])])
    shared.PixelMeasuresSequence = [measures]
    shared.PlaneOrientationSequence = [orientation]
    dataset.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for k in order:
        frame, position = pydicom.Dataset(), pydicom.Dataset()
        position.ImagePositionPatient = decimals(lps[:3, 3] + k * lps[:3, 2])
        frame.PlanePositionSequence = [position]
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = frames
    dataset.save_as(path, write_like_original=False)


def new_dataset(sop_class: str, series_uid: str, description: str) -> FileDataset:
    """A dataset with the identification that every image needs."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    dataset.is_little_endian, dataset.is_implicit_VR = True, False
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(entropy_srcs=["study"]), series_uid
    dataset.FrameOfReferenceUID = generate_uid(entropy_srcs=["frame"])
    dataset.Modality, dataset.SeriesDescription, dataset.PatientID = "MR", description, "test"
    return dataset


def set_pixels(dataset: FileDataset, pixels: np.ndarray) -> None:
    """Store int16 pixels (rows, columns) or (frames, rows, columns) with a slope of 2 and an intercept of -100."""
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.RescaleSlope, dataset.RescaleIntercept = "2", "-100"
    dataset.PixelData = ((pixels.astype(np.int32) + 100) // 2).astype("<i2").tobytes()


def unit(vector: np.ndarray) -> np.ndarray:
    """The direction of a vector."""
    return vector / np.linalg.norm(vector)


def decimals(values: np.ndarray | list[float]) -> list[str]:
    """Numbers as DICOM's decimal strings, at most 16 characters."""
    return [f"{value:.10f}"[:16] for value in values]
