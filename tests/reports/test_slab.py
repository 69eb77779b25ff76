"""Slices as slabs: straight through the network, whatever way the file stores them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.io import Image
from strokelabel.metrics import dice
from strokelabel.reports.evaluation.slabs import slab_axis, slab_scores
from support.bright_network import centred_affine, make_spec, phantom, rotation

SHAPE = (54, 66, 40)
LESION_MM, RADIUS_MM = (6.0, -9.0, 3.0), 9.0


class BrightestNetwork(nn.Module):
    """Calls the upper third of the intensities lesion, and keeps what it is shown."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen = images.clone()
        part = (images[:, 0] - images.min()) / (images.max() - images.min())
        logits = torch.zeros(1, 6, *images.shape[2:])
        logits[:, 5] = 20 * (part - 0.66)
        return logits


def slab(affine: np.ndarray, axis: int) -> tuple[Image, np.ndarray]:
    """The slice of a phantom through its lesion, repeated along an axis; and the lesion in it."""
    image, ball = phantom(SHAPE, affine, LESION_MM, RADIUS_MM)
    level = int(np.moveaxis(ball, axis, 0).sum(axis=(1, 2)).argmax())
    data, lesion = (np.repeat(np.take(v, [level], axis), v.shape[axis], axis) for v in (image.data, ball))
    return Image(data, affine, source="slab"), lesion


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_slab_is_known_by_slices_that_are_all_the_same(axis: int) -> None:
    image, _ = slab(centred_affine(np.diag([1.2, 1.2, 1.5]), SHAPE), axis)
    assert slab_axis(image.data) == axis
    data = image.data.copy()
    data[20, 30, 20] += 1
    assert slab_axis(data) is None


def test_scans_are_no_slabs_even_with_air_at_both_ends() -> None:
    image, _ = phantom(SHAPE, centred_affine(np.diag([1.2, 1.2, 1.5]), SHAPE), LESION_MM)
    assert slab_axis(image.data) is None


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1)])
def test_the_network_is_shown_the_slice_in_every_layer_and_air_beside_it_alone(
    axis: int, signs: tuple[int, int, int]
) -> None:
    matrix = rotation((5, 0, -10)) @ np.diag(np.array([1.2, 1.2, 1.5]) * signs)
    image, lesion = slab(centred_affine(matrix, SHAPE), axis)
    network = BrightestNetwork()
    predictor = Predictor(make_spec(), network, torch.device("cpu"))

    scores = slab_scores(predictor, image, axis, PredictionOptions())

    seen = network.seen[0, 0]
    assert torch.equal(seen, seen.narrow(axis, 0, 1).expand_as(seen))
    assert seen.shape == (40, 40, 32), (
        "the slab and its field of view of 64, 80 and 64 mm, in multiples of 8 voxels"
    )
    assert scores.lesion_probability.shape == SHAPE
    assert scores.brain is None, "nothing is dropped for lying outside the brain"
    assert np.ptp(scores.lesion_probability, axis=axis).max() < 1e-5
    assert dice(lesion, scores.lesion_is_likeliest) > 0.9


def test_ends_of_a_slab_do_not_count() -> None:
    """A network whose answer fades at the ends is asked for the middle."""

    class Fading(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits = BrightestNetwork()(images)
            logits[:, 5, ..., :2] = logits[:, 5, ..., -2:] = -50
            return logits

    image, lesion = slab(centred_affine(np.diag([2.0, 2.0, 2.0]), SHAPE), 2)
    predictor = Predictor(make_spec(), Fading(), torch.device("cpu"))
    scores = slab_scores(predictor, image, 2, PredictionOptions())
    assert dice(lesion, scores.lesion_is_likeliest) == 1
