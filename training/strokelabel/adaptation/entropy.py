"""Entropy of the output as what an adaptation lowers (TENT, Wang et al. 2021; equation 2 of Chalcroft et al. 2025)."""

from __future__ import annotations

import torch
from torch import Tensor

from strokelabel.adaptation.objective import Corner, window

_LEAST = 1e-12
"""The gradient of the entropy at a probability of zero is infinite; below this, it is taken as zero."""


def mean_entropy(probabilities: Tensor, head: Tensor) -> Tensor:
    """Return the Shannon entropy over the classes in nats, averaged over the voxels of a head.

    Args:
        probabilities: (classes, x, y, z).
        head: (x, y, z) bool; air is certain anyway, and would hide the rest.

    Returns:
        Scalar; zero where there is no head.
    """
    entropy = torch.special.entr(probabilities.clamp_min(_LEAST)).sum(dim=0)
    return (entropy * head).sum() / head.sum().clamp_min(1)


class EntropyObjective:
    """Mean entropy in the head.

    Args:
        head: (x, y, z) bool, in the shown box, on the device of the network.
    """

    name = "entropy"
    alignment = 1
    needs_output = False

    def __init__(self, head: Tensor) -> None:
        self._head = head

    def renew(self, probabilities: Tensor) -> None:
        """Do nothing: entropy has no target."""

    def loss(self, probabilities: Tensor, corner: Corner) -> Tensor:
        """Return the mean entropy in a window."""
        part = window(corner, probabilities.shape[2:])
        return mean_entropy(probabilities[0], self._head[part])

    def value(self, probabilities: Tensor) -> float:
        """Return the mean entropy of the whole head."""
        return float(mean_entropy(probabilities, self._head.to(probabilities.device)))
