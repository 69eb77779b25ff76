"""A model with two classes, background and lesion, is shown the whole head: it cannot tell where the brain is."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.networks.unet import UNetConfig
from support.bright_network import LESION_FROM, centred_affine, make_spec, phantom


class BrightLesion(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        lesion = 6 * (images - LESION_FROM)
        return torch.cat((torch.zeros_like(lesion), lesion), dim=1)


def test_a_lesion_far_from_the_first_one_is_found_in_a_head_larger_than_the_field_of_view():
    affine = centred_affine(np.diag([2.0, 2.0, 2.0]), (48, 56, 44))
    image, large = phantom((48, 56, 44), affine, (0.0, 20.0, 0.0), radius_mm=6)
    other, small = phantom((48, 56, 44), affine, (0.0, -22.0, 0.0), radius_mm=4)
    image.data[small] = other.data[small]
    network = UNetConfig(channels=(2, 2), strides=(2,), out_channels=2)
    spec = make_spec(
        class_names=("background", "lesion"),
        network=network.model_dump(mode="json"),
        field_of_view_mm=(16.0, 16.0, 16.0),
    )

    prediction = Predictor(spec, BrightLesion(), torch.device("cpu"), PredictionOptions()).predict(image)

    assert np.array_equal(prediction.lesion_mask > 0, large | small)
    assert prediction.notes == ()
