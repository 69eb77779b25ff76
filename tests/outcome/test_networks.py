"""Networks learn what is planted, say how sure they are, and go on where they were stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from strokelabel.errors import DataError
from strokelabel.outcome.networks import evaluation
from strokelabel.outcome.networks.architectures import AffineTransform
from strokelabel.outcome.networks.evaluation import cross_validate_networks, find_networks, run_count
from strokelabel.outcome.networks.pictures import Pictures, read_slices
from strokelabel.outcome.networks.specs import NETWORKS, NetworkSpec
from strokelabel.outcome.networks.training import Schedule, best_temperature, fit_network
from strokelabel.outcome.protocol import make_folds
from support.slice_data import write_slices

QUICK = Schedule(epochs=3)
SHAPES = {
    "stitched": (40, 32),
    "regions": (36, 44),
    "symbols": (36, 44),
    "cells": (9, 11, 8),
    "flair": (33, 60),
}
VIEWS = ("axial", "coronal", "sagittal")


def planted_pictures(count: int = 64, seed: int = 0) -> tuple[Pictures, np.ndarray]:
    """Return noise with a bright square (or a great fact) in the pictures of one class."""
    rng = np.random.default_rng(seed)
    positive = np.arange(count) % 3 == 0
    kinds = {}
    for kind, shape in SHAPES.items():
        pictures = rng.normal(size=(count, *shape)).astype(np.float32)
        pictures[positive, ..., 2:8, 2:8] += 4
        kinds[kind] = pictures
    facts = np.stack([positive + rng.normal(0, 0.3, count), rng.normal(size=count)], axis=1)
    return Pictures(tuple(f"sub-{i}" for i in range(count)), kinds, facts.astype(np.float32)), positive


@pytest.mark.parametrize("spec", NETWORKS, ids=[spec.slug for spec in NETWORKS])
def test_every_network_learns_a_planted_class_and_gives_probabilities(spec: NetworkSpec) -> None:
    pictures, positive = planted_pictures()
    seen = pictures.kinds[spec.picture]

    fitted = fit_network(
        spec.build, seen[:48], pictures.facts[:48], positive[:48], Schedule(epochs=40, rate=5e-3), 0
    )
    found = fitted.predict(seen[48:], pictures.facts[48:])

    assert ((found >= 0) & (found <= 1)).all()
    assert found[positive[48:]].mean() > found[~positive[48:]].mean() + 0.2


def test_the_same_seed_trains_the_same_network_and_leaves_the_generator_alone() -> None:
    pictures, positive = planted_pictures(24)
    state = torch.random.get_rng_state()

    def predicted(seed: int) -> np.ndarray:
        fitted = fit_network(
            NETWORKS[-1].build, pictures.kinds["flair"], pictures.facts, positive, QUICK, seed
        )
        return fitted.predict(pictures.kinds["flair"], pictures.facts)

    assert np.array_equal(predicted(1), predicted(1))
    assert not np.array_equal(predicted(1), predicted(2))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_facts_move_the_maps_of_an_affine_transform_and_only_their_own_patients() -> None:
    torch.manual_seed(0)
    transform = AffineTransform(channels=8, facts=2)
    maps = torch.rand(3, 8, 4, 5, 6)
    facts = torch.zeros(3, 2)
    moved = facts.clone()
    moved[1] = 3

    before, after = transform(maps, facts), transform(maps, moved)

    assert torch.equal(before[[0, 2]], after[[0, 2]])
    assert not torch.allclose(before[1], after[1])


def test_the_temperature_softens_answers_that_are_too_sure() -> None:
    truth = torch.tensor([1.0, 0.0] * 50)
    right = torch.where(torch.arange(100) % 5 == 0, -1.0, 1.0)
    sure = 8 * right * (2 * truth - 1)

    assert best_temperature(sure, truth) == pytest.approx(8 / np.log(4), rel=0.02)  # 80 % are right


def test_a_training_needs_patients_of_both_classes() -> None:
    pictures, positive = planted_pictures(20)
    seen = pictures.kinds["stitched"]

    with pytest.raises(DataError, match="of two classes, found 20 of which 0 are positive"):
        fit_network(NETWORKS[0].build, seen, pictures.facts, np.zeros(20, bool), QUICK, 0)
    with pytest.raises(DataError, match="at least 16 training patients"):
        fit_network(NETWORKS[0].build, seen[:9], pictures.facts[:9], positive[:9], QUICK, 0)


@pytest.fixture
def quick() -> tuple[NetworkSpec, NetworkSpec]:
    many, few = NETWORKS[0], NETWORKS[1]
    return replace(many, schedule=QUICK), replace(few, schedule=QUICK, most_seeds=1)


def test_an_evaluation_goes_on_where_it_was_stopped(
    quick: tuple[NetworkSpec, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures, positive = planted_pictures(48)
    folds = np.stack([make_folds(pictures.ids, 2, seed, positive) for seed in range(2)])
    steps: list[int] = []
    first = cross_validate_networks(quick, pictures, positive, folds, tmp_path, steps.append)

    monkeypatch.setattr(evaluation, "fit_network", lambda *args: pytest.fail("trained again"))
    again = cross_validate_networks(quick, pictures, positive, folds, tmp_path)

    assert steps[-1] == run_count(quick, folds) == 6
    assert steps == sorted(steps)
    assert all(np.array_equal(first[name], again[name], equal_nan=True) for name in first)
    assert np.isnan(first[quick[1].name]).all(axis=1).tolist() == [False, True]


def test_predictions_of_other_patients_or_settings_are_not_taken_up(
    quick: tuple[NetworkSpec, ...], tmp_path: Path
) -> None:
    pictures, positive = planted_pictures(48)
    folds = make_folds(pictures.ids, 2, 0, positive)[None]
    cross_validate_networks(quick[:1], pictures, positive, folds, tmp_path)

    others, _ = planted_pictures(48, seed=1)
    cross_validate_networks(quick[:1], others, positive, folds, tmp_path)
    longer = replace(quick[0], schedule=replace(QUICK, epochs=4))
    cross_validate_networks([longer], pictures, positive, folds, tmp_path)

    assert len(list(tmp_path.glob("*.npy"))) == 3


def test_a_torn_file_of_predictions_is_named(quick: tuple[NetworkSpec, ...], tmp_path: Path) -> None:
    pictures, positive = planted_pictures(48)
    folds = make_folds(pictures.ids, 2, 0, positive)[None]
    cross_validate_networks(quick[:1], pictures, positive, folds, tmp_path)
    (path,) = tmp_path.glob("*.npy")
    path.write_bytes(path.read_bytes()[:60])

    with pytest.raises(DataError, match=r"cannot be read .*delete the file"):
        cross_validate_networks(quick[:1], pictures, positive, folds, tmp_path)


def test_networks_without_their_pictures_are_left_out() -> None:
    pictures, _ = planted_pictures()
    kinds = {kind: one for kind, one in pictures.kinds.items() if kind != "flair"}

    names = [spec.name for spec in find_networks(replace(pictures, kinds=kinds), most_seeds=2)]

    assert names == [spec.name for spec in NETWORKS if spec.picture != "flair"]
    assert {spec.most_seeds for spec in find_networks(pictures, most_seeds=2)} == {2}


def test_flair_slices_lie_side_by_side_with_the_top_up(tmp_path: Path) -> None:
    for view in VIEWS:
        write_slices(tmp_path, view)

    subject = int(np.load(next(tmp_path.glob("*_axial.npz")))["subject"][1])
    found = read_slices(tmp_path, [f"sub-{subject:06d}"])

    stored = [np.load(next(tmp_path.glob(f"*_{view}.npz")))["image"][1] for view in VIEWS]
    assert found.shape == (
        1,
        max(one.shape[1] // 3 for one in stored),
        sum(one.shape[0] // 3 for one in stored),
    )
    top_left = stored[0][:3, 3 * (stored[0].shape[1] // 3) - 3 : 3 * (stored[0].shape[1] // 3)]
    blocks = stored[0][: stored[0].shape[0] // 3 * 3, : stored[0].shape[1] // 3 * 3]
    blocks = blocks.reshape(blocks.shape[0] // 3, 3, blocks.shape[1] // 3, 3).mean(axis=(1, 3))
    brightest = np.percentile(blocks[blocks > 0], 99)
    assert found[0, 0, 0] == pytest.approx(min(1, top_left.mean() / brightest), abs=1e-5)


def test_patients_without_slices_and_folders_without_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected slices \*_axial.npz, found none"):
        read_slices(tmp_path, ["sub-1"])
    write_slices(tmp_path, "axial")
    with pytest.raises(DataError, match=r"none of 2 \(sub-987654, sub-ada\)"):
        read_slices(tmp_path, ["sub-987654", "sub-ada"])
