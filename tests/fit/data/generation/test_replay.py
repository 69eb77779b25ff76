"""Images used several times: which, how they are changed, and that a resume changes nothing."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from pydantic import ValidationError

from strokelabel.fit.data.generation.pool import LocalSource
from strokelabel.fit.data.generation.replay import ReplayConfig, ReplayParameters, apply_replay, sample_replay
from strokelabel.fit.data.generation.stream import ReplayStream
from strokelabel.fit.data.recipe_streams import make_streams
from strokelabel.fit.data.stream import WithoutGaps
from strokelabel.synthesis.prepared.dataset import PreparedData
from support.noise_images import SHAPE, Images, assert_equal
from support.tiny_prepared import make_recipe
from support.tiny_run import assert_same_training, tiny_config, tiny_run


def replayed(images: Images | None = None, batch_size: int = 1, **settings) -> ReplayStream:
    config = ReplayConfig(**{"reuse": 3, "pool": 5, **settings})
    return ReplayStream(LocalSource(images or Images(), config.together), config, batch_size, seed=9)


def test_every_third_item_is_a_new_image_as_it_was_made():
    stream = replayed()
    for number in range(5):
        fresh, made = stream.items([3 * number]), Images().items([number])
        assert torch.equal(fresh.image, made.image.half().float())
        assert torch.equal(fresh.target, made.target)
        assert fresh.partial == made.partial


def test_replays_are_chosen_from_the_last_images_of_the_pool_and_evenly():
    stream = replayed()
    ages = Counter()
    for position in range(30, 3000):
        draw = stream.draw(position)
        if draw.parameters is not None:
            assert position // 3 - 5 < draw.number <= position // 3
            ages[position // 3 - draw.number] += 1
    assert set(ages) == {0, 1, 2, 3, 4}
    assert max(ages.values()) < 1.2 * min(ages.values())


def test_each_image_is_made_once_and_no_more_are_kept_than_the_pool_holds():
    images = Images()
    stream = replayed(images, batch_size=4)
    for step in range(60):
        stream.batch(step)
        assert len(stream._pool) <= 5 + 1
    assert images.made == list(range(80))
    assert (stream.made, stream.delivered) == (80, 240)


def test_an_item_depends_on_its_position_alone_whatever_is_in_the_pool():
    running = replayed(batch_size=4)
    expected = [running.batch(step) for step in range(20)]
    for step in (19, 3, 11, 11, 0):
        assert_equal(replayed(batch_size=4).batch(step), expected[step])
    back = replayed(batch_size=4)
    for step in (7, 19, 2, 3):
        assert_equal(back.batch(step), expected[step])


def test_items_are_the_same_however_they_are_cut_into_batches():
    whole = replayed(batch_size=6).batch(3)
    for place in range(6):
        one = replayed().batch(18 + place)
        assert torch.equal(one.image[0], whole.image[place])
        assert torch.equal(one.target[0], whole.target[place])
        assert one.partial[0] == whole.partial[place]


def test_images_of_a_group_are_made_together_and_always_as_a_whole():
    images = Images()
    stream = replayed(images, together=4)
    expected = [replayed().batch(step) for step in range(30)]
    for step in range(30):
        assert_equal(stream.batch(step), expected[step])
    assert images.made == list(range(12))
    images.made.clear()
    replayed(images, together=4, pool=1).items([3 * 6])
    assert images.made == [4, 5, 6, 7]


def test_a_run_that_was_stopped_and_lost_its_pool_ends_bit_for_bit_as_an_undisturbed_one(tmp_path):
    config = tiny_config(batch_size=2)
    undisturbed = tiny_run(tmp_path / "one", config, stream=replayed(batch_size=2))
    seen = []
    stop = {
        "on_progress": lambda progress: seen.append(progress.step),
        "should_stop": lambda: len(seen) == 11,
    }
    assert tiny_run(tmp_path / "two", config, stream=replayed(batch_size=2), **stop).steps < 24
    resumed = tiny_run(tmp_path / "two", config, stream=replayed(batch_size=2))
    assert_same_training(resumed, undisturbed)


def test_a_mirrored_image_has_its_target_mirrored_with_it_from_left_to_right():
    made = Images().items([1])
    image, target = apply_replay(made.image[0], made.target[0], ReplayParameters(0, True, 1.0, None))
    assert torch.equal(image, made.image[0].flip(1))
    assert torch.equal(target, made.target[0].flip(0))


def test_gamma_and_field_change_intensities_alone_and_keep_them_normalised():
    made = Images().items([1])
    settings = ReplayConfig(change_probability=1, flip_probability=0)
    image, target = apply_replay(made.image[0], made.target[0], sample_replay(3, settings, 1))
    assert torch.equal(target, made.target[0])
    assert not torch.allclose(image, made.image[0], atol=0.05)
    assert abs(image.mean()) < 1e-4 and abs(image.std() - 1) < 1e-3
    order = torch.corrcoef(torch.stack((image.flatten(), made.image[0].flatten())))[0, 1]
    assert 0.7 < order < 0.999


def test_the_strength_of_the_changes_is_that_of_the_settings():
    settings = ReplayConfig(change_probability=1, gamma_log_deviation=0.2, field_log_strength=0.4)
    drawn = [sample_replay(seed, settings, 10) for seed in range(400)]
    gammas = torch.tensor([parameters.gamma for parameters in drawn]).log()
    assert abs(gammas.std() - 0.2) < 0.03
    fields = torch.cat([parameters.field_log.flatten() for parameters in drawn])
    assert 0.39 < fields.abs().max() <= 0.4
    assert abs(sum(parameters.flip for parameters in drawn) / 400 - 0.5) < 0.1


def test_a_constant_image_stays_finite():
    image, _ = apply_replay(
        torch.zeros(1, *SHAPE),
        torch.zeros(SHAPE, dtype=torch.uint8),
        sample_replay(1, ReplayConfig(change_probability=1), 1),
    )
    assert image.isfinite().all()


def test_a_reuse_of_one_delivers_the_images_as_they_are():
    stream = replayed(reuse=1, batch_size=3)
    assert_equal(stream.batch(2), Images().items([6, 7, 8]))


def test_beside_real_items_no_image_is_left_out():
    images = Images()
    stream = WithoutGaps(replayed(images), 0.25)
    for position in range(24):
        if int((position + 1) * 0.25) == int(position * 0.25):  # not a real one
            stream.items([position])
    assert images.made == list(range(6))


def test_a_recipe_replays_the_images_of_its_generator(prepared_folder, tmp_path):
    recipe = make_recipe(replay={"reuse": 2, "pool": 3})
    data = PreparedData.load(prepared_folder)
    stream = make_streams(recipe, data, "cpu", tmp_path).training
    plain = make_streams(make_recipe(), data, "cpu", tmp_path).training
    batch = stream.batch(2)
    torch.testing.assert_close(batch.image[0], plain.items([2]).image[0], rtol=1e-3, atol=1e-3)
    assert torch.equal(batch.target[0], plain.items([2]).target[0])
    assert batch.image.dtype == torch.float32 and batch.target.dtype == torch.uint8


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"replay": {"reuse": 0}}, "greater than or equal to 1"),
        ({"replay": {"twice": 2}}, "Extra inputs"),
        (
            {"replay": {}, "brains": None, "real": {"fraction": 1}},
            "replay: expected synthetic images",
        ),
        (
            {
                "replay": {},
                "target": "parcellation",
                "network": {"channels": [4, 4], "strides": [2], "out_channels": 34},
            },
            "flip_probability: expected 0 for a parcellation",
        ),
    ],
)
def test_a_replay_that_makes_no_sense_is_refused(changes, complaint):
    with pytest.raises(ValidationError, match=complaint):
        make_recipe(**changes)
