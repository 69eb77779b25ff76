"""Thousands of scans: nothing is looked up, read or copied once for each of them when a request comes."""

from __future__ import annotations

import os
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lib.scoring.uncertainty import UncertaintyRecord, UncertaintyScoring, image_stamp
from lib.strategies import make_strategies
from lib.studies.datastore import StudiesDatastore
from strokelabel.selection import distances_to_labelled
from support.app_scans import save

COUNT = 2_000
START, REQUEST, LABEL = 400, 150, 12
"""Most calls of functions for each scan: at the start, by a request for the next sample, and when a label is kept. They
say nothing about how busy the machine is, as clocks would."""


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    scan = save(folder / "a.nii.gz", np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6))
    (folder / "studies").mkdir()
    for number in range(COUNT):
        os.link(scan, folder / f"studies/sub-{number // 4:04d}_run-{number % 4}_T1w.nii.gz")
    return folder / "studies"


@pytest.fixture(scope="module")
def store(studies: Path) -> StudiesDatastore:
    work, store = counted(lambda: StudiesDatastore(str(studies)))
    assert work < START * COUNT and len(store.list_images()) == COUNT
    again = counted(lambda: StudiesDatastore(str(studies)))[0]
    assert again < START * COUNT
    return store


def counted(call: Callable):
    """Return how many functions are called, in this thread, and the result."""
    calls = 0

    def count(_frame, event, _argument) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        result = call()
    finally:
        sys.setprofile(before)
    return calls, result


def ask(store: StudiesDatastore, strategy: str, client: str = "zoe") -> float:
    request = {"strategy": strategy, "client_id": client}
    return counted(lambda: make_strategies()[strategy](request, store))[0] / COUNT


@pytest.mark.parametrize("strategy", ["first", "random", "uncertainty", "diversity"])
def test_the_next_sample_is_there_at_once(store: StudiesDatastore, strategy: str) -> None:
    assert ask(store, strategy) < REQUEST


def test_a_label_is_kept_and_removed_at_once(store: StudiesDatastore, tmp_path: Path) -> None:
    mask = save(tmp_path / "mask.nii.gz", (np.arange(4 * 5 * 6).reshape(4, 5, 6) > 60).astype(np.uint8))
    image = "sub-0007_run-1_T1w"
    assert counted(lambda: store.save_label(image, str(mask), "final", {}))[0] < LABEL * COUNT
    assert counted(lambda: store.update_label_info(image, "final", {"x": 1}))[0] < LABEL * COUNT
    assert len(list(Path(store._datastore_path).rglob("derivatives/**/*_mask.nii.gz"))) == 1
    assert counted(lambda: store.remove_label(image, "final"))[0] < LABEL * COUNT
    assert counted(store.status)[0] < LABEL * COUNT


def test_the_files_that_the_server_writes_itself_do_not_make_it_look_through_the_folder(
    store: StudiesDatastore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = []
    monkeypatch.setattr(StudiesDatastore, "refresh", lambda self: looked.append(1))
    mask = save(tmp_path / "mask.nii.gz", (np.arange(4 * 5 * 6).reshape(4, 5, 6) > 60).astype(np.uint8))
    image, root = "sub-0008_run-1_T1w", Path(store._datastore_path)
    store.save_label(image, str(mask), "final", {})
    own = [root / f"labels/final/{image}.nii.gz", root / f"{image}.nii.gz"]
    own += list((root / "derivatives").rglob("*")) + list((root / "labels/.history").rglob("*"))
    store._changed(set(own))
    store.remove_label(image, "final")
    store._changed({own[0]})
    assert looked == []
    for path in (root / "new.nii.gz", root / f"labels/final/{image}.nii.gz"):
        save(path, np.zeros((4, 5, 6), np.uint8))
        store._changed({path})
        path.unlink()
    assert len(looked) == 2


def test_the_next_sample_is_there_at_once_when_every_scan_has_a_score_and_half_a_label(
    store: StudiesDatastore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Takes the table as training and scoring leave it; labels are entries without files."""
    stamp = image_stamp(store, store.list_images()[0])
    rng = np.random.default_rng(5)
    with store._table.change() as table:
        for number, entry in enumerate(table.objects.values()):
            record = UncertaintyRecord(
                "w" * 64, stamp, number / COUNT, None, tuple(rng.random(40).tolist()), 1
            )
            entry.image.info.update(record.as_info())
            if number % 2:
                entry.labels["final"] = entry.image.model_copy(update={"info": {"status": "accepted"}})
    assert len(store.get_labeled_images()) == COUNT / 2
    for strategy in ("first", "random", "uncertainty", "diversity"):
        assert ask(store, strategy) < REQUEST, strategy
    scoring = UncertaintyScoring.__new__(UncertaintyScoring)
    scoring._model = type("Model", (), {"spec": type("Spec", (), {"sha256": "w" * 64})})  # type: ignore[assignment]
    work, due = counted(lambda: scoring.is_due(store))
    assert not due and work < REQUEST * COUNT


def test_the_distance_to_thousands_of_labelled_scans_takes_no_memory_for_each_pair() -> None:
    rng = np.random.default_rng(2)
    candidates, labelled = rng.random((5000, 30)), rng.random((5000, 30))
    tracemalloc.start()
    distances = distances_to_labelled(candidates, labelled)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    scale = np.concatenate([candidates, labelled]).std(axis=0)
    some = np.linalg.norm((candidates[:7, None] - labelled[None]) / scale, axis=2).min(axis=1)
    assert np.allclose(distances[:7], some) and peak < 5000 * 5000
