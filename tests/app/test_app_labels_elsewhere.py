"""A studies folder that cannot be written to: labels go to another folder, or the server says so in one sentence."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from fastapi import HTTPException

from lib.studies.datastore import StudiesDatastore
from lib.studies.datastore_file import labels_folder
from lib.training.fine_tune_task import submitted_labels
from strokelabel.errors import OptionError, OutputError
from strokelabel.reports.annotations.report import annotation_rows
from support.app_scans import head, lesion, save


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    save(tmp_path / "studies/sub-1/anat/sub-1_T1w.nii.gz", head(1))
    save(tmp_path / "studies/b.nii.gz", head(2))
    return tmp_path / "studies"


@pytest.fixture
def not_to_be_written(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """Folders that refuse to be written to, as a read-only file system does even to root."""
    closed: list[Path] = []
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT
    open_file, make = os.open, os.mkdir

    def refused(path: object) -> bool:
        return isinstance(path, (str, os.PathLike)) and any(
            Path(path).is_relative_to(each) for each in closed
        )

    def opened(path, flags, *arguments, **named):
        if flags & writing and refused(path):
            raise OSError(30, "Read-only file system", str(path))
        return open_file(path, flags, *arguments, **named)

    def made(path, *arguments, **named):
        if refused(path) and not Path(path).exists():
            raise OSError(30, "Read-only file system", str(path))
        return make(path, *arguments, **named)

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "mkdir", made)
    yield closed


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_labels_and_all_that_belongs_to_them_go_to_the_chosen_folder(
    studies: Path, tmp_path: Path, not_to_be_written: list[Path]
) -> None:
    before, labels = contents(studies), tmp_path / "mine"
    not_to_be_written.append(studies)
    store = StudiesDatastore(str(studies), labels=str(labels))
    mask = save(tmp_path / "mask.nii.gz", lesion(1).astype(np.uint8))
    for image in ("sub-1_T1w", "b"):
        store.save_label(image, str(mask), "final", {"client_id": "zoe"})
        store.update_image_info(image, {"remark": "x"})
    assert contents(studies) == before
    again = StudiesDatastore(str(studies), labels=str(labels))
    assert again.get_labeled_images() == ["b", "sub-1_T1w"]
    assert again.get_label_info("b", "final")["client_id"] == "zoe"
    assert Path(again.get_label_uri("b", "final")) == labels / "labels/final/b.nii.gz"
    assert [label.image.name for label in submitted_labels(again)] == ["b.nii.gz", "sub-1_T1w.nii.gz"]
    (derivative,) = (labels / "derivatives/strokelabel/sub-1").rglob("*_mask.nii.gz")
    assert np.array_equal(nib.load(derivative).dataobj, lesion(1))
    description = json.loads((labels / "derivatives/strokelabel/dataset_description.json").read_text())
    raw = labels / "derivatives/strokelabel" / description["DatasetLinks"]["raw"]
    assert raw.resolve() == studies.resolve()
    assert len(annotation_rows(labels)) == 2
    again.remove_label("b", "final")
    assert again.get_labeled_images() == ["sub-1_T1w"] and len(again.label_history("b", "final")) == 1


def test_a_label_put_by_hand_into_the_chosen_folder_is_known(studies: Path, tmp_path: Path) -> None:
    save(tmp_path / "mine/labels/final/b.nii.gz", lesion(2).astype(np.uint8))
    save(tmp_path / "mine/labels/final/sub-1_T1w.nii.gz", lesion(2).astype(np.uint8)[1:])
    store = StudiesDatastore(str(studies), labels=str(tmp_path / "mine"))
    assert store.get_labeled_images() == ["b"]
    assert any("labels/final/sub-1_T1w.nii.gz" in line for line in store.status()["left_out"])


def test_without_another_folder_the_server_does_not_start_and_says_what_to_do(
    studies: Path, not_to_be_written: list[Path]
) -> None:
    not_to_be_written.append(studies)
    with pytest.raises(OutputError, match=r"read-only.*--labels FOLDER"):
        StudiesDatastore(str(studies))


def test_what_becomes_read_only_later_is_answered_in_a_sentence_and_scans_are_served(
    studies: Path, tmp_path: Path, not_to_be_written: list[Path]
) -> None:
    store = StudiesDatastore(str(studies))
    mask = save(tmp_path / "mask.nii.gz", lesion(1).astype(np.uint8))
    store.save_label("b", str(mask), "final", {})
    not_to_be_written.append(studies)
    for change in (
        lambda: store.save_label("b", str(mask), "final", {}),
        lambda: store.update_image_info("b", {"remark": "x"}),
        lambda: store.update_label_info("b", "final", {"remark": "x"}),
        lambda: store.add_image("new", str(studies / "b.nii.gz"), {}),
    ):
        with pytest.raises(HTTPException) as refused:
            change()
        assert refused.value.status_code == 503 and "expected" in refused.value.detail
        assert "\n" not in refused.value.detail
    assert store.get_image_info("b").get("remark") is None and Path(store.get_image_uri("b")).is_file()


def test_a_folder_of_labels_is_not_taken_for_that_of_other_studies(studies: Path, tmp_path: Path) -> None:
    conf = {"labels": str(tmp_path / "mine")}
    assert labels_folder(str(studies), conf) == labels_folder(str(studies), conf) == str(tmp_path / "mine")
    assert labels_folder(str(studies), {}) == str(studies)
    assert labels_folder("http://pacs.example/dicom-web", conf) == "http://pacs.example/dicom-web"
    shutil.copytree(studies, tmp_path / "others")
    with pytest.raises(OptionError, match=r"found those of .*studies; choose another folder"):
        labels_folder(str(tmp_path / "others"), conf)


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting needs root on Linux")
@pytest.mark.parametrize("labels", [False, True])
def test_the_command_refuses_a_read_only_mount_at_once_or_takes_another_folder(
    studies: Path, tmp_path: Path, labels: bool
) -> None:
    command = [sys.executable, "-m", "strokelabel.cli.main", "serve", str(studies), "--port", "0"]
    command += ["--labels", str(tmp_path / "mine")] if labels else []
    script = (
        f"mount --bind {studies} {studies} && mount -o remount,ro,bind {studies} && exec {' '.join(command)}"
    )
    done = subprocess.run(
        ["unshare", "-m", "bash", "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip("this machine does not let root mount")
    assert done.returncode != 0 and "Traceback" not in done.stderr
    wanted = "port" if labels else "read-only or closed (Read-only file system); keep them in another folder"
    assert wanted in " ".join(done.stderr.split())
