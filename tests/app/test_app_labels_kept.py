"""No label and nothing said about one is lost: by other processes, by a damaged table, or by many corrections."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lib.studies.datastore import StudiesDatastore
from lib.studies.label_history import MOST_VERSIONS, LabelHistory
from lib.studies.label_versions import copy_version, list_versions
from lib.training.fine_tune_task import submitted_labels
from strokelabel.fit.fine_tuning.cases import prepare_cases
from strokelabel.labels import CLASS_NAMES
from support import app_server
from support.app_scans import SHAPE, head, lesion, oblique_affine, save
from support.label_data import write_nrrd
from support.turned_grids import shifted


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    for number in range(3):
        save(tmp_path / f"studies/scan-{number}.nii.gz", head(number))
    return tmp_path / "studies"


def mask_file(folder: Path, seed: int = 0) -> str:
    return str(save(folder / f"mask-{seed}.nii.gz", lesion(seed).astype(np.uint8)))


def test_thirty_labels_keep_what_was_said_while_another_process_labels_the_same_scans(tmp_path: Path) -> None:
    studies, small = tmp_path / "studies", np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)
    for number in range(30):
        save(studies / f"scan-{number}.nii.gz", small)
    label = str(save(tmp_path / "label.nii.gz", (small > 60).astype(np.uint8)))
    ready, stop = tmp_path / "ready", tmp_path / "stop"
    script = [
        sys.executable,
        Path(__file__).parents[1] / "support" / "other_process.py",
        app_server.REPOSITORY / "monailabel_app",
    ]
    other = subprocess.Popen(
        [*map(str, script), str(studies), label, str(ready), str(stop)], stderr=subprocess.PIPE
    )
    try:
        _wait_for(ready, other)
        here = StudiesDatastore(str(studies))
        for number in range(30):
            said = {"client_id": f"person {number}", "label_info": [{"name": "lesion", "idx": 1}]}
            here.save_label(f"scan-{number}", label, "final", said)
            here.update_image_info(f"scan-{number}", {"remark": number})
    finally:
        stop.touch()
        _, errors = other.communicate(timeout=60)
    assert other.returncode == 0, errors.decode()
    for store in (here, StudiesDatastore(str(studies))):
        infos = [store.get_label_info(f"scan-{number}", "final") for number in range(30)]
        assert [info["client_id"] for info in infos] == [f"person {number}" for number in range(30)]
        assert all(info["label_info"] for info in infos)
        assert [store.get_image_info(f"scan-{number}")["remark"] for number in range(30)] == list(range(30))
        assert store.get_label_info("scan-1", "original")["model"] == "segment"


def _wait_for(ready: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not ready.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert ready.exists()


@pytest.mark.parametrize("content", [b"", b'{"name": "new-da', b"\xff\xfe\x00", b"[]"])
def test_a_damaged_table_is_kept_aside_and_made_anew_with_all_that_was_said(
    studies: Path, tmp_path: Path, content: bytes
) -> None:
    first = StudiesDatastore(str(studies))
    first.save_label("scan-1", mask_file(tmp_path), "final", {"client_id": "me"})
    first.update_label_info("scan-1", "final", {"segmentationMeta": {"status": "flagged"}})
    (studies / "datastore_v2.json").write_bytes(content)
    for store in (first, StudiesDatastore(str(studies))):
        store.refresh()
        info = store.get_label_info("scan-1", "final")
        assert info["client_id"] == "me" and info["segmentationMeta"] == {"status": "flagged"}
        assert sorted(store.list_images()) == ["scan-0", "scan-1", "scan-2"]
    assert [path.read_bytes() for path in studies.glob("datastore_v2.json.damaged-*")] == [content]


def test_the_oldest_versions_go_and_the_newest_stay(studies: Path, tmp_path: Path) -> None:
    store = StudiesDatastore(str(studies))
    label = mask_file(tmp_path)
    for number in range(MOST_VERSIONS + 3):
        store.save_label("scan-0", label, "final", {"number": number})
    versions = store.label_history("scan-0", "final")
    assert [version["info"]["number"] for version in versions] == list(range(MOST_VERSIONS + 2, 2, -1))
    files = list((studies / "labels/.history/final/scan-0").iterdir())
    assert len(files) == 2 * MOST_VERSIONS


def test_a_label_that_was_put_there_by_hand_is_in_the_history_once_it_is_replaced(
    studies: Path, tmp_path: Path
) -> None:
    save(studies / "labels/final/scan-2.nii", lesion(5).astype(np.uint8))
    store = StudiesDatastore(str(studies))
    assert store.get_labeled_images() == ["scan-2"]
    store.save_label("scan-2", mask_file(tmp_path), "final", {})
    assert not (studies / "labels/final/scan-2.nii").exists()
    by_hand = store.label_history("scan-2", "final")[1]
    assert by_hand["reason"] == "found"
    copied = copy_version(studies / "labels", "final", "scan-2", by_hand["version"], tmp_path / "back.nii")
    assert np.array_equal(nib.load(copied).dataobj, lesion(5))
    with pytest.raises(LookupError):
        copy_version(studies / "labels", "final", "scan-2", "../x", tmp_path)


@pytest.mark.parametrize("kind", [".nii.gz", ".nrrd"])
def test_a_label_put_there_by_hand_on_another_grid_is_neither_entered_nor_trained_on(
    studies: Path, kind: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    moved, mask = shifted(oblique_affine(), 4, 0, 0), lesion(1).astype(np.uint8)
    file = studies / f"labels/final/scan-1{kind}"
    file.parent.mkdir(parents=True)
    if kind == ".nrrd":
        write_nrrd(file, mask, moved)
    else:
        save(file, mask, moved)
    save(studies / "labels/final/scan-2.nii", lesion(2).astype(np.uint8))
    store = StudiesDatastore(str(studies))
    store.refresh()
    assert store.get_labeled_images() == ["scan-2"]
    (line,) = [record.getMessage() for record in caplog.records if "scan-1" in record.getMessage()]
    assert f"labels/final/scan-1{kind} is not used" in line and "begins (4, 0, 0) voxels away" in line
    cases, refused = prepare_cases(submitted_labels(store), 6.0, tmp_path / "cache")
    assert [case.submitted.name for case in cases] == ["scan-2"]
    assert list(refused) == ["scan-1"] and "expected the grid of its scan" in refused["scan-1"]


def test_a_label_put_there_by_hand_is_entered_once_it_lies_on_its_scans_grid(
    studies: Path, tmp_path: Path
) -> None:
    file = save(studies / "labels/final/scan-1.nii.gz", lesion(1).astype(np.uint8)[1:])
    store = StudiesDatastore(str(studies))
    assert store.get_labeled_images() == [] and store.refused_labels() == {"scan-1": str(file)}
    save(file, lesion(1).astype(np.uint8), np.round(oblique_affine(), 4))
    store.refresh()
    assert store.get_labeled_images() == ["scan-1"] and store.refused_labels() == {}


def test_a_label_that_is_copied_slowly_is_entered_when_it_is_whole(studies: Path, tmp_path: Path) -> None:
    content = save(tmp_path / "x.nii", lesion(1).astype(np.uint8)).read_bytes()
    (studies / "labels/final").mkdir(parents=True)
    store = StudiesDatastore(str(studies), auto_reload=True)
    with (studies / "labels/final/scan-1.nii").open("wb") as file:
        file.write(content[:500])
        file.flush()
        deadline = time.monotonic() + 20
        while not store.refused_labels() and time.monotonic() < deadline:
            store.refresh()
        assert store.get_labeled_images() == []
        file.write(content[500:])
    while not store.get_labeled_images() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert store.get_labeled_images() == ["scan-1"]


def test_a_refused_label_is_in_the_history_once_a_submitted_one_takes_its_place(
    studies: Path, tmp_path: Path
) -> None:
    file = save(studies / "labels/final/scan-1.nii.gz", lesion(1).astype(np.uint8)[1:])
    content = file.read_bytes()
    store = StudiesDatastore(str(studies))
    store.save_label("scan-1", mask_file(tmp_path, 1), "final", {})
    by_hand = store.label_history("scan-1", "final")[1]
    copied = copy_version(studies / "labels", "final", "scan-1", by_hand["version"], tmp_path / "back.nii.gz")
    assert by_hand["reason"] == "found" and Path(copied).read_bytes() == content
    assert store.refused_labels() == {}


def test_a_version_without_its_file_or_with_a_record_that_points_elsewhere_is_none(tmp_path: Path) -> None:
    history = LabelHistory(tmp_path)
    kept = history.add(
        "final", "x", ".nii.gz", partial(shutil.copyfile, mask_file(tmp_path)), {}, "submitted"
    )
    record = kept.file.with_name(f"{kept.name}.json")
    record.with_name("20000101T000000.000000Z.json").write_text('{"file": "../../../mask-0.nii.gz"}')
    record.with_name("20000102T000000.000000Z.json").write_text("{")
    assert [version.name for version in list_versions(tmp_path, "final", "x")] == [kept.name]
    kept.file.unlink()
    assert list_versions(tmp_path, "final", "x") == []


def test_a_save_that_fails_leaves_label_table_and_listing_as_they_were(studies: Path, tmp_path: Path) -> None:
    store = StudiesDatastore(str(studies))
    store.save_label("scan-0", mask_file(tmp_path), "final", {"client_id": "me"})
    (studies / "labels/final").rename(studies / "labels/elsewhere")
    (studies / "labels/final").touch()  # a file where the folder should be
    with pytest.raises(Exception, match="expected a writable location"):
        store.save_label("scan-0", mask_file(tmp_path, 1), "final", {"client_id": "you"})
    (studies / "labels/final").unlink()
    (studies / "labels/elsewhere").rename(studies / "labels/final")
    assert store.get_label_info("scan-0", "final")["client_id"] == "me"
    assert np.array_equal(nib.load(store.get_label_uri("scan-0", "final")).dataobj, lesion(0))


def derivatives(studies: Path) -> list[str]:
    folder = studies / "derivatives/strokelabel"
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.nii.gz"))


def test_scans_without_bids_names_get_a_subject_of_their_own_unless_it_is_anothers(
    studies: Path, tmp_path: Path
) -> None:
    for name in ("Zoë 1", "Zo 1", "scan0", "扫描"):
        save(studies / f"{name}.nii.gz", head())
    store = StudiesDatastore(str(studies))
    for image in ("scan-1", "scan-0", "scan0", "Zo 1", "扫描"):
        store.save_label(image, mask_file(tmp_path), "final", {})
    assert derivatives(studies) == ["sub-scan1/anat/sub-scan1_space-orig_label-L_desc-lesion_mask.nii.gz"]
    store.remove_image("scan-1")
    assert derivatives(studies) == []
    assert (studies / "labels/.history/final/scan-1").is_dir()


def test_the_derivative_of_all_classes_holds_the_lesion_alone(studies: Path, tmp_path: Path) -> None:
    classes = np.ones(SHAPE, np.uint8)
    classes[lesion(0)] = 5
    names = {"label_info": [{"name": name, "idx": value} for value, name in enumerate(CLASS_NAMES) if value]}
    StudiesDatastore(str(studies)).save_label(
        "scan-0", str(save(tmp_path / "x.nii.gz", classes)), "final", names
    )
    (path,) = (studies / "derivatives").rglob("*_mask.nii.gz")
    assert np.array_equal(nib.load(path).dataobj, lesion(0))
    assert json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())["image"] == "scan-0"


def test_only_what_a_person_drew_or_looked_at_is_trained_on_unless_asked(
    studies: Path, tmp_path: Path
) -> None:
    for number in range(3, 8):
        save(studies / f"scan-{number}.nii.gz", head())
    store = StudiesDatastore(str(studies))
    label, drawn = mask_file(tmp_path), {"model": "segment", "params": {"label_names": {"lesion": 1}}}
    for number in range(4):
        store.save_label(f"scan-{number}", label, "original", drawn)
    store.review_label("scan-1", "original", {"status": "accepted"})
    store.review_label("scan-2", "original", {"status": "rejected"})
    store.save_label("scan-3", mask_file(tmp_path, 4), "final", {})
    store.save_label("scan-4", label, "final", {})
    store.save_label("scan-5", label, "final", {"status": "rejected"})
    store.save_label("scan-6", label, "final", {"status": "pseudo"})
    assert names(submitted_labels(store)) == {"scan-1": "final", "scan-3": "final", "scan-4": "final"}
    everything = names(submitted_labels(store, "all"))
    assert everything == names(submitted_labels(store)) | {"scan-0": "original", "scan-6": "final"}
    assert set(store.get_unlabeled_images()) == {"scan-0", "scan-2", "scan-5", "scan-7"}


def test_a_version_that_a_reviewer_approved_is_trained_on_instead_of_the_final_label(
    studies: Path, tmp_path: Path
) -> None:
    store = StudiesDatastore(str(studies))
    for tag in ("final", "version_2", "version_10", "version_11"):
        store.save_label("scan-0", mask_file(tmp_path), tag, {})
    assert names(submitted_labels(store)) == {"scan-0": "final"}
    for tag, status in (("version_2", "approved"), ("version_10", "approved"), ("version_11", "flagged")):
        store.update_label_info("scan-0", tag, {"segmentationMeta": {"status": status}})
    assert names(submitted_labels(store)) == {"scan-0": "version_10"}


def names(labels: list) -> dict[str, str]:
    """Name of each scan and the tag of the label that is taken."""
    return {label.name: label.label.parent.name for label in labels}
