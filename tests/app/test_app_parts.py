"""Parts of the app by themselves: which files are scans, what survives a restart, what is offered next."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from fastapi import HTTPException
from monailabel.utils.async_tasks import utils

from lib.infers.infer_options import InferOptions
from lib.model import ServedModel
from lib.refusals import InvalidRequestError
from lib.server import tasks
from lib.strategies import FirstSample, RandomSample, last_offered
from lib.studies.datastore import StudiesDatastore
from lib.studies.scan_list import check_name, find_studies, split_suffix
from lib.training.fine_tune_task import FineTuneTask
from strokelabel.errors import DataError, UnknownModelError
from strokelabel.fit.fine_tuning.fine_tune import FineTuning
from strokelabel.fit.fine_tuning.versions import ModelVersions
from strokelabel.registry import read_spec
from support.app_scans import head, lesion, save
from support.new_contrast import small_model


def touch(folder: Path, *files: str) -> Path:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    return folder


def test_a_bids_data_set_is_listed_by_file_names(tmp_path: Path) -> None:
    folder = touch(
        tmp_path,
        "sub-1/anat/sub-1_T1w.nii.gz",
        "sub-1/ses-b/anat/sub-1_ses-b_FLAIR.nii",
        "derivatives/x/sub-1/anat/sub-1_T1w.nii.gz",
        "sourcedata/sub-1/T1.nii.gz",
        "sub-1/anat/sub-1_T1w.json",
        "sub-1/anat/sub-1_desc-lesion_mask.nii.gz",
    )
    assert find_studies(folder).paths == {
        "sub-1_T1w": Path("sub-1/anat/sub-1_T1w.nii.gz"),
        "sub-1_ses-b_FLAIR": Path("sub-1/ses-b/anat/sub-1_ses-b_FLAIR.nii"),
    }


def test_equal_file_names_in_different_folders_get_different_ids(tmp_path: Path) -> None:
    folder = touch(tmp_path, "a/T1.nii.gz", "b/T1.nii.gz", "b/deep/T1.nii.gz", "T1.nii.gz")
    assert set(find_studies(folder).paths) == {"a_T1", "b_T1", "b_deep_T1", "T1"}


def test_an_id_does_not_depend_on_what_else_is_there(tmp_path: Path) -> None:
    alone = find_studies(touch(tmp_path, "b/T1.nii.gz")).paths
    assert alone.items() <= find_studies(touch(tmp_path, "a/T1.nii.gz", "T1.nii.gz")).paths.items()


def test_of_two_files_with_one_id_the_first_is_served(tmp_path: Path) -> None:
    assert find_studies(touch(tmp_path, "x.nii.gz", "x.nii")).paths == {"x": Path("x.nii")}


def test_hidden_files_labels_and_nameless_files_are_no_scans(tmp_path: Path) -> None:
    names = (".x.nii.gz", ".git/x.nii.gz", "labels/final/x.nii.gz", ".nii.gz", "x.seg.nrrd", "x.txt")
    assert find_studies(touch(tmp_path, *names)).paths == {}


def test_dots_within_a_name_belong_to_the_id() -> None:
    assert split_suffix("1.2.840.NII.GZ", (".nii.gz", ".nii")) == ("1.2.840", ".NII.GZ")


@pytest.mark.parametrize("name", ["sub-01_T1w", "Volume 3.1 (T2)", "Zoë", "扫描", "x" * 200])
def test_names_that_viewers_give_are_fine(name: str) -> None:
    assert check_name(name, "image") == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "/x", "a\\b", "a\x00b", "\ud800", "x" * 201, 7, None]
)
def test_names_that_could_be_paths_are_not(name: object) -> None:
    with pytest.raises(InvalidRequestError, match="image: expected a name"):
        check_name(name, "image")


def test_what_is_known_about_images_and_labels_survives_a_restart(tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    scan = save(studies / "sub-1/anat/sub-1_T1w.nii.gz", head())
    first = StudiesDatastore(str(studies))
    label = save(tmp_path / "label.nii.gz", lesion().astype(np.uint8))
    first.save_label("sub-1_T1w", str(label), "final", {"client_id": "me"})
    first.update_image_info("sub-1_T1w", {"remark": "left-handed"})
    second = StudiesDatastore(str(studies))
    assert second.get_label_info("sub-1_T1w", "final")["client_id"] == "me"
    assert second.get_image_info("sub-1_T1w")["remark"] == "left-handed"
    assert second.datalist(full_path=False) == [
        {"image": str(scan.relative_to(studies)), "label": "labels/final/sub-1_T1w.nii.gz"}
    ]


def test_nothing_is_offered_once_every_image_has_a_final_label(tmp_path: Path) -> None:
    save(tmp_path / "studies/only.nii.gz", head())
    datastore = StudiesDatastore(str(tmp_path / "studies"))
    request = {"strategy": "random"}
    assert RandomSample()(request, datastore)["id"] == FirstSample()(request, datastore)["id"] == "only"
    datastore.save_label("only", str(save(tmp_path / "label.nii.gz", lesion().astype(np.uint8))), "final", {})
    assert RandomSample()(request, datastore) is None and FirstSample()(request, datastore) is None


def test_an_image_that_was_just_offered_is_hardly_offered_again(tmp_path: Path) -> None:
    for name in ("new", "seen"):
        save(tmp_path / f"{name}.nii.gz", head())
    datastore = StudiesDatastore(str(tmp_path))
    datastore.update_image_info("seen", {"strategy": {"random": {"ts": int(time.time())}}})
    offered = set()
    for _ in range(50):
        datastore.update_image_info("new", {"strategy": {}})  # being offered makes it no news
        offered.add(RandomSample()({"strategy": "random"}, datastore)["id"])
    assert offered == {"new"}


@pytest.mark.parametrize(
    "info", [{}, {"strategy": 3}, {"strategy": {"random": []}}, {"strategy": {"random": {}}}]
)
def test_whatever_a_client_wrote_about_an_image_is_no_obstacle(info: dict) -> None:
    assert last_offered(info, "random") == 0


def test_options_reach_the_predictor_from_whatever_type_they_come_as() -> None:
    sent = {
        "tta": "True",
        "threshold": "0.3",
        "min_size_ml": "2",
        "fill_holes": 1,
        "keep_outside_brain": "yes",
        "ct": "on",
        "device": ["cpu"],
    }
    options = InferOptions.from_request(sent)
    assert options.device == "cpu" and options.prediction.tta and options.prediction.fill_holes
    assert options.prediction.threshold == 0.3 and options.prediction.min_size_ml == 2
    assert options.prediction.ct_window == (0, 80) and options.prediction.keep_outside_brain


def test_empty_options_are_the_defaults() -> None:
    names = (
        "tta",
        "threshold",
        "min_size_ml",
        "fill_holes",
        "keep_outside_brain",
        "ct",
        "result_extension",
        "result_dtype",
    )
    assert InferOptions.from_request(dict.fromkeys(names, "")) == InferOptions.from_request({})


def test_a_model_that_does_not_exist_stops_the_start_with_the_names_that_do() -> None:
    with pytest.raises(UnknownModelError, match="'nobody'"):
        ServedModel("nobody")


@pytest.mark.parametrize(
    ("request_", "processes"),
    [({"device": "cpu"}, 3), ({"device": "cpu", "multi_gpu": "false"}, 1)],
)
def test_training_takes_a_process_for_each_gpu_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request_: dict[str, object], processes: int
) -> None:
    taken: list[int] = []

    def run(tuning: FineTuning, *_: object, **__: object) -> None:
        taken.append(tuning.processes)
        raise DataError("nothing is trained here")

    monkeypatch.setattr(FineTuning, "run", run)
    monkeypatch.setattr("strokelabel.fit.loop.devices.gpus_of", lambda device: 3)
    monkeypatch.setattr("lib.training.fine_tune_task.submitted_labels", lambda *_: [])
    task = FineTuneTask(ModelVersions(tmp_path, read_spec(small_model())))
    with pytest.raises(HTTPException, match="nothing is trained here"):
        task(dict(request_), datastore=None)
    assert taken == [processes]


@pytest.mark.parametrize(("only_running", "shown"), [(True, "next"), (False, "last")])
def test_a_task_that_was_just_submitted_counts_as_running(
    monkeypatch: pytest.MonkeyPatch, only_running: bool, shown: str
) -> None:
    rows = [("done", "DONE"), ("next", "SUBMITTED"), ("last", "SUBMITTED")]
    monkeypatch.setattr(utils, "background_tasks", {"train": [{"id": i, "status": s} for i, s in rows]})
    assert tasks.status("train", only_running=only_running)["id"] == shown
