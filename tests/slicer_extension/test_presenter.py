"""The whole walk of an annotator, without a user interface and over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from StrokeLabelLib.session.editing import OPERATIONS
from StrokeLabelLib.session.overlays import NAMES
from StrokeLabelLib.volume import Volume

from support.fake_view import make_presenter
from support.small_server import Store, serving
from support.walk_data import AFFINES, LESION_MM, beside_lesion, scan_and_lesion

SCAN, OTHER, FLAIR = "sub-1_ses-2_T1w", "sub-2_T1w", "sub-1_ses-2_FLAIR"


@pytest.fixture
def store() -> Store:
    scans = {}
    for name, axes in ((SCAN, "LIA"), (OTHER, "oblique"), (FLAIR, "RAS")):
        scans[name] = Volume(scan_and_lesion(AFFINES[axes])[0], AFFINES[axes])
    return Store(scans)


@pytest.fixture
def url(store: Store) -> Iterator[str]:
    with serving(store) as address:
        yield address


def lesion_of(store: Store, name: str = SCAN) -> np.ndarray:
    return store.scans[name].data > 200


def shown(view) -> int:
    return int(np.count_nonzero(view.mask.data))


def opened(url: str, folder: Path, **changes):
    presenter, view, clock = make_presenter(folder, **changes)
    presenter.connection.connect(url)
    presenter.cases.open(SCAN)
    assert not view.errors
    return presenter, view, clock


def test_the_empty_state_says_what_to_do_first(tmp_path: Path) -> None:
    presenter, view, _ = make_presenter(tmp_path)
    assert view.state.status == "Connect to a server, then open a scan."
    assert view.state.blocked["next"] == "Connect to a server first." and view.state.can("connect")
    presenter.cases.next()
    assert view.errors == ["Connect to a server first."]


def test_a_tested_server_says_what_it_is_and_nothing_is_connected(url: str, tmp_path: Path) -> None:
    presenter, view, _ = make_presenter(tmp_path)
    presenter.connection.test(url.removeprefix("http://") + "/")
    assert "StrokeLabel 0, 3 scans, segment" in view.state.status and not view.state.connected


def test_connecting_lists_scans_models_and_remembers_the_address(url: str, tmp_path: Path) -> None:
    presenter, view, _ = make_presenter(tmp_path)
    presenter.connection.connect(url)
    assert [image.image_id for image in view.state.images] == [SCAN, OTHER, FLAIR]
    assert [m.name for m in view.state.models] == ["segment", "segment_tissues"]
    assert presenter.settings.servers == [url] and view.state.total == 3 and view.state.completed == 0


def test_connecting_says_which_files_the_server_does_not_serve(
    url: str, store: Store, tmp_path: Path
) -> None:
    store.left_out = ["b.nii: b.nii.gz has the same id; rename one.", "pipe.nii: is no regular file"]
    presenter, view, _ = make_presenter(tmp_path)
    presenter.connection.connect(url)
    assert view.state.status == (
        "Connected: 3 scans. Not served: b.nii: b.nii.gz has the same id; rename one; and 1 more, which /info/ names."
    )


def test_a_case_opens_with_the_other_sequences_of_its_visit(url: str, tmp_path: Path) -> None:
    _, view, _ = opened(url, tmp_path)
    assert view.state.sequences == ("T1w", "FLAIR")
    assert [s.image.image_id for s in view.case.sequences] == [SCAN, FLAIR]
    _, view, _ = opened(url, tmp_path, load_sequences=False)
    assert view.state.sequences == ("T1w",)


def test_segmenting_shows_the_mask_its_volume_and_what_the_server_noted(
    url: str, store: Store, tmp_path: Path
) -> None:
    presenter, view, _ = opened(url, tmp_path)
    presenter.segmentation.segment()
    count = int(lesion_of(store).sum())
    voxel_ml = 2.1 * 1.9 * 2.4 / 1000
    assert shown(view) == count and view.state.measurements.volume_ml == pytest.approx(count * voxel_ml)
    assert view.state.measurements.count == 1 and view.state.measurements.dice_to_model == 1
    assert "No orientation codes." in view.state.status and view.state.can("threshold")


STRUCTURES = {
    "intracranial_ml": 1412.0,
    "text": ["0.9 % of the intracranial volume, 1412 ml", "left 12.9 ml", "left putamen 3.1 ml (52 %)"],
}


def test_structures_are_those_of_the_model_s_mask_and_said_to_be_once_it_is_changed(
    url: str, store: Store, tmp_path: Path
) -> None:
    presenter, view, _ = opened(url, tmp_path)
    presenter.segmentation.segment()
    assert view.state.measurements.structures == ()
    store.structures = STRUCTURES
    presenter.segmentation.segment()
    assert list(view.state.measurements.structures) == STRUCTURES["text"]
    view.paint(presenter, [beside_lesion(0, 22, 0)])
    assert list(view.state.measurements.structures) == ["Before your changes:", *STRUCTURES["text"]]
    presenter.editing.undo()
    assert list(view.state.measurements.structures) == STRUCTURES["text"]
    presenter.submission.export(tmp_path / "mask.nii.gz")
    saved = json.loads((tmp_path / "mask_report.json").read_text())
    assert saved["structures_of_model_mask"] == STRUCTURES

    store.structures = None
    presenter.segmentation.segment()
    assert view.state.measurements.structures == ()
    presenter.submission.export(tmp_path / "mask.nii.gz")
    assert "structures_of_model_mask" not in json.loads((tmp_path / "mask_report.json").read_text())


def test_a_models_label_on_the_server_has_its_structures_when_it_is_opened(
    url: str, store: Store, tmp_path: Path
) -> None:
    mask = store.scans[SCAN].with_data(lesion_of(store).astype(np.uint8))
    store.labels[SCAN, "original"] = mask, {"status": "pseudo", "params": {"structures": STRUCTURES}}
    presenter, view, _ = opened(url, tmp_path)
    assert list(view.state.measurements.structures) == STRUCTURES["text"]
    view.paint(presenter, [beside_lesion(0, 22, 0)])
    assert view.state.measurements.structures[0] == "Before your changes:"


@pytest.mark.parametrize("odd", [{"text": "left"}, {"text": None}, {}], ids=str)
def test_structures_that_are_no_list_of_lines_are_not_shown(
    odd: dict[str, object], url: str, store: Store, tmp_path: Path
) -> None:
    store.structures = odd
    presenter, view, _ = opened(url, tmp_path)
    presenter.segmentation.segment()
    assert view.state.measurements.structures == () and not view.errors


UNSAID = {
    "stroke_stage": "unknown",
    "value": None,
    "text": ["no NIHSS is estimated: its model is of acute strokes alone"],
}
ACUTE = {
    "stroke_stage": "acute",
    "value": 9.3,
    "text": ["estimated NIHSS 9 (90 % interval 2 to 25); research use only"],
}
CHRONIC = {
    "stroke_stage": "chronic",
    "value": None,
    "text": ["no NIHSS is estimated: this one was said to be chronic"],
}
OUTCOMES = {"unknown": UNSAID, "acute": ACUTE, "chronic": CHRONIC}


def test_an_outcome_is_estimated_for_the_stage_that_the_user_says_and_no_number_outlives_it(
    url: str, store: Store, tmp_path: Path
) -> None:
    presenter, view, _ = opened(url, tmp_path)
    presenter.segmentation.segment()
    assert view.state.measurements.outcome == () and view.state.stroke_stages == ()
    store.outcome = OUTCOMES
    presenter.connection.connect(url)
    presenter.cases.open(SCAN)
    assert view.state.stroke_stages == ("unknown", "acute", "chronic")
    assert view.state.stroke_stage == "unknown"
    presenter.segmentation.segment()
    assert list(view.state.measurements.outcome) == UNSAID["text"]

    presenter.segmentation.set_stroke_stage("acute")
    (line,) = view.state.measurements.outcome
    assert line.startswith("Segment again") and view.state.stroke_stage == "acute"
    presenter.segmentation.segment()
    assert list(view.state.measurements.outcome) == ACUTE["text"]
    presenter.submission.export(tmp_path / "mask.nii.gz")
    saved = json.loads((tmp_path / "mask_report.json").read_text())
    assert saved["estimated_outcome_of_model_mask"] == ACUTE
    view.paint(presenter, [beside_lesion(0, 22, 0)])
    assert list(view.state.measurements.outcome) == ["Before your changes:", *ACUTE["text"]]

    presenter.segmentation.set_stroke_stage("chronic")
    assert not any("9" in line for line in view.state.measurements.outcome)
    presenter.submission.export(tmp_path / "mask.nii.gz")
    assert "estimated_outcome_of_model_mask" not in json.loads((tmp_path / "mask_report.json").read_text())
    presenter.segmentation.segment()
    assert list(view.state.measurements.outcome)[-1] == CHRONIC["text"][0]
    presenter.segmentation.set_stroke_stage("of old")
    assert view.state.stroke_stage == "chronic"


def test_the_stage_of_one_scan_is_not_that_of_the_next(url: str, store: Store, tmp_path: Path) -> None:
    store.outcome = OUTCOMES
    presenter, view, _ = opened(url, tmp_path)
    presenter.segmentation.set_stroke_stage("acute")
    presenter.cases.open(OTHER)
    assert view.state.stroke_stage == "unknown"
    presenter.segmentation.segment()
    assert list(view.state.measurements.outcome) == UNSAID["text"]


def test_a_models_label_on_the_server_has_its_estimate_and_stage_when_it_is_opened(
    url: str, store: Store, tmp_path: Path
) -> None:
    store.outcome = OUTCOMES
    mask = store.scans[SCAN].with_data(lesion_of(store).astype(np.uint8))
    store.labels[SCAN, "original"] = mask, {"status": "pseudo", "params": {"outcome": ACUTE}}
    _, view, _ = opened(url, tmp_path)
    assert list(view.state.measurements.outcome) == ACUTE["text"] and view.state.stroke_stage == "acute"


def test_the_threshold_keeps_what_was_painted_and_is_one_step(url: str, store: Store, tmp_path: Path) -> None:
    presenter, view, _ = opened(url, tmp_path)
    presenter.segmentation.segment()
    far = beside_lesion(0, 22, 0)
    view.paint(presenter, [far])
    view.paint(presenter, [np.array(LESION_MM)], value=0, name="Erase")
    painted = shown(view)
    for threshold in (0.6, 0.4, 0.2):
        presenter.segmentation.drag_threshold(threshold)
    presenter.segmentation.set_threshold(0.2)
    assert shown(view) > painted and view.state.threshold == 0.2
    assert view.mask.data[view.mask.grid.to_voxel(far)] == 1
    assert view.mask.data[view.mask.grid.to_voxel(np.array(LESION_MM))] == 0
    presenter.editing.undo()
    assert shown(view) == painted and view.state.threshold is None and view.state.undo_name == "Erase"
    presenter.editing.redo()
    assert view.state.threshold == 0.2 and view.state.redo_name == ""


def test_a_server_without_probability_maps_leaves_the_threshold_off_and_says_why(
    url: str, store: Store, tmp_path: Path
) -> None:
    store.maps = False
    presenter, view, _ = opened(url, tmp_path)
    presenter.segmentation.segment()
    assert "probability map" in view.state.blocked["threshold"] and not view.errors
    presenter.overlays.show("uncertainty")
    assert "no uncertainty map" in view.errors[-1]


def test_undo_takes_back_one_step_at_a_time_to_the_beginning(url: str, tmp_path: Path) -> None:
    presenter, view, _ = opened(url, tmp_path)
    presenter.segmentation.segment()
    masks = [view.mask.data]
    presenter.editing.apply("margin", margin_mm=3)
    presenter.editing.apply("smooth", radius_mm=6)
    assert view.state.undo_name == "Smooth"
    while view.state.undo_name != "Segment":
        presenter.editing.undo()
    assert np.array_equal(view.mask.data, masks[0])
    presenter.editing.undo()
    assert shown(view) == 0 and view.state.blocked["undo"] == "There is nothing to undo."


@pytest.mark.parametrize("operation", list(OPERATIONS))
def test_every_operation_runs_on_a_segmented_case(url: str, tmp_path: Path, operation: str) -> None:
    presenter, view, _ = opened(url, tmp_path)
    presenter.segmentation.segment()
    presenter.editing.apply(operation)
    assert not view.errors and (shown(view) > 0) == (operation != "clear")


def test_segment_begins_anew_after_clear(url: str, tmp_path: Path) -> None:
    presenter, view, _ = opened(url, tmp_path)
    presenter.segmentation.segment()
    count = shown(view)
    presenter.editing.apply("clear")
    assert shown(view) == 0
    presenter.segmentation.segment()
    assert shown(view) == count > 0


def test_an_operation_that_makes_no_sense_says_so_and_changes_nothing(url: str, tmp_path: Path) -> None:
    presenter, view, _ = opened(url, tmp_path)
    presenter.editing.apply("fill_between_slices")
    presenter.editing.apply("margin", margin_mm=900)
    assert "at least two slices" in view.errors[0] and "at most 50 mm" in view.errors[1]
    assert not view.state.dirty


def test_islands_are_removed_and_regions_added_by_a_click(url: str, store: Store, tmp_path: Path) -> None:
    presenter, view, _ = opened(url, tmp_path)
    presenter.segmentation.segment()
    count = shown(view)
    presenter.segmentation.add_prompt("remove island", LESION_MM)
    assert shown(view) == 0 and view.state.undo_name == "Remove island"
    presenter.segmentation.add_prompt("add region", LESION_MM)
    assert 0.8 * count < shown(view) < 1.8 * count
    presenter.segmentation.add_prompt("remove island", (-18.0, 0.0, 0.0))
    assert "no lesion" in view.errors[-1]
    presenter.segmentation.add_prompt("remove island", (500.0, 0.0, 0.0))
    assert "outside the scan" in view.errors[-1]


def test_clicks_refine_the_mask_where_they_were_made(url: str, store: Store, tmp_path: Path) -> None:
    presenter, view, _ = opened(url, tmp_path)
    presenter.segmentation.segment()
    count = shown(view)
    presenter.segmentation.add_prompt("lesion", (-10.0, 8.0, -6.0))
    assert shown(view) == count + 27 and view.prompts == ()
    assert view.mask.data[view.mask.grid.to_voxel((-10.0, 8.0, -6.0))] == 1
    presenter.settings.refine_at_once = False
    presenter.segmentation.add_prompt("not lesion", LESION_MM)
    assert len(view.prompts) == 1 and shown(view) == count + 27
    presenter.segmentation.refine()
    assert shown(view) == count and view.prompts == ()


@pytest.mark.parametrize("name", NAMES)
def test_every_overlay_lies_on_the_scan(url: str, store: Store, tmp_path: Path, name: str) -> None:
    presenter, view, _ = opened(url, tmp_path)
    presenter.segmentation.segment()
    presenter.overlays.show(name)
    assert view.overlay is not None and view.overlay.name == name == view.state.overlay
    assert view.overlay.volume.grid.same_as(store.scans[SCAN].grid)
    brightest = view.overlay.volume.data[lesion_of(store)]
    assert brightest.mean() > view.overlay.volume.data[~lesion_of(store)].mean()
    presenter.overlays.show("")
    assert view.overlay is None and view.state.overlay == ""


def test_the_next_uncertain_region_is_at_the_lesions_edge(url: str, tmp_path: Path) -> None:
    presenter, view, _ = opened(url, tmp_path)
    presenter.overlays.next_uncertain_region()
    assert "Segment first" in view.errors[-1]
    presenter.segmentation.segment()
    presenter.overlays.next_uncertain_region()
    distance = np.linalg.norm(np.array(view.at_mm) - LESION_MM)
    assert 4 < distance < 12 and view.state.status == "Uncertain region 1 of 1."


@pytest.mark.parametrize("axes", list(AFFINES))
def test_the_submitted_mask_is_the_intended_one_voxel_for_voxel(
    url: str, store: Store, tmp_path: Path, axes: str
) -> None:
    store.scans[SCAN] = Volume(scan_and_lesion(AFFINES[axes])[0], AFFINES[axes])
    presenter, view, _ = opened(url, tmp_path)
    presenter.segmentation.segment()
    extra = [beside_lesion(0, 20, 0), beside_lesion(-15, 0, 5)]
    view.paint(presenter, extra)
    presenter.submission.submit()
    label, info = store.labels[SCAN, "final"]
    intended = lesion_of(store).copy()
    for point in extra:
        intended[store.scans[SCAN].grid.to_voxel(point)] = True
    assert label.grid.same_as(store.scans[SCAN].grid) and np.array_equal(label.data > 0, intended)
    assert info["client_id"] == "reader 1"
    provenance = info["params"]["provenance"]
    assert provenance["start"] == "model segment" and provenance["edits"] == ["Segment", "Paint"]
    assert provenance["model"] == {"task": "segment", "version": "7"}
    assert not view.state.dirty and view.state.completed == 1


def test_submit_and_next_opens_the_next_case_until_all_are_labelled(url: str, tmp_path: Path) -> None:
    presenter, view, clock = opened(url, tmp_path)
    for expected in (OTHER, FLAIR):
        clock.now += 30
        presenter.submission.submit(then_next=True)
        assert view.state.open_image == expected
    presenter.submission.submit(then_next=True)
    assert "All scans are labelled" in view.state.status and view.state.completed == 3


def test_a_labelled_case_opens_with_its_mask_and_can_be_corrected(
    url: str, store: Store, tmp_path: Path
) -> None:
    presenter, view, _ = opened(url, tmp_path)
    presenter.segmentation.segment()
    presenter.submission.submit()
    presenter.cases.open(SCAN)
    assert shown(view) == lesion_of(store).sum() and "with its submitted mask" in view.state.status
    view.paint(presenter, [np.array(LESION_MM)], value=0)
    presenter.submission.submit()
    assert store.labels[SCAN, "final"][0].data.sum() == lesion_of(store).sum() - 1


@pytest.mark.parametrize(
    ("lesion_value", "other_value", "info"),
    [
        (2, 0, {}),
        (7, 3, {"label_info": [{"name": "edema", "idx": 3}, {"name": "Lesion", "idx": 7}]}),
        (1, 5, {"label_info": [{"name": "lesion", "id": 1}, {"name": "edema", "id": 5}]}),
        (5, 4, {"params": {"label_names": {"cerebrospinal fluid": 4, "lesion": 5}}}),
    ],
)
def test_the_lesion_of_a_label_is_what_the_server_names_so(
    url: str, store: Store, tmp_path: Path, lesion_value: int, other_value: int, info: dict
) -> None:
    labels = np.where(lesion_of(store), lesion_value, 0).astype(np.uint8)
    labels[0, 0, 0] = other_value
    store.labels[SCAN, "final"] = store.scans[SCAN].with_data(labels), {"ts": 5, **info}
    _, view, _ = opened(url, tmp_path)
    assert shown(view) == lesion_of(store).sum()


def test_a_label_of_which_no_class_is_the_lesion_is_not_opened_as_something_else(
    url: str, store: Store, tmp_path: Path
) -> None:
    info = {"label_info": [{"name": "Segment_1", "idx": 1}, {"name": "Segment_2", "idx": 2}]}
    store.labels[SCAN, "final"] = store.scans[SCAN].with_data(lesion_of(store).astype(np.uint8)), info
    presenter, view, _ = make_presenter(tmp_path)
    presenter.connection.connect(url)
    presenter.cases.open(SCAN)
    assert view.case is None and "segment_1, segment_2, and none is named lesion" in view.errors[-1]


def test_a_pseudo_label_is_accepted_corrected_or_rejected(url: str, store: Store, tmp_path: Path) -> None:
    mask = store.scans[SCAN].with_data(lesion_of(store).astype(np.uint8))
    store.labels[SCAN, "original"] = mask, {"ts": 5, "status": "pseudo"}
    presenter, view, _ = opened(url, tmp_path)
    assert view.state.is_pseudo_label and shown(view) == lesion_of(store).sum() and view.state.can("compare")
    presenter.submission.accept()
    sent = store.bodies["/datastore/label/status"]
    assert (sent["image"], sent["tag"], sent["status"]) == (SCAN, "original", "accepted")
    presenter.submission.reject("motion")
    assert store.bodies["/datastore/label/status"]["comment"] == "motion"
    view.paint(presenter, [np.array(LESION_MM)], value=0)
    presenter.submission.accept()
    assert store.labels[SCAN, "final"][0].data.sum() == lesion_of(store).sum() - 1
    assert view.state.blocked["accept"] == "This scan has no model label to accept or reject."


def test_a_file_is_uploaded_and_opened(url: str, store: Store, tmp_path: Path) -> None:
    presenter, view, _ = opened(url, tmp_path)
    data, _ = scan_and_lesion(AFFINES["LAS"])
    nib.save(nib.Nifti1Image(data, AFFINES["LAS"]), tmp_path / "new scan.nii.gz")
    presenter.cases.upload(tmp_path / "new scan.nii.gz")
    assert view.state.open_image == "new scan" and np.array_equal(store.scans["new scan"].data, data)
    (tmp_path / "text.nii").write_text("no image")
    presenter.cases.upload(tmp_path / "text.nii")
    assert "expected a NIfTI-1 file" in view.errors[-1]


def test_mask_and_report_are_exported(url: str, store: Store, tmp_path: Path) -> None:
    presenter, view, _ = opened(url, tmp_path)
    presenter.segmentation.segment()
    presenter.submission.export(tmp_path / "out" / "mask.nii.gz")
    image = nib.load(tmp_path / "out" / "mask.nii.gz")
    assert np.allclose(image.affine, store.scans[SCAN].affine, atol=1e-4)
    assert np.array_equal(np.asarray(image.dataobj) > 0, lesion_of(store))
    report = json.loads((tmp_path / "out" / "mask_report.json").read_text())
    assert report["image"] == SCAN and report["lesion_count"] == 1 and not report["submitted"]
    assert report["lesion_volume_ml"] == pytest.approx(view.state.measurements.volume_ml, abs=1e-3)


def test_training_starts_after_the_first_submission_and_its_progress_is_shown(
    url: str, store: Store, tmp_path: Path
) -> None:
    presenter, view, clock = opened(url, tmp_path)
    assert "at least one mask" in view.state.blocked["train"]
    presenter.segmentation.segment()
    presenter.submission.submit()
    presenter.training.start({"max_epochs": 20})
    assert view.state.training.running and view.state.training.epoch == 3 and view.state.can("stop_training")
    assert store.bodies["/train/segment"] == {"max_epochs": 20}
    store.train = {"status": "DONE", "details": ["Activated: Dice 0.61"]}
    clock.now += 5
    presenter.tick()
    assert not view.state.training.running and "Activated: Dice 0.61" in view.state.status
    presenter.training.start()
    presenter.training.stop()
    assert view.state.status == "Training stopped." and view.state.can("train")


def test_a_scan_without_label_is_segmented_at_once_if_the_settings_say_so(url: str, tmp_path: Path) -> None:
    _, view, _ = opened(url, tmp_path, segment_on_open=True)
    assert shown(view) > 0 and view.state.undo_name == "Segment"
