"""Last features of a decoder, and the prototype of each class among them (Chen et al. 2021, section 2.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from strokelabel.errors import WeightsError


class DecoderFeatures(nn.Module):
    """A network whose output is what its last layer is given, at full resolution.

    Args:
        network: of `networks.unet.build_network`.

    Raises:
        WeightsError: a network of another kind.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._network = network
        self._last = _last_layer(network)

    def forward(self, images: Tensor) -> Tensor:
        """Return the features (batch, channels, x, y, z) of images (batch, 1, x, y, z); trilinear where coarser."""
        given: list[Tensor] = []
        hook = self._last.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
        try:
            self._network(images)
        finally:
            hook.remove()
        features = given[0].float()
        if features.shape[2:] == images.shape[2:]:
            return features
        return F.interpolate(features, size=images.shape[2:], mode="trilinear")


def _last_layer(network: nn.Module) -> nn.Module:
    """Return the layer that makes logits of the decoder's features."""
    for name, layer in network.named_modules():
        if name.split(".")[-1] == "output_block":  # DynUNet
            return layer
    levels = getattr(network, "model", None)  # MONAI's UNet: down, all that is below, up
    if isinstance(levels, nn.Sequential) and len(levels) == 3:
        return levels[2]
    raise WeightsError("expected a U-Net, whose decoder has a last layer; adapt with pl or upl")


def class_prototypes(features: Tensor, probabilities: Tensor, labels: Tensor, confident: Tensor) -> Tensor:
    """Return the mean feature of each class, weighted by its probability.

    Args:
        features: (channels, x, y, z).
        probabilities: (classes, x, y, z).
        labels: (x, y, z) most likely class.
        confident: (x, y, z) bool; only these voxels count.

    Returns:
        (classes, channels); infinite for a class without confident voxels, so that nothing is near it.
    """
    prototypes = torch.full((len(probabilities), len(features)), torch.inf)
    for index, probability in enumerate(probabilities):
        chosen = confident & (labels == index)
        if bool(chosen.any()):
            weights = probability[chosen]
            prototypes[index] = features[:, chosen] @ weights / weights.sum()
    return prototypes


def nearest_class(features: Tensor, prototypes: Tensor) -> Tensor:
    """Return the class whose prototype is nearest in the Euclidean distance.

    Args:
        features: (channels, x, y, z).
        prototypes: (classes, channels), at least one of them finite; see `class_prototypes`.

    Returns:
        (x, y, z) int64.
    """
    nearest = torch.zeros(features.shape[1:], dtype=torch.int64)
    smallest = torch.full(features.shape[1:], torch.inf)
    for index, prototype in enumerate(prototypes):
        if not bool(prototype.isfinite().all()):
            continue
        distance = (features - prototype[:, None, None, None]).square().sum(dim=0)
        nearest[distance < smallest] = index
        smallest = torch.minimum(smallest, distance)
    return nearest
