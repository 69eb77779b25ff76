"""Results that are kept: what they lose, what survives, and how large they may become."""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lib.infers.caches import SMALLEST, ResultCache, ScanSource, StoredResult
from lib.infers.segmenter import Found, Segmenter
from lib.model import ServedModel
from lib.refusals import BusyError
from strokelabel.hashing import content_of
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.segment.prediction import Scores, decide
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.inference.several_passes import UncertaintyMaps
from support.app_scans import head, save
from support.bright_network import centred_affine, phantom

SHAPE = (21, 17, 14)


def scores(rng: np.random.Generator) -> Scores:
    probability = np.zeros(SHAPE, np.float32)
    probability[3:12, 4:15, 2:9] = rng.random((9, 11, 7))
    labels = (probability > 0).astype(np.uint8) * rng.integers(1, 5, SHAPE, dtype=np.uint8)
    return Scores(probability, probability > 0.4, labels, notes=("uneven slices",))


def asked(segmenter: Segmenter, path: Path, **options: object) -> Found:
    question = segmenter.ask(
        [ScanSource(str(path), path.name)],
        PredictionOptions(keep_probabilities=False, **options),  # type: ignore[arg-type]
        "cpu",
    )
    with segmenter.answering(question) as found:
        return found


def segmenter(model: Path, folder: Path) -> Segmenter:
    return Segmenter(ServedModel(str(model)), ResultCache(folder))


def test_a_stored_result_is_off_by_no_more_than_it_says_and_its_likeliest_class_by_nothing(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    before = scores(rng)
    maps = UncertaintyMaps(*(rng.random(SHAPE, dtype=np.float32) for _ in range(3)))
    cache = ResultCache(tmp_path)
    cache.put("a", StoredResult.pack(before, maps, method="flips"))
    stored = cache.get("a")
    assert stored is not None and stored.about["method"] == "flips"
    after, after_maps = stored.scores(), stored.maps()
    assert np.abs(after.lesion_probability - before.lesion_probability).max() <= SMALLEST
    np.testing.assert_array_equal(after.lesion_is_likeliest, before.lesion_is_likeliest)
    np.testing.assert_array_equal(after.other_labels, before.other_labels)
    assert after.notes == before.notes
    assert after_maps is not None
    assert np.abs(after_maps.predictive_entropy - maps.predictive_entropy).max() <= 2 * SMALLEST


@pytest.mark.parametrize("known", [True, False])
def test_a_stored_result_knows_the_brain_so_that_what_lies_outside_it_is_decided_later(
    known: bool, rng: np.random.Generator, tmp_path: Path
) -> None:
    before = scores(rng)
    brain = before.lesion_probability > 0
    brain[:, :9] = False
    cache = ResultCache(tmp_path)
    cache.put("a", StoredResult.pack(replace(before, brain=brain if known else None), None))
    stored = cache.get("a")
    assert stored is not None
    after = stored.scores()
    assert np.array_equal(after.brain, brain) if known else after.brain is None
    np.testing.assert_array_equal(after.lesion_is_likeliest, before.lesion_is_likeliest)
    np.testing.assert_array_equal(after.other_labels, before.other_labels)


def test_lesions_outside_the_brain_are_kept_or_dropped_without_asking_the_network_again(
    bright_model: Path, tmp_path: Path
) -> None:
    served, scan = segmenter(bright_model, tmp_path / "cache"), save(tmp_path / "scan.nii.gz", head(1))
    assert not asked(served, scan).cached
    assert asked(served, scan, keep_outside_brain=True).cached


def test_a_scan_without_anything_in_it_can_be_stored() -> None:
    nothing = Scores(np.zeros(SHAPE, np.float32), np.zeros(SHAPE, bool), np.zeros(SHAPE, np.uint8))
    assert not StoredResult.pack(nothing, None).scores().lesion_probability.any()


def test_the_second_look_at_a_scan_needs_no_network_whatever_the_threshold_and_after_a_restart(
    bright_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = save(tmp_path / "scan.nii.gz", head(1))
    first = asked(segmenter(bright_model, tmp_path / "cache"), scan)
    assert not first.cached
    monkeypatch.setattr(Predictor, "scores", lambda *_: pytest.fail("the network was asked"))
    copy = save(tmp_path / "copy.nii.gz", head(1))  # another file with the same bytes
    assert content_of(str(copy)) == content_of(str(scan))
    second = asked(segmenter(bright_model, tmp_path / "cache"), copy, threshold=0.3, min_size_ml=1.0)
    assert second.cached
    np.testing.assert_array_equal(
        second.result.scores().lesion_probability, first.result.scores().lesion_probability
    )


def test_a_mask_is_the_same_from_the_cache_and_by_likeliest_class_the_predictors_own(
    bright_model: Path, tmp_path: Path
) -> None:
    image, _ = phantom(SHAPE, centred_affine(np.diag([3.1, 4.2, 4.9]), SHAPE), (3, 4, 5))
    scan = save(tmp_path / "scan.nii.gz", image.data, image.affine)
    fresh, kept = (asked(segmenter(bright_model, tmp_path / "cache"), scan) for _ in range(2))
    predictor = Predictor.from_model(bright_model, "cpu")
    for threshold in (None, 0.1, 0.5):
        options = PredictionOptions(threshold=threshold)
        masks = [decide(one.result.scores(), 1, predictor.spec, options).lesion_mask for one in (fresh, kept)]
        np.testing.assert_array_equal(*masks)
    expected = predictor.predict(image).lesion_mask
    plain = decide(kept.result.scores(), 1, predictor.spec, PredictionOptions()).lesion_mask
    np.testing.assert_array_equal(plain, expected)


def test_another_scan_window_or_flips_is_another_question(bright_model: Path, tmp_path: Path) -> None:
    served = segmenter(bright_model, tmp_path / "cache")
    scan = save(tmp_path / "scan.nii.gz", head(1))
    assert not asked(served, scan).cached
    assert not asked(served, scan, tta=True).cached
    assert not asked(served, scan, ct_window=(0.0, 200.0)).cached
    assert not asked(served, save(tmp_path / "scan.nii.gz", head(2))).cached
    assert asked(served, scan, tta=True).cached is False  # the file has changed since


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 nothing", None])
def test_a_damaged_entry_is_made_again(bright_model: Path, tmp_path: Path, damage: bytes | None) -> None:
    scan = save(tmp_path / "scan.nii.gz", head(1))
    good = asked(segmenter(bright_model, tmp_path / "cache"), scan).result
    (entry,) = (tmp_path / "cache").glob("*.result")
    content = bytearray(entry.read_bytes())
    content[len(content) // 2] ^= 0xFF
    entry.write_bytes(bytes(content) if damage is None else damage)
    again = asked(segmenter(bright_model, tmp_path / "cache"), scan)
    assert not again.cached
    np.testing.assert_array_equal(again.result.scores().lesion_probability, good.scores().lesion_probability)


def test_the_entries_used_longest_ago_go_when_they_are_too_many_bytes(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    stored = StoredResult.pack(scores(rng), None)
    ResultCache(tmp_path).put("a", stored)
    size = (tmp_path / "a.result").stat().st_size
    cache = ResultCache(tmp_path, most_bytes=int(2.5 * size))
    os.utime(tmp_path / "a.result", (1, 1))
    cache.put("b", stored)
    os.utime(tmp_path / "b.result", (2, 2))
    assert cache.get("a") is not None  # and so used last
    cache.put("c", stored)
    assert [cache.has(key) for key in "abc"] == [True, False, True]


def test_a_cache_of_no_bytes_or_without_a_folder_keeps_nothing_and_serves(
    bright_model: Path, tmp_path: Path
) -> None:
    scan = save(tmp_path / "scan.nii.gz", head(1))
    (tmp_path / "file").touch()
    for cache in (ResultCache(tmp_path / "none", 0), ResultCache(tmp_path / "file" / "cache")):
        served = Segmenter(ServedModel(str(bright_model)), cache)
        assert not asked(served, scan).cached and not asked(served, scan).cached
    assert not (tmp_path / "none").exists()


def _put_many(folder: Path, seed: int) -> None:
    stored = StoredResult.pack(scores(np.random.default_rng(0)), None, writer=seed)
    cache = ResultCache(folder, most_bytes=40_000)
    for index in range(30):
        cache.put(f"{index % 7}", stored)
        found = cache.get(f"{(index + 3) % 7}")
        assert found is None or found.about["writer"] in (1, 2)


def test_two_processes_may_use_one_cache(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_put_many, args=(tmp_path, seed)) for seed in (1, 2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert all(ResultCache(tmp_path).get(path.stem) for path in tmp_path.glob("*.result"))
    assert not list(tmp_path.glob(".*"))


def test_a_server_that_may_not_let_anyone_wait_says_that_it_is_busy(
    bright_model: Path, tmp_path: Path
) -> None:
    served = Segmenter(ServedModel(str(bright_model)), ResultCache(tmp_path / "cache"), most_waiting=0)
    scan = save(tmp_path / "scan.nii.gz", head(1))
    with served._device("cpu").turn():
        served._device("cpu")._owner = -1  # another thread's turn
        with pytest.raises(BusyError, match="0 segmentations are waiting"):
            asked(served, scan)
    assert not asked(served, scan).cached
