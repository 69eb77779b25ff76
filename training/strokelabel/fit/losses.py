"""Segmentation losses.

The loss is soft Dice plus cross-entropy, weighted equally (Chalcroft et al. 2025, section 3.3). Where only
the lesion is annotated, the other classes are summed into "not lesion" before the two are compared, so that
the lesion still competes with every tissue and nothing is asked of the tissues themselves.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from strokelabel.labels import TissueClass
from strokelabel.types import ClassBatch, LogitsBatch

_SMOOTHING = 1e-5
"""Keeps the Dice of a class finite when neither target nor prediction holds any of it."""


class DiceCrossEntropy(nn.Module):
    """Soft Dice over the whole batch, background left out, plus cross-entropy over all classes.

    Args:
        classes: number of output channels.
        lesion: index of the lesion class; all other classes together are "not lesion".
        lesion_weight: weight of the lesion class relative to the others, in both parts.
    """

    def __init__(
        self, classes: int = len(TissueClass), lesion: int = TissueClass.LESION, lesion_weight: float = 1.0
    ) -> None:
        super().__init__()
        self.lesion = int(lesion)
        weights = torch.ones(classes)
        weights[self.lesion] = lesion_weight
        self.weights: Tensor
        self.register_buffer("weights", weights)

    def forward(self, logits: LogitsBatch, target: ClassBatch, partial: Tensor) -> Tensor:
        """Mean loss of the items of a batch.

        Args:
            logits: (batch, classes, x, y, z), any floating type; computed in float32.
            target: (batch, x, y, z) class indices, any integer type.
            partial: (batch,) bool, true where the target tells lesion from the rest and nothing else.

        Returns:
            Scalar float32.
        """
        with torch.autocast(logits.device.type, enabled=False):
            log_probability = logits.float().log_softmax(dim=1)
            known = partial.tolist()
            if not any(known):
                return self._full(log_probability, target)
            if all(known):
                return self._partial(log_probability, target)
            some = partial.to(logits.device)
            full = self._full(log_probability[~some], target[~some])
            return (
                full * known.count(False)
                + self._partial(log_probability[some], target[some]) * known.count(True)
            ) / len(known)

    def _full(self, log_probability: Tensor, target: Tensor) -> Tensor:
        """Loss of items whose every voxel is labelled."""
        return _dice_cross_entropy(log_probability, target, self.weights)

    def _partial(self, log_probability: Tensor, target: Tensor) -> Tensor:
        """Loss of items with a lesion annotation only: tissues marginalised into one class."""
        pair = marginal_log_probability(log_probability, self.lesion)
        weights = torch.stack((torch.ones_like(self.weights[0]), self.weights[self.lesion]))
        return _dice_cross_entropy(pair, target == self.lesion, weights)


def marginal_log_probability(log_probability: Tensor, lesion: int = TissueClass.LESION) -> Tensor:
    """Sum all classes but the lesion: log p(not lesion) = logsumexp of log p(class).

    Args:
        log_probability: (batch, classes, x, y, z), normalised over the classes.
        lesion: index of the lesion class.

    Returns:
        (batch, 2, x, y, z): log p(not lesion), log p(lesion).
    """
    others = [index for index in range(log_probability.shape[1]) if index != lesion]
    rest = log_probability[:, others].logsumexp(dim=1)
    return torch.stack((rest, log_probability[:, lesion]), dim=1)


def _dice_cross_entropy(log_probability: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Dice (classes 1 and up, weighted mean) plus weighted cross-entropy."""
    cross_entropy = nn.functional.nll_loss(log_probability, target.long(), weights)
    return cross_entropy + _soft_dice_loss(log_probability.exp(), target, weights)


def _soft_dice_loss(probability: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """One minus soft Dice per class, sums taken over the batch, weighted mean over classes 1 and up."""
    losses = []
    for index in range(1, probability.shape[1]):
        truth = target == index
        predicted = probability[:, index]
        overlap = (predicted * truth).sum()
        total = predicted.sum() + truth.sum()
        losses.append(1 - (2 * overlap + _SMOOTHING) / (total + _SMOOTHING))
    return (torch.stack(losses) * weights[1:]).sum() / weights[1:].sum()
