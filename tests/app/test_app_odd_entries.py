"""Odd entries of a studies folder: each is named in /info/ and passed over, and every other scan is served."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from lib.studies.datastore import StudiesDatastore
from lib.studies.scan_list import find_studies
from support.app_scans import head, lesion, oblique_affine, save
from support.label_data import write_segmentation


def _not_utf8(folder: Path) -> None:
    shutil.copy(folder / "a.nii.gz", os.fsencode(folder) + b"/M\xfcller.nii.gz")


def _not_utf8_folder(folder: Path) -> None:
    inside = os.fsencode(folder) + b"/Patient \xe9"
    os.mkdir(inside)  # noqa: PTH102 - paths as bytes
    shutil.copy(folder / "a.nii.gz", inside + b"/T1.nii.gz")


def _link_to_itself(folder: Path) -> None:
    (folder / "loop.nii.gz").symlink_to("loop.nii.gz")


def _two_links_in_a_circle(folder: Path) -> None:
    (folder / "one").symlink_to("two")
    (folder / "two").symlink_to("one")


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / "pipe.nii.gz")


def _socket(folder: Path) -> None:
    here = Path.cwd()
    os.chdir(folder)  # names of sockets may not be long
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("s.nii.gz")
    finally:
        os.chdir(here)


def _control_character(folder: Path) -> None:
    shutil.copy(folder / "a.nii.gz", folder / "new\nline.nii.gz")


def _backslash(folder: Path) -> None:
    shutil.copy(folder / "a.nii.gz", folder / "back\\slash.nii.gz")


def _too_long(folder: Path) -> None:
    shutil.copy(folder / "a.nii.gz", folder / f"{'y' * 230}.nii.gz")


def _same_id(folder: Path) -> None:
    shutil.copy(folder / "a.nii.gz", folder / "b.nii")


ODD: dict[str, tuple[Callable[[Path], None], str]] = {
    "name that is not UTF-8": (_not_utf8, r"M\xfcller.nii.gz: has a name that is not UTF-8"),
    "folder whose name is not UTF-8": (_not_utf8_folder, r"Patient \xe9: has a name that is not UTF-8"),
    "link to itself": (_link_to_itself, "loop.nii.gz: cannot be read"),
    "links in a circle": (_two_links_in_a_circle, "one: cannot be read"),
    "pipe": (_pipe, "pipe.nii.gz: is not a regular file"),
    "socket": (_socket, "s.nii.gz: is not a regular file"),
    "name with a line break": (_control_character, "its id: expected a name"),
    "name with a backslash": (_backslash, "its id: expected a name"),
    "name that is too long for a label beside it": (
        _too_long,
        "its id: expected a name of at most 200 bytes",
    ),
    "two files with one id": (_same_id, "b.nii.gz: b.nii has the same id"),
}


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    for number, name in enumerate("ab"):
        save(tmp_path / f"studies/{name}.nii.gz", head(number))
    return tmp_path / "studies"


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_entry_is_named_and_every_other_scan_is_served(
    studies: Path, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    write, sentence = ODD[kind]
    write(studies)
    store = StudiesDatastore(str(studies))
    assert sorted(store.list_images()) == ["a", "b"]
    status = store.status()
    assert status["total"] == 2 and status["left_out_total"] == len(status["left_out"]) >= 1
    assert any(sentence in line for line in status["left_out"]), status["left_out"]
    "\n".join(status["left_out"]).encode("utf-8")
    store.refresh()
    assert [r.getMessage() for r in caplog.records].count(caplog.records[-1].getMessage()) == 1
    assert "GET /info/ names them" in caplog.text
    mask = save(tmp_path / "mask.nii.gz", lesion(0).astype(np.uint8))
    store.save_label("a", str(mask), "final", {})
    assert store.get_labeled_images() == ["a"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter every folder")
def test_a_folder_that_may_not_be_entered_is_named_and_the_rest_is_served(studies: Path) -> None:
    (studies / "closed").mkdir(mode=0)
    store = StudiesDatastore(str(studies))
    assert sorted(store.list_images()) == ["a", "b"]
    assert any(line.startswith("closed: cannot be read") for line in store.status()["left_out"])


@pytest.mark.parametrize(
    "name",
    ["._a.nii.gz", "__MACOSX/c.nii.gz", "@eaDir/c.nii.gz", "sub/.hidden/c.nii.gz", "code/c.nii.gz"]
    + [f"sub/c{end}.nii.gz" for end in ("_mask", "_msk", "-seg", "_lesion", "_synthseg", "_ROI", "_dseg")],
)
def test_what_is_no_scan_by_its_name_or_folder_is_passed_over_without_a_word(
    studies: Path, name: str
) -> None:
    (studies / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(studies / "a.nii.gz", studies / name)
    found = find_studies(studies)
    assert sorted(found.paths) == ["a", "b"] and found.left_out == []


def test_linked_folders_are_served_once_under_the_names_of_the_links(studies: Path, tmp_path: Path) -> None:
    save(tmp_path / "elsewhere/sub-01/anat/sub-01_T1w.nii.gz", head(2))
    (studies / "sub-01").symlink_to(tmp_path / "elsewhere/sub-01")
    (studies / "again").symlink_to(studies)
    found = find_studies(studies)
    assert set(found.paths) == {"a", "b", "sub-01_T1w"} and found.left_out == []


def test_a_file_of_datalad_keeps_the_name_of_its_link(studies: Path, tmp_path: Path) -> None:
    """The target is named after a checksum; without an ending, it could not even be read."""
    key = studies / ".git/annex/objects/x/MD5-s1--d41d8cd9"
    key.parent.mkdir(parents=True)
    shutil.copy(studies / "a.nii.gz", key)
    for subject in ("sub-1", "sub-2"):
        (studies / subject).mkdir()
        (studies / subject / f"{subject}_T1w.nii.gz").symlink_to(key)
    store = StudiesDatastore(str(studies))
    assert set(store.list_images()) == {"a", "b", "sub-1_T1w", "sub-2_T1w"}
    for subject in ("sub-1", "sub-2"):
        path = Path(store.get_image_uri(f"{subject}_T1w"))
        assert (
            path
            == studies / subject / f"{subject}_T1w.nii.gz"
            == Path(store.get_image_info(f"{subject}_T1w")["path"])
        )
        mask = save(tmp_path / "mask.nii.gz", lesion(0).astype(np.uint8))
        store.save_label(f"{subject}_T1w", str(mask), "final", {})
    derivatives = sorted(path.name for path in (studies / "derivatives").rglob("*_mask.nii.gz"))
    assert [name.split("_")[0] for name in derivatives] == ["sub-1", "sub-2"]


def test_odd_entries_among_the_labels_are_named_and_the_other_labels_are_known(studies: Path) -> None:
    final = studies / "labels/final"
    save(final / "a.nii.gz", lesion(0).astype(np.uint8))
    shutil.copy(final / "a.nii.gz", os.fsencode(final) + b"/b\xff.nii.gz")
    (studies / "labels/loop").symlink_to("loop")
    store = StudiesDatastore(str(studies))
    assert store.get_labeled_images() == ["a"]
    left_out = "\n".join(store.status()["left_out"])
    assert (
        r"labels/final/b\xff.nii.gz: has a name that is not UTF-8" in left_out and "labels/loop: " in left_out
    )


def test_a_segmentation_put_there_by_hand_means_what_its_segments_are_called(studies: Path) -> None:
    masks = {"edema": lesion(0) & ~lesion(1), "lesion": lesion(1)}
    (studies / "labels/final").mkdir(parents=True)
    write_segmentation(studies / "labels/final/a.seg.nrrd", masks, oblique_affine())
    write_segmentation(
        studies / "labels/final/b.seg.nrrd",
        {"Segment_1": lesion(0), "Segment_2": lesion(1)},
        oblique_affine(),
    )
    store = StudiesDatastore(str(studies))
    assert store.get_labeled_images() == ["a"]
    assert {e["name"] for e in store.get_label_info("a", "final")["label_info"]} == {"edema", "lesion"}
    assert any(
        "labels/final/b.seg.nrrd" in line and "named 'lesion'" in line for line in store.status()["left_out"]
    )


def _dicom(folder: Path) -> None:
    (folder / "IM0001").write_bytes(bytes(128) + b"DICM" + bytes(100))


EMPTY: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda folder: None, "found none; put scans there"),
    "DICOM": (_dicom, "found DICOM files; convert each series with dcm2niix"),
    "MINC": (lambda f: [(f / n).touch() for n in ("a.mnc", "b.mnc", "c.7z")], "found files with .mnc"),
    "half of a pair": (lambda folder: (folder / "a.img").touch(), "found files with .img"),
    "masks alone": (
        lambda folder: (folder / "a_mask.nii.gz").touch(),
        "found masks and other derived files alone",
    ),
}


@pytest.mark.parametrize("kind", EMPTY)
def test_a_folder_without_scans_says_what_is_there_instead_and_what_to_do(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    write, sentence = EMPTY[kind]
    studies = tmp_path / "studies"
    studies.mkdir()
    write(studies)
    store = StudiesDatastore(str(studies))
    store.refresh()
    (line,) = store.status()["left_out"]
    assert (
        line.startswith("No scans found: expected files of scans (.nii, .nii.gz, .nrrd") and sentence in line
    )
    assert caplog.text.count("No scans found") == 1
    save(studies / "a.nii.gz", head())
    store.refresh()
    assert store.status()["left_out"] == [] and store.list_images() == ["a"]


@pytest.fixture
def followed(studies: Path, tmp_path: Path) -> Iterator[tuple[StudiesDatastore, Path]]:
    (tmp_path / "elsewhere").mkdir()
    (studies / "linked").symlink_to(tmp_path / "elsewhere")
    save(tmp_path / "elsewhere/c.nii.gz", head(2))
    yield StudiesDatastore(str(studies), auto_reload=True), tmp_path / "elsewhere"


def test_a_scan_that_comes_into_a_linked_folder_is_noticed(followed: tuple[StudiesDatastore, Path]) -> None:
    from test_app_datastore import eventually

    store, elsewhere = followed
    assert "linked_c" in store.list_images()
    save(elsewhere / "d.nii.gz", head(3))
    assert eventually(lambda: "linked_d" in store.list_images(), 30)
