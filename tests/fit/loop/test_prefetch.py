"""Batches computed ahead are those of the stream itself, errors and order included."""

from __future__ import annotations

import threading

import pytest
import torch

from strokelabel.errors import DataError
from strokelabel.fit.data.stream import Batch
from strokelabel.fit.data.synthetic_streams import SyntheticStream
from strokelabel.fit.loop.prefetch import PrefetchStream
from strokelabel.fit.train import make_synthesizer
from strokelabel.synthesis.prepared.dataset import PreparedData
from support.tiny_prepared import make_recipe


class NumberStream:
    """Batches that hold the number of their step; step 3 is broken."""

    def __init__(self):
        self.asked = []
        self.reached = {step: threading.Event() for step in range(100)}

    def batch(self, step):
        self.asked.append(step)
        self.reached[step].set()
        if step == 3:
            raise DataError("step 3 is broken")
        return Batch(torch.full((1, 1, 2, 2, 2), float(step)), torch.zeros(1, 2, 2, 2), torch.zeros(1))


@pytest.fixture
def numbers():
    return NumberStream()


@pytest.fixture
def prefetch(numbers):
    stream = PrefetchStream(numbers)
    yield stream
    stream.close()


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def test_batches_are_those_of_the_plain_stream_in_any_order(prepared_folder):
    recipe = make_recipe()
    synthesizer = make_synthesizer(
        PreparedData.load(prepared_folder), recipe, "train", recipe.synthesis, "cpu"
    )
    plain = SyntheticStream(synthesizer, batch_size=1, seed=4)
    ahead = PrefetchStream(plain)

    for step in (0, 1, 2, 7, 6, 7, 0):
        ours, expected = ahead.batch(step), plain.batch(step)
        assert torch.equal(ours.image, expected.image)
        assert torch.equal(ours.target, expected.target)
        assert torch.equal(ours.partial, expected.partial)
    ahead.close()


def test_the_next_batches_are_computed_before_they_are_asked_for(numbers, prefetch):
    prefetch.batch(10)
    assert numbers.reached[11].wait(10) and numbers.reached[12].wait(10)
    assert prefetch.batch(11).image.mean() == 11
    assert numbers.reached[13].wait(10)
    assert numbers.asked == [10, 11, 12, 13]


def test_an_error_comes_with_the_step_that_it_belongs_to_and_no_other(prefetch):
    for step in (1, 2):
        assert prefetch.batch(step).image.mean() == step
    with pytest.raises(DataError, match="step 3 is broken"):
        prefetch.batch(3)
    assert prefetch.batch(4).image.mean() == 4
    with pytest.raises(DataError, match="step 3 is broken"):
        prefetch.batch(3)


def test_processes_that_share_a_stream_compute_their_own_steps_only(numbers):
    stream = PrefetchStream(numbers, stride=4)
    for step in (2, 6, 10):
        assert stream.batch(step).image.mean() == step
    assert numbers.reached[18].wait(10)
    stream.close()
    assert numbers.asked == [2, 6, 10, 14, 18]


def test_closing_ends_the_thread_and_what_was_begun_for_nothing(numbers):
    before = threads()
    stream = PrefetchStream(numbers)
    stream.batch(10)
    assert len(threads()) == len(before) + 1

    stream.close()

    assert threads() == before
    stream.close()  # twice does no harm
