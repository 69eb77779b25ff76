"""Annotated scans as streams: every scan in turn, and lesions alone for truth."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from strokelabel.errors import DataError
from strokelabel.fit.data.annotated_scans.augmentation import RealAugmentation
from strokelabel.fit.data.annotated_scans.scans import RealAugmentationConfig, RealScan, store_scan
from strokelabel.fit.data.annotated_scans.stream import RealStream, RealValidation
from strokelabel.networks.normalization import normalize
from strokelabel.synthesis.config import DeformationConfig

SHAPE = (16, 24, 16)


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> list[RealScan]:
    folder = tmp_path_factory.mktemp("scans")
    rng = np.random.default_rng(4)
    result = []
    for number, shape in enumerate([(20, 22, 18), (15, 25, 16), (16, 17, 30), (18, 18, 18), (17, 20, 21)]):
        image = rng.uniform(0.2, 1.0, shape).astype(np.float32)
        lesion = np.zeros(shape, bool)
        lesion[5:9, 6:12, 7:10] = True
        path = folder / f"{number}.safetensors"
        store_scan(path, image, lesion)
        result.append(RealScan(f"sub-{number}_T1w", f"sub-{number}", path))
    return result


def stream(scans, *, batch_size=1, seed=1, lesion=5) -> RealStream:
    augmentation = RealAugmentation(
        SHAPE, DeformationConfig(), RealAugmentationConfig(elastic_sigma_voxels=(1, 2))
    )
    return RealStream(scans, augmentation, lesion, batch_size, seed)


def test_every_scan_comes_once_before_any_comes_again_in_an_order_that_changes(scans):
    names = [stream(scans).scan(index).name for index in range(50)]
    rounds = [names[i : i + 5] for i in range(0, 50, 5)]
    assert all(Counter(a) == Counter(s.name for s in scans) for a in rounds)
    assert len({tuple(a) for a in rounds}) > 3
    assert names != [stream(scans, seed=2).scan(index).name for index in range(50)]


def test_a_batch_is_a_pure_function_of_its_step_and_items_do_not_depend_on_it(scans):
    pairs = stream(scans, batch_size=2)
    batch = pairs.batch(3)
    assert batch.image.shape == (2, 1, *SHAPE) and batch.target.shape == (2, *SHAPE)
    pairs.batch(0)
    singles = stream(scans)
    for place, index in enumerate((6, 7)):
        assert torch.equal(batch.image[place], singles.batch(index).image[0])
        assert torch.equal(batch.target[place], singles.batch(index).target[0])


@pytest.mark.parametrize("lesion", [1, 5])
def test_only_the_lesion_is_known_of_a_real_scan(scans, lesion):
    batches = [stream(scans, lesion=lesion).batch(step) for step in range(6)]
    assert all(batch.partial.tolist() == [True] for batch in batches)
    assert set(torch.cat([batch.target for batch in batches]).unique().tolist()) == {0, lesion}


def test_validation_shows_the_whole_scan_as_it_is(scans):
    validation = RealValidation(scans, 8, 5)
    assert len(validation) == 5
    for index, scan in enumerate(scans):
        image, lesion = scan.load()
        batch = validation.batch(index)
        assert all(
            side % 8 == 0 and side >= size
            for side, size in zip(batch.image.shape[2:], image.shape, strict=True)
        )
        assert (batch.target == 5).sum() == lesion.sum()
        sides = batch.target.shape[1:]
        first = [-((size - side) // 2) for size, side in zip(image.shape, sides, strict=True)]
        x, y, z = (slice(f, f + n) for f, n in zip(first, image.shape, strict=True))
        shown = batch.image[0, 0, x, y, z]
        assert np.corrcoef(shown.flatten(), normalize(image[None, None]).flatten())[0, 1] > 0.9
        assert torch.equal(batch.target[0, x, y, z] == 5, lesion)


def test_no_scans_is_an_error():
    with pytest.raises(DataError, match="at least one scan"):
        stream([])


def test_a_prepared_scan_that_is_gone_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match="delete it and start again"):
        RealScan("a", "a", tmp_path / "gone.safetensors").load()
