"""Pairs of views: one subject, contrasts as the arm says, and a stream that replays."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from strokelabel.errors import DataError, RecipeError
from strokelabel.fit.data.real_images.scans import RealImages
from strokelabel.fit.pretraining.config import PretrainingConfig
from strokelabel.fit.pretraining.real_scans import RealPairs
from strokelabel.fit.pretraining.streams import PairStream, PairValidation
from strokelabel.fit.pretraining.views import ContrastPairs
from strokelabel.labels import default_label_table
from strokelabel.physics.mprage import Mprage
from strokelabel.synthesis.config import SynthesisConfig
from strokelabel.synthesis.generator import Synthesizer
from support.head_phantom import ball_bank, phantom_head

SHAPE = (16, 24, 20)


def make_pairs(model: str = "physics", **changes: Any) -> ContrastPairs:
    config = SynthesisConfig.model_validate(
        {"shape": SHAPE, "spacing_mm": 9.0, "contrast": {"model": model}, "skull_strip": {"probability": 0}}
    )
    synthesizer = Synthesizer([phantom_head()], ball_bank([(-35, 5, 25)]), default_label_table(), config)
    return ContrastPairs(synthesizer, PretrainingConfig.model_validate(changes))


@pytest.mark.parametrize("arm", ["base", "seq-augmented", "seq-invariant"])
def test_two_views_show_one_subject_moved_and_disturbed_by_themselves(arm: str) -> None:
    pairs = make_pairs(arm=arm)
    for seed in range(4):
        first, second = pairs.sample(seed)
        assert torch.equal(first.contrast.means, second.contrast.means)
        assert first.lesions is second.lesions and first.head == second.head
        assert first.subject is second.subject and first.subject is not None
        drawn = pairs.synthesizer.sample(seed).deformation
        assert first.subject.rotation_degrees == drawn.rotation_degrees
        assert torch.equal(first.subject.velocity_mm, drawn.velocity_mm)
        assert first.deformation.rotation_degrees != second.deformation.rotation_degrees
        assert first.artefacts.noise_seed != second.artefacts.noise_seed
        assert first.contrast.texture_seed != second.contrast.texture_seed


def test_the_arms_differ_in_the_contrasts_of_the_views() -> None:
    found = {}
    for arm in ("base", "seq-augmented", "seq-invariant"):
        views = [make_pairs(arm=arm).sample(seed) for seed in range(4)]
        found[arm] = [[view.contrast.scan.acquisition for view in pair] for pair in views]  # type: ignore[union-attr]
    assert all(one == Mprage() for pair in found["base"] for one in pair)
    assert all(first == second for first, second in found["seq-augmented"])
    assert len({str(first) for first, _ in found["seq-augmented"]}) == 4
    assert all(first != second for first, second in found["seq-invariant"])
    assert [pair[0] for pair in found["seq-invariant"]] == [pair[0] for pair in found["seq-augmented"]]


def test_the_target_is_the_view_itself_before_holes_and_artefacts() -> None:
    pairs = make_pairs(holes=(2, 2), hole_mm=(40, 60), mirror_probability=0)
    pair = pairs.generate(3)
    shown = pairs.shown(pair, 5)
    hidden = (shown.image == 0) & (pair.image != 0)
    assert pair.image.shape == pair.target.shape == (2, 1, *SHAPE)
    assert torch.equal(shown.target, pair.target)
    assert torch.equal(shown.image[~hidden], pair.image[~hidden])
    assert all(4**3 <= int(view.sum()) <= 2 * 7**3 for view in hidden)
    assert float(torch.corrcoef(torch.stack([pair.image.flatten(), pair.target.flatten()]))[0, 1]) > 0.8


def test_both_views_of_a_subject_are_mirrored_together() -> None:
    pairs = make_pairs(holes=(0, 0), mirror_probability=1)
    pair = pairs.generate(3)
    shown = pairs.shown(pair, 5)
    assert torch.equal(shown.image, pair.image.flip(2)) and torch.equal(shown.target, pair.target.flip(2))


def test_a_batch_is_a_function_of_its_step_first_views_first() -> None:
    pairs = make_pairs(holes=(0, 0), mirror_probability=0)
    stream, again = (PairStream(pairs, 3, seed=7) for _ in range(2))
    batch = stream.batch(2)
    torch.testing.assert_close(again.batch(2).image, batch.image, rtol=0, atol=0)
    single = PairStream(pairs, 1, seed=7).batch(7)  # the second subject of that batch
    torch.testing.assert_close(batch.image[[1, 4]], single.image, rtol=0, atol=0)
    assert not torch.equal(batch.image, stream.batch(3).image)


def test_pairs_of_a_pool_are_used_equally_often_in_other_orders_before_new_ones() -> None:
    stream = PairStream(make_pairs(reuse=3, pool=5), 2, seed=1)
    subjects = [stream.subject(item) for item in range(30)]
    assert Counter(subjects) == dict.fromkeys(range(10), 3)
    turns = [subjects[start : start + 5] for start in range(0, 30, 5)]
    assert all(sorted(turn) == list(range(5)) for turn in turns[:3])
    assert turns[0] != turns[1]


def test_without_reuse_every_item_is_another_subject_in_order() -> None:
    stream = PairStream(make_pairs(), 2, seed=1)
    assert [stream.subject(item) for item in range(6)] == list(range(6))


def test_validation_is_the_same_every_time_and_ends() -> None:
    validation = PairValidation(make_pairs(reuse=2), 2, count=2)
    assert len(validation) == 2
    assert torch.equal(validation.batch(1).image, validation.batch(1).image)
    assert not torch.equal(validation.batch(0).image, validation.batch(1).image)


def real_pairs(prepared_folder: Path, **artefacts: Any) -> RealPairs:
    synthesis = SynthesisConfig.model_validate({"shape": SHAPE, "spacing_mm": 9.0, "artefacts": artefacts})
    return RealPairs(RealImages.load(prepared_folder).scans, synthesis, PretrainingConfig())


def test_views_of_a_real_scan_differ_in_pose_and_artefacts_and_have_no_signal_in_air(
    prepared_folder: Path,
) -> None:
    pairs = real_pairs(prepared_folder)
    pair, again = pairs.generate(3), pairs.generate(3)
    assert torch.equal(pair.image, again.image) and torch.equal(pair.target, again.target)
    assert pair.image.shape == (2, 1, *SHAPE)
    assert not torch.allclose(pair.target[0], pair.target[1], atol=0.1)
    corners = pair.image[:, 0, ::15, ::23, ::19]  # noise is never twice the same
    assert all(len(view.unique()) == 1 for view in corners)


def test_without_artefacts_a_real_view_is_its_own_target(prepared_folder: Path) -> None:
    none = {
        "bias_strength": (0, 0),
        "gamma_log_deviation": 0,
        "motion_fwhm_mm": (0, 0),
        "noise_deviation": (0, 0),
    }
    pair = real_pairs(prepared_folder, full_resolution_probability=1, **none).generate(5)
    torch.testing.assert_close(pair.image, pair.target, rtol=0, atol=1e-3)


def test_real_scans_are_spread_evenly_among_the_subjects(prepared_folder: Path) -> None:
    stream = PairStream(make_pairs(real_fraction=0.25), 2, seed=1, real=real_pairs(prepared_folder))
    assert [stream.is_real(subject) for subject in range(8)] == [False, False, False, True] * 2
    assert stream.batch(1).image.shape == (4, 1, *SHAPE)
    with pytest.raises(DataError, match="expected prepared scans"):
        RealPairs([], SynthesisConfig(), PretrainingConfig())


def test_drawn_intensities_have_no_other_contrast_and_are_refused() -> None:
    with pytest.raises(RecipeError, match="expected physics"):
        make_pairs("mixture")
