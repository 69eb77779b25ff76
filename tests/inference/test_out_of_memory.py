"""A scan that does not fit on a GPU is predicted in windows, or on the CPU, and the prediction says so."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from strokelabel.inference.segment.predictor import Predictor
from support.bright_network import BrightNetwork, centred_affine, make_spec, phantom

LESION_MM = (9.0, -12.0, 5.0)


class GreedyNetwork(BrightNetwork):
    """Needs more memory than there is for more than a number of voxels, or until it is moved to the CPU."""

    def __init__(self, most_voxels: int) -> None:
        super().__init__()
        self.most_voxels = most_voxels
        self.moves: list[str] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if "cpu" not in self.moves and images[0, 0].numel() > self.most_voxels:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return super().forward(images)

    def to(self, device: torch.device) -> nn.Module:  # type: ignore[override]
        self.moves.append(str(device))
        return self


@pytest.mark.parametrize(("most_voxels", "words"), [(90_000, "smaller windows"), (100, "on the CPU")])
def test_a_scan_that_does_not_fit_on_a_gpu_is_predicted_all_the_same_with_a_note(
    most_voxels: int, words: str
) -> None:
    shape = (60, 72, 56)
    image, _ = phantom(shape, centred_affine(np.diag([1.1, 1.1, 1.1]), shape), LESION_MM)
    spec = make_spec(spacing_mm=1.1)
    network = GreedyNetwork(most_voxels)
    gpu = torch.device("cpu:0")  # stands for a GPU: another name than that of the CPU, and tensors go there
    found = Predictor(spec, network, gpu).predict(image)
    expected = Predictor(spec, BrightNetwork(), torch.device("cpu")).predict(image)
    np.testing.assert_array_equal(found.lesion_mask, expected.lesion_mask)
    assert any(words in note for note in found.notes)
    if words == "on the CPU":
        assert network.moves == ["cpu", "cpu:0"]  # and back again, for the next scan
