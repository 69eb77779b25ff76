"""Real and synthetic items in a fixed ratio, however they are cut into batches and processes."""

from __future__ import annotations

from math import ceil, floor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from strokelabel.errors import TrainingError
from strokelabel.fit.data.stream import Batch, JoinedValidation, MixedStream
from strokelabel.fit.segmentation import DiceCrossEntropy

PAPER = 419 / (419 + 2579)
SHAPE = (3, 4, 5)


class Numbered:
    """Items that hold their own index; those of a real stream are partial."""

    def __init__(self, real: bool, length: int = 0) -> None:
        self.real, self.length = real, length

    def __len__(self) -> int:
        return self.length

    def items(self, indices) -> Batch:
        image = torch.stack([torch.full((1, *SHAPE), float(index)) for index in indices])
        target = torch.zeros(len(indices), *SHAPE, dtype=torch.uint8)
        target[:, 0] = 5 if self.real else 3
        return Batch(image, target, torch.full((len(indices),), self.real))

    def batch(self, index: int) -> Batch:
        return self.items([index])


def mixed(fraction: float, batch_size: int = 1) -> MixedStream:
    return MixedStream(Numbered(False), Numbered(True), fraction, batch_size)


def content(batch: Batch) -> list[tuple[bool, int]]:
    return [(bool(p), int(image.mean())) for p, image in zip(batch.partial, batch.image, strict=True)]


@given(fraction=st.floats(0.01, 0.99), start=st.integers(0, 10**6), length=st.integers(1, 60))
def test_real_items_are_as_evenly_spread_as_the_fraction_allows(fraction, start, length):
    stream = mixed(fraction)
    real = sum(stream.is_other(index) for index in range(start, start + length))
    assert floor(length * fraction - 1e-6) <= real <= ceil(length * fraction + 1e-6)


def test_the_paper_s_ratio_is_reached():
    stream = mixed(PAPER)
    assert sum(stream.is_other(index) for index in range(2998)) == 419


@given(fraction=st.floats(0.05, 0.95), batch_size=st.integers(1, 7))
def test_batches_of_any_size_hold_the_same_items_in_the_same_order(fraction, batch_size):
    single = [item for step in range(42) for item in content(mixed(fraction).batch(step))]
    batches = [mixed(fraction, batch_size).batch(step) for step in range(42 // batch_size)]
    items = [item for batch in batches for item in content(batch)]
    assert items == single[: len(items)]


def test_real_items_come_in_their_own_order_and_synthetic_ones_at_their_place():
    items = [content(mixed(0.3).batch(step))[0] for step in range(40)]
    assert [index for real, index in items if real] == list(range(12))
    assert all(index == step for step, (real, index) in enumerate(items) if not real)


def test_a_batch_of_a_stream_is_the_same_asked_twice_or_out_of_order():
    stream = mixed(0.4, batch_size=3)
    later = content(stream.batch(9))
    stream.batch(2)
    assert content(stream.batch(9)) == later


def test_two_processes_and_accumulation_share_the_items_of_one():
    """Batch `step * parts * processes + part * processes + rank` is what each process asks for."""
    alone = [content(mixed(PAPER, 2).batch(step)) for step in range(24)]
    shared = [
        content(mixed(PAPER, 2).batch((step * 3 + part) * 2 + rank))
        for step in range(4)
        for part in range(3)
        for rank in range(2)
    ]
    assert shared == alone


def test_targets_and_partial_flags_stay_with_their_images():
    batch = mixed(0.5, batch_size=6).batch(0)
    assert batch.partial.tolist() == [False, True] * 3
    for partial, target in zip(batch.partial, batch.target, strict=True):
        assert set(target.unique().tolist()) == ({0, 5} if partial else {0, 3})


def test_a_mixed_batch_is_worth_the_mean_of_its_items():
    loss = DiceCrossEntropy()
    batch = mixed(0.5, batch_size=4).batch(3)
    logits = torch.randn(4, 6, *SHAPE, generator=torch.Generator().manual_seed(2))
    whole = loss(logits, batch.target, batch.partial)
    each = [loss(logits[i : i + 1], batch.target[i : i + 1], batch.partial[i : i + 1]) for i in range(4)]
    assert torch.allclose(whole, torch.stack(each).mean(), atol=1e-6)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.2, 1.5])
def test_fractions_that_leave_one_source_out_are_refused(fraction):
    with pytest.raises(TrainingError, match="above 0 and below 1"):
        mixed(fraction)


def test_joined_validation_is_one_part_after_another():
    joined = JoinedValidation([Numbered(False, 2), Numbered(True, 3)])
    assert len(joined) == 5
    assert [content(joined.batch(i))[0] for i in range(5)] == [
        (False, 0), (False, 1), (True, 0), (True, 1), (True, 2),
    ]  # fmt: skip
    with pytest.raises(IndexError):
        joined.batch(5)
