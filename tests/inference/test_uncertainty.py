"""Where several passes over one scan disagree, the model is unsure, on the scan's own grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from strokelabel.errors import OptionError
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.inference.segment.uncertainty import Uncertainty, estimate_uncertainty, scan_uncertainty
from strokelabel.inference.several_passes import View, describe_views, views_of
from strokelabel.io import Image
from support.bright_network import BrightNetwork, centred_affine, make_spec, phantom, rotation

LESION_MM = (9.0, -12.0, 5.0)
CPU = torch.device("cpu")
LEFT_RIGHT = {"synthesis": {"deformation": {"flip_probability": [0.5, 0, 0]}}}


class OneSidedNetwork(nn.Module):
    """Gray matter everywhere, and lesion with known odds in one half of whatever it is shown."""

    odds = 3.0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = torch.full((1, 6, *images.shape[2:]), -60.0)
        logits[:, 1] = 0
        logits[:, 5, : images.shape[2] // 2] = float(np.log(self.odds))
        return logits


class DroppingNetwork(nn.Module):
    """The bright network with features that are dropped in training."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout3d(0.5)
        self.bright = BrightNetwork()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.bright(images))


def oblique_scan() -> tuple[Image, np.ndarray]:
    shape = (31, 44, 17)
    axes = np.array([[0, 0, -1], [-1, 0, 0], [0, 1, 0]])
    return phantom(
        shape, centred_affine(rotation((11, 0, 4)) @ axes @ np.diag([1.9, 1.6, 3.4]), shape), LESION_MM
    )


def maps(found: Uncertainty) -> list[np.ndarray]:
    return [found.predictive_entropy, found.mutual_information, found.lesion_variance]


def entropy(probability: float) -> float:
    return float(-probability * np.log(probability) - (1 - probability) * np.log(1 - probability))


def test_the_maps_lie_on_the_scans_own_grid_and_are_finite() -> None:
    image, _ = oblique_scan()
    found = estimate_uncertainty(Predictor(make_spec(), BrightNetwork(), CPU), image)
    for one in maps(found):
        assert one.shape == image.data.shape and one.dtype == np.float32
        assert np.isfinite(one).all() and one.min() >= 0


def test_the_prediction_is_that_of_all_flips_and_its_probabilities_sum_to_one() -> None:
    image, _ = oblique_scan()
    predictor = Predictor(make_spec(), OneSidedNetwork(), CPU)
    found = estimate_uncertainty(predictor, image)
    expected = predictor.predict(image, PredictionOptions(tta=True))
    np.testing.assert_allclose(found.prediction.lesion_probability, expected.lesion_probability, atol=1e-6)
    assert found.prediction.probabilities is not None
    np.testing.assert_allclose(found.prediction.probabilities.sum(axis=0), 1, atol=1e-5)
    assert found.passes == 8 and found.method == "flips"


def test_passes_that_agree_are_no_epistemic_uncertainty() -> None:
    image, _ = oblique_scan()
    found = estimate_uncertainty(Predictor(make_spec(), BrightNetwork(), CPU), image)
    assert found.mutual_information.max() < 1e-5 and found.lesion_variance.max() < 1e-8
    assert found.predictive_entropy.max() > 0.1  # the edge of the brain is undecided in every pass


def test_the_maps_have_the_values_that_the_definitions_give() -> None:
    image, _ = oblique_scan()
    found = estimate_uncertainty(Predictor(make_spec(), OneSidedNetwork(), CPU), image)
    high = OneSidedNetwork.odds / (1 + OneSidedNetwork.odds)  # in half of the flips; never in the others
    middle = tuple(n // 2 for n in image.data.shape)
    assert found.predictive_entropy[middle] == pytest.approx(entropy(high / 2), abs=1e-4)
    assert found.mutual_information[middle] == pytest.approx(entropy(high / 2) - entropy(high) / 2, abs=1e-4)
    assert found.lesion_variance[middle] == pytest.approx((high / 2) ** 2, abs=1e-4)


def test_a_model_flipped_along_one_axis_is_also_shown_shifts_and_gammas() -> None:
    spec = make_spec(recipe=LEFT_RIGHT)
    views = views_of(spec, multiple=8)
    assert views[:2] == [View(), View(flips=(0,))] and len(views) == 6
    assert describe_views(views) == "flips, shifts, gamma"
    assert {view.flips for view in views} == {(), (0,)}  # never along an axis that it was not trained with
    image, truth = oblique_scan()
    found = estimate_uncertainty(Predictor(spec, BrightNetwork(), CPU), image)
    assert found.passes == 6 and found.mutual_information.max() > 1e-3
    assert (found.prediction.lesion_mask[truth]).mean() > 0.8


@pytest.mark.parametrize("view", [View((0, 2)), View((1,), (2, -3, 1)), View((), (0, 5, 0), gamma=1.3)])
def test_a_view_undone_is_where_the_scan_is(view: View) -> None:
    volume = np.zeros((24, 18, 21), np.float32)
    volume[9, 10, 11] = 5
    volume[7, 8, 6] = 2
    back = view.undo(view.apply(volume)[np.newaxis])[0]
    np.testing.assert_array_equal(np.argwhere(back), np.argwhere(volume))
    assert float(back.max()) == pytest.approx(5)


def test_dropout_is_refused_where_the_network_has_none() -> None:
    image, _ = oblique_scan()
    with pytest.raises(OptionError, match="trained with dropout"):
        estimate_uncertainty(Predictor(make_spec(), BrightNetwork(), CPU), image, method="dropout")


def test_dropout_gives_the_same_maps_again_and_leaves_the_network_and_the_seed_as_they_were() -> None:
    image, _ = oblique_scan()
    network = DroppingNetwork().eval()
    predictor = Predictor(make_spec(), network, CPU)
    state = torch.get_rng_state()
    first, second = (estimate_uncertainty(predictor, image, method="dropout") for _ in range(2))
    for one, other in zip(maps(first), maps(second), strict=True):
        np.testing.assert_array_equal(one, other)
    assert first.mutual_information.max() > 0.01 and first.method == "dropout"
    assert not any(module.training for module in network.modules())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_scan_without_lesion_has_a_low_number_and_one_that_is_disputed_a_high_one() -> None:
    image, _ = oblique_scan()
    sound, _ = phantom(image.data.shape, image.affine, (500.0, 0, 0))
    calm = scan_uncertainty(estimate_uncertainty(Predictor(make_spec(), BrightNetwork(), CPU), sound))
    disputed = scan_uncertainty(estimate_uncertainty(Predictor(make_spec(), OneSidedNetwork(), CPU), image))
    assert calm.possible_ml < 1 and 0 <= calm.lesion < 1e-4
    assert disputed.possible_ml > 10 and disputed.lesion > 0.1 and disputed.brain > 0.1
