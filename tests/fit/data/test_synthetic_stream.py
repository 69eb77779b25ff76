"""Synthetic streams: pure functions of their step, from parts of the data that do not overlap."""

from __future__ import annotations

import pytest
import torch

from strokelabel.errors import DataError, RecipeError
from strokelabel.fit.data.synthetic_streams import SyntheticStream, SyntheticValidation, stream_seed
from strokelabel.fit.train import make_synthesizer, part_brains, split_lesions, train_recipe
from strokelabel.synthesis.benchmark import validation_cases, validation_config
from strokelabel.synthesis.prepared.dataset import PreparedData
from support.tiny_prepared import make_recipe


@pytest.fixture(scope="module")
def data(prepared_folder):
    return PreparedData.load(prepared_folder)


@pytest.fixture(scope="module")
def synthesizer(data):
    recipe = make_recipe()
    return make_synthesizer(data, recipe, "train", recipe.synthesis, "cpu")


def test_a_batch_is_a_function_of_its_step_and_the_seed_alone(synthesizer):
    stream, again = (SyntheticStream(synthesizer, batch_size=2, seed=9) for _ in range(2))
    batches = [stream.batch(step) for step in range(3)]
    torch.manual_seed(123)  # nothing hangs on the global generator
    for step in (2, 0, 1):
        batch = again.batch(step)
        assert torch.equal(batch.image, batches[step].image)
        assert torch.equal(batch.target, batches[step].target)
    other = SyntheticStream(synthesizer, batch_size=2, seed=10).batch(0)
    assert not torch.equal(other.image, batches[0].image)
    assert not torch.equal(batches[0].image, batches[1].image)
    assert not torch.equal(batches[0].image[0], batches[0].image[1])


def test_batches_have_the_shapes_and_types_that_training_takes(synthesizer):
    batch = SyntheticStream(synthesizer, batch_size=2, seed=0).batch(5)
    assert batch.image.shape == (2, 1, 32, 40, 36) and batch.image.dtype == torch.float32
    assert batch.target.shape == (2, 32, 40, 36) and batch.target.dtype == torch.uint8
    assert batch.partial.tolist() == [False, False]


def test_items_are_the_same_however_they_are_divided_into_batches(synthesizer):
    pairs = SyntheticStream(synthesizer, batch_size=2, seed=3)
    parameters = [pairs.synthesizer.sample(stream_seed(3, index)) for index in range(4)]
    single = SyntheticStream(synthesizer, batch_size=1, seed=3)
    for index in range(4):
        expected = synthesizer.apply([parameters[index]])
        assert torch.equal(single.batch(index).image, expected.image)
    assert torch.equal(pairs.batch(1).image, synthesizer.apply(parameters[2:]).image)


def test_seeds_of_training_images_are_all_different_and_none_is_of_the_validation_set():
    seeds = [stream_seed(seed, index) for seed in range(3) for index in range(2000)]
    assert len(set(seeds)) == len(seeds)
    assert min(seeds) > max(case.seed for case in validation_cases(1000))
    assert stream_seed(1, 0) == 48881825063491096, "seeds are the same in every release"


def test_training_and_validation_share_neither_brains_nor_lesions(data):
    recipe = make_recipe()
    parts = {part: split_lesions(data, part) for part in ("train", "validation", "test")}

    names = [name for bank in parts.values() for name in bank.names]

    assert sorted(names) == sorted(data.lesions.names)
    assert len(parts["train"]) > len(parts["validation"]) > 0
    training, validation = (part_brains(data, recipe, part) for part in ("train", "validation"))
    assert training == ["brain-01", "brain-10"] and validation == ["brain-15", "brain-16"]


def test_synthesizers_are_made_from_their_part_of_the_data(data):
    recipe = make_recipe()
    for part in ("train", "validation"):
        synthesizer = make_synthesizer(data, recipe, part, recipe.synthesis, "cpu")
        assert synthesizer.lesions.names == split_lesions(data, part).names
        expected = [torch.from_numpy(data.brain(n).to_icbm).float() for n in part_brains(data, recipe, part)]
        assert all(torch.equal(head.to_icbm, e) for head, e in zip(synthesizer.heads, expected, strict=True))


def test_lesions_below_the_least_volume_are_left_out(data):
    limit = float(sorted(split_lesions(data, "train").volumes_ml)[5])
    bank = split_lesions(data, "train", limit)
    assert len(bank) == len(split_lesions(data, "train")) - 5
    assert min(bank.volumes_ml) >= limit
    with pytest.raises(DataError, match="'train'; prepare more"):
        split_lesions(data, "train", 1e6)


def test_a_recipe_that_validates_on_its_own_training_brains_is_refused(data, tmp_path):
    recipe = make_recipe(brains={"train": ["brain-0*", "brain-15"], "validation": ["brain-1[56]"]})
    with pytest.raises(RecipeError, match=r"brains\.validation: .*\['brain-15'\]"):
        train_recipe(recipe, data, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_the_validation_stream_gives_each_case_again_and_again(data):
    recipe = make_recipe()
    config = validation_config(recipe.synthesis.shape, recipe.synthesis.spacing_mm)
    synthesizer = make_synthesizer(data, recipe, "validation", config, "cpu")
    stream = SyntheticValidation(synthesizer, validation_cases(2))
    assert len(stream) == 12
    first, other, again = (stream.batch(index) for index in (5, 6, 5))
    assert torch.equal(first.image, again.image) and torch.equal(first.target, again.target)
    assert not torch.equal(first.image, other.image)
    assert first.image.shape == (1, 1, 32, 40, 36)
