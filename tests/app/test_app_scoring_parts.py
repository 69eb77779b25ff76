"""Parts of scoring by themselves: what is pending, when other weights become active, and what is queued."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import HTTPException

from lib.model import ServedModel
from lib.refusals import UnknownNameError
from lib.scoring import method as queue
from lib.scoring.method import QueuedScoring, queue_scoring
from lib.scoring.uncertainty import UncertaintyScoring, read_record
from lib.studies.datastore import StudiesDatastore
from strokelabel.fit.fine_tuning.versions import ORIGIN, VersionRecord
from strokelabel.networks.weights import load_weights, save_weights
from strokelabel.registry import ModelSpec
from support.app_scans import BAD_SCANS, head, save

CPU = {"device": "cpu"}


@pytest.fixture
def model(tmp_path: Path, bright_model: Path) -> ServedModel:
    return ServedModel(str(bright_model), tmp_path / "versions")


@pytest.fixture
def store(tmp_path: Path) -> StudiesDatastore:
    """Three scans, one of which cannot be read."""
    for number, name in enumerate(("a", "c")):
        save(tmp_path / f"studies/{name}.nii.gz", head(number))
    BAD_SCANS["corrupt"](tmp_path / "studies/b.nii.gz")
    return StudiesDatastore(str(tmp_path / "studies"))


def activate_another(model: ServedModel) -> str:
    """Make another version the active one, as a training does; returns the hash of its weights."""
    network, spec = load_weights(model.spec)

    def write(path: Path, name: str) -> ModelSpec:
        return save_weights(path, network, replace(spec, version=name), "float32")

    def describe(name: str, made: ModelSpec) -> VersionRecord:
        return VersionRecord(
            name=name, weights_sha256=made.sha256, parent=ORIGIN, parent_sha256=spec.sha256,
            created="2026-01-02T03:04:05+00:00", session=name, details={},
        )  # fmt: skip

    assert model.versions is not None
    model.versions.activate(model.versions.add(write, describe).name)
    return model.spec.sha256


def weights_of(store: StudiesDatastore) -> set[str]:
    records = (read_record(store.get_image_info(image)) for image in store.list_images())
    return {record.weights_sha256 if record else "" for record in records}


def test_a_bad_scan_gets_a_reason_and_the_others_their_scores(
    model: ServedModel, store: StudiesDatastore
) -> None:
    task = UncertaintyScoring(model)
    assert task.is_due(store) and not task.in_use(store)
    answer = task(CPU, store)
    assert answer["scored"] == 2 and list(answer["failed"]) == ["b"]
    assert not task.is_due(store) and task.in_use(store)


def test_after_a_training_every_score_is_stale_and_computed_once(
    model: ServedModel, store: StudiesDatastore
) -> None:
    task = UncertaintyScoring(model)
    task(CPU, store)
    weights = activate_another(model)
    assert task.is_due(store)
    assert task(CPU, store)["scored"] == 2 and weights_of(store) == {weights}
    assert task(CPU, store)["scored"] == 0


def test_a_run_that_was_stopped_goes_on_where_it_was(model: ServedModel, store: StudiesDatastore) -> None:
    class StoppedError(BaseException):
        pass

    class Stopping(StudiesDatastore):
        def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
            super().update_image_info(image_id, info)
            raise StoppedError

    task = UncertaintyScoring(model)
    with pytest.raises(StoppedError):
        task(CPU, Stopping(str(store._root)))
    again = StudiesDatastore(str(store._root))
    assert task(CPU, again)["scored"] == 1  # of the two readable ones, "a" has its score


def test_weights_that_change_during_a_run_are_taken_up(model: ServedModel, store: StudiesDatastore) -> None:
    class Training(StudiesDatastore):
        done = False

        def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
            super().update_image_info(image_id, info)
            if not self.done:
                self.done = True
                activate_another(model)

    studies = Training(str(store._root))
    UncertaintyScoring(model)(CPU, studies)
    assert weights_of(studies) == {model.spec.sha256}


def test_a_scan_that_was_deleted_meanwhile_is_no_obstacle(
    model: ServedModel, store: StudiesDatastore
) -> None:
    class Deleting(StudiesDatastore):
        def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
            raise UnknownNameError(image_id)

    assert UncertaintyScoring(model)(CPU, Deleting(str(store._root)))["scored"] == 0


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The background tasks, none of which ever ends."""
    jobs: list[dict[str, Any]] = []

    def start(request: dict[str, Any], kind: str) -> dict[str, Any]:
        running = any(job["status"] == "RUNNING" for job in jobs)
        jobs.append({"id": len(jobs), "status": "SUBMITTED" if running else "RUNNING", "request": request})
        return jobs[-1]

    monkeypatch.setattr(queue, "run_background_task", start)
    monkeypatch.setattr(queue, "tasks", lambda kind: jobs)
    return jobs


def an_app(model: ServedModel, store: StudiesDatastore) -> QueuedScoring:
    app = QueuedScoring.__new__(QueuedScoring)  # without the rest of an app
    app._scoring_methods = {"uncertainty": UncertaintyScoring(model)}
    app._datastore, app._server_mode = store, True
    return app


def test_at_most_one_job_of_a_method_waits(
    model: ServedModel, store: StudiesDatastore, started: list[dict[str, Any]]
) -> None:
    app = an_app(model, store)
    for _ in range(10):
        queue_scoring(app, "uncertainty")
        app.score_for("uncertainty")
    assert [job["status"] for job in started] == ["RUNNING", "SUBMITTED"]


def test_nothing_is_scored_unasked_before_somebody_uses_it(
    model: ServedModel, store: StudiesDatastore, started: list[dict[str, Any]]
) -> None:
    app = an_app(model, store)
    assert app.async_scoring(None) == {}
    app.score_for("random")
    assert started == []
    app.score_for("diversity")
    assert [job["request"]["method"] for job in started] == ["uncertainty"]


def test_scores_in_use_are_kept_up_to_date_after_a_training_and_no_more(
    model: ServedModel, store: StudiesDatastore, started: list[dict[str, Any]]
) -> None:
    app = an_app(model, store)
    UncertaintyScoring(model)(CPU, store)
    assert app.async_scoring(None) == {}
    activate_another(model)
    assert list(app.async_scoring(None)) == ["uncertainty"] and len(started) == 1


def test_an_unknown_method_is_refused(model: ServedModel, store: StudiesDatastore) -> None:
    with pytest.raises(UnknownNameError, match="uncertainty"):
        an_app(model, store).async_scoring("sum")


class _OneRefused(StudiesDatastore):
    """Refuses one image, as a DICOMweb server's datastore does with a series that is no scan."""

    images_never_change = True

    def get_image_uri(self, image_id: str) -> str:
        if image_id == "a":
            raise HTTPException(422, "a: expected one volume")
        return super().get_image_uri(image_id)

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        return dict(self._datastore.objects[image_id].image.info)

    def _require_image(self, image_id: str) -> None:
        assert image_id in self._datastore.objects


def test_a_series_that_is_no_scan_gets_a_reason_and_nothing_is_fetched_to_know_that_all_is_scored(
    model: ServedModel, store: StudiesDatastore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pacs = _OneRefused(str(tmp_path / "studies"))
    answer = UncertaintyScoring(model)(CPU, pacs)
    assert answer["scored"] == 1 and answer["failed"]["a"] == "a: expected one volume"
    monkeypatch.setattr(pacs, "get_image_uri", lambda *_: pytest.fail("an image was fetched"))
    assert not UncertaintyScoring(model).is_due(pacs)
