"""What a kept label means is the same for training, corrections and reviews, and a damaged table harms nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import HTTPException

from lib.infers.refine import _stored_lesion
from lib.studies.datastore import StudiesDatastore
from lib.studies.review import training_tag
from lib.studies.scan_list import read_scan
from lib.training.fine_tune_task import submitted_labels
from support.app_scans import head, lesion, save

MODELS_OWN = {"model": "segment", "params": {"label_names": {"lesion": 1}}, "status": "pseudo"}


@pytest.fixture
def store(tmp_path: Path) -> StudiesDatastore:
    save(tmp_path / "studies/a.nii.gz", head(1))
    save(tmp_path / "studies/b.nii.gz", head(2))
    return StudiesDatastore(str(tmp_path / "studies"))


def test_a_stored_label_is_corrected_by_what_its_client_called_lesion(
    store: StudiesDatastore, tmp_path: Path
) -> None:
    labels = np.where(lesion(1), 3, 0).astype(np.uint8)
    labels[0, 0, 0] = 2
    info = {"label_info": [{"name": "edema", "idx": 2}, {"name": "lesion", "idx": 3}]}
    store.save_label("a", str(save(tmp_path / "label.nii.gz", labels)), "final", info)
    stored = store.get_label_uri("a", "final"), store.get_label_info("a", "final")
    found = _stored_lesion(stored, read_scan(store.get_image_uri("a"), "a"))
    assert found is not None and np.array_equal(found, lesion(1))


def test_a_models_label_is_not_trained_on_because_a_batch_called_it_final(
    store: StudiesDatastore, tmp_path: Path
) -> None:
    for tag in ("original", "final"):
        file = save(tmp_path / f"{tag}.nii.gz", lesion(1).astype(np.uint8))
        store.save_label("a", str(file), tag, dict(MODELS_OWN))
    assert store.get_label_info("a", "final")["status"] == "pseudo"
    assert submitted_labels(store) == []
    store.review_label("a", "original", {"status": "accepted"})
    assert [label.image.name for label in submitted_labels(store)] == ["a.nii.gz"]


def test_a_version_that_was_approved_and_then_rejected_is_not_trained_on() -> None:
    approved = {"segmentationMeta": {"status": "approved"}}
    assert training_tag({"version_1": approved}) == "version_1"
    assert training_tag({"version_1": {**approved, "status": "rejected"}}) is None


class _OneUnusable(StudiesDatastore):
    """Refuses one image, as a DICOMweb server's datastore does with a series that is no scan."""

    def get_image_uri(self, image_id: str) -> str:
        if image_id == "a":
            raise HTTPException(422, "a: expected one volume")
        return super().get_image_uri(image_id)

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        return dict(self._datastore.objects[image_id].image.info)


def test_training_leaves_out_an_image_that_cannot_be_had_and_takes_the_others(
    store: StudiesDatastore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for image in ("a", "b"):
        file = save(tmp_path / f"{image}.nii.gz", lesion(1).astype(np.uint8))
        store.save_label(image, str(file), "final", {})
    found = submitted_labels(_OneUnusable(str(tmp_path / "studies")))
    assert [label.image.name for label in found] == ["b.nii.gz"]
    assert "a is left out: a: expected one volume" in caplog.text


@pytest.fixture
def log_that_reads(store: StudiesDatastore) -> Iterator[None]:
    """A log that asks the datastore for ids at every message, as the server's does to leave them out."""

    class Redacting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            assert store.list_images() is not None

    handler: Any = Redacting()
    logging.getLogger().addHandler(handler)
    yield
    logging.getLogger().removeHandler(handler)


@pytest.mark.usefixtures("log_that_reads")
def test_a_damaged_table_is_mended_although_the_log_reads_it(store: StudiesDatastore, tmp_path: Path) -> None:
    (tmp_path / "studies/datastore_v2.json").write_text("{")
    store.refresh()
    assert sorted(store.list_images()) == ["a", "b"]
