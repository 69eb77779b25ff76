"""What scoring, batches and submissions rely on when the studies are on a DICOMweb server, without one running."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np

from strokelabel.io.images import Image
from support.dicom_writer import write_series
from support.label_data import write_segmentation

AFFINE = np.array([[-0.9, 0, 0, 31.5], [0, 0.5, -3.6, 12.25], [0, 1.2, 1.5, -40], [0, 0, 0, 1]])
SHAPE = (12, 9, 5)


def masks() -> dict[str, np.ndarray]:
    lesion, edema = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    lesion[2:5, 3:6, 1:3], edema[7:9, 1:3, 2:5] = True, True
    return {"Lesion": lesion, "Edema": edema}


def submitted(tmp_path: Path, info: dict) -> dict[str, np.ndarray]:
    """Name -> mask of the DICOM segments that a Slicer segmentation becomes."""
    from lib.dicomweb.seg_labels import as_segments, read_label

    scan = Image(np.zeros(SHAPE, np.float32), AFFINE, None, "scan")
    path = write_segmentation(tmp_path / "label.seg.nrrd", masks(), AFFINE)
    labels, segments = as_segments(*read_label(path, scan, info))
    return {meaning.label.lower(): labels == number for number, meaning in segments.items()}


def test_segments_of_slicer_keep_their_names_whatever_values_the_client_gives_them(tmp_path: Path) -> None:
    info = {"label_info": [{"name": "Edema", "idx": 1}, {"name": "Lesion", "idx": 2}]}
    found = submitted(tmp_path, info)
    assert np.array_equal(found["lesion"], masks()["Lesion"])
    assert np.array_equal(found["edema"], masks()["Edema"])


def test_segments_of_slicer_are_named_by_their_file_when_the_client_says_nothing(tmp_path: Path) -> None:
    found = submitted(tmp_path, {})
    assert np.array_equal(found["lesion"], masks()["Lesion"])
    assert np.array_equal(found["edema"], masks()["Edema"])


def test_looking_at_a_copy_leaves_its_time_of_change_which_scores_and_batches_go_by(tmp_path: Path) -> None:
    from lib.dicomweb.series_cache import SeriesCache
    from lib.scoring.uncertainty import file_stamp

    def download(folder: Path) -> None:
        write_series(folder, np.arange(12 * 9 * 5, dtype=np.int16).reshape(SHAPE), AFFINE, "1.1")

    cache = SeriesCache(tmp_path, limit_bytes=10**9)
    before = file_stamp(str(cache.get_scan("1.1", download)))
    time.sleep(0.02)
    assert file_stamp(str(cache.get_scan("1.1", download))) == before


def test_notes_of_several_processes_are_all_kept(tmp_path: Path) -> None:
    from lib.dicomweb.series_cache import Notes

    def write(name: str) -> None:
        notes = Notes(tmp_path / "notes.json")  # as each process has its own
        for number in range(40):
            notes.add(f"image {number}", {name: number})

    threads = [threading.Thread(target=write, args=(name,)) for name in ("server", "scoring", "batch")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = Notes(tmp_path / "notes.json")
    assert all(set(kept.get(f"image {number}")) == {"server", "scoring", "batch"} for number in range(40))
