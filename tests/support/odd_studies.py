"""The files and names of studies folders as they are: good scans under odd names, and what is no scan at all."""

from __future__ import annotations

import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np

from support.app_scans import BAD_SCANS, head, lesion, oblique_affine, save
from support.label_data import write_segmentation

GOOD_IDS = (
    "with space",
    "T1 100%25 +C&x=1",
    "hash#1?q=2",
    "quote'\"",
    "semi;colon",
    "emoji🧠",
    "-dash",
    "dots..v1.2",
    "CON",
    unicodedata.normalize("NFD", "Jérôme"),
    "x" * 190,
)
"""Ids of good scans."""

ODD_IDS = (*GOOD_IDS, "pointer", "dangling", "loop", "new\nline", "M\\xfcller", "cut", *BAD_SCANS)
"""Ids that requests may name: of good scans, of unusable ones, and of entries that are not served."""


def write_odd_entries(studies: Path) -> None:
    """Fill a folder."""
    scan = save(studies / f"{GOOD_IDS[0]}.nii.gz", head(7))
    for name in GOOD_IDS[1:]:
        shutil.copy(scan, studies / f"{name}.nii.gz")
    for name, write in BAD_SCANS.items():
        write(studies / f"{name}.nii.gz")
    _write_unserved(studies, scan)
    _write_labels(studies)


def _write_unserved(studies: Path, scan: Path) -> None:
    content = scan.read_bytes()
    (studies / "pointer.nii.gz").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    )
    (studies / "cut.nii.gz").write_bytes(content[: len(content) // 2])
    (studies / "dangling.nii.gz").symlink_to(".git/annex/objects/x/y")
    (studies / "loop.nii.gz").symlink_to("loop.nii.gz")
    (studies / "again").symlink_to(studies)
    os.mkfifo(studies / "pipe.nii.gz")
    for name in (
        b"M\xfcller.nii.gz",
        b"new\nline.nii.gz",
        b"tab\there.nii.gz",
        b"._scan.nii.gz",
        b"y" * 230 + b".nii.gz",
    ):
        shutil.copy(scan, os.fsencode(studies) + b"/" + name)
    for name in (
        "__MACOSX/scan2.nii.gz",
        "@eaDir/scan.nii.gz",
        "seg_mask.nii.gz",
        "a.mgz",
        "Thumbs.db",
        "t.tsv",
    ):
        (studies / name).parent.mkdir(exist_ok=True)
        shutil.copy(scan, studies / name)


def _write_labels(studies: Path) -> None:
    labels = studies / "labels/final"
    save(labels / "hash#1?q=2.nii", lesion(7).astype(np.uint8))
    save(labels / "with space.nii.gz", lesion(7).astype(np.uint8)[1:])
    save(labels / "gone.nii.gz", lesion(7).astype(np.uint8))
    (labels / "CON.nii.gz").write_bytes(b"not a label")
    names = {"Segment_1": lesion(7), "Segment_2": ~lesion(7)}
    write_segmentation(labels / "semi;colon.seg.nrrd", names, oblique_affine())
    (studies / "datastore.json").write_text('{"objects": [')
    (studies / "datastore_v2.json").write_text('{"name": "new-da')
