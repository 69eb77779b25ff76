"""Dice of predicted classes, image by image, as a training run watches it."""

from __future__ import annotations

import torch
from torch import Tensor

from strokelabel.types import ClassBatch, ItemValues, MaskBatch


def mask_dice(predicted: MaskBatch, truth: MaskBatch) -> ItemValues:
    """Dice of each image of a batch; 1 where neither mask holds a voxel.

    Args:
        predicted: (batch, x, y, z) bool.
        truth: likewise.

    Returns:
        (batch,) float32 in [0, 1].
    """
    overlap = (predicted & truth).flatten(1).sum(dim=1).float()
    total = (predicted.flatten(1).sum(dim=1) + truth.flatten(1).sum(dim=1)).float()
    return torch.where(total > 0, 2 * overlap / total.clamp_min(1), torch.ones_like(total))


def foreground_dice(predicted: ClassBatch, truth: ClassBatch, classes: int) -> ItemValues:
    """Dice of each image, averaged over the classes 1 and up that its prediction or truth holds.

    Args:
        predicted: (batch, x, y, z) class indices, any integer type.
        truth: likewise.
        classes: number of classes, background included.

    Returns:
        (batch,) float32 in [0, 1]; 1 where there is background alone in both.
    """
    return torch.stack([_mean_dice(p, t, classes) for p, t in zip(predicted, truth, strict=True)])


def _mean_dice(predicted: Tensor, truth: Tensor, classes: int) -> Tensor:
    """Mean Dice of one image from its confusion matrix."""
    pairs = truth.flatten().long() * classes + predicted.flatten().long()
    confusion = torch.bincount(pairs, minlength=classes**2).view(classes, classes)
    total = (confusion.sum(dim=0) + confusion.sum(dim=1))[1:].float()
    dice = 2 * confusion.diagonal()[1:] / total.clamp_min(1)
    present = (total > 0).float()
    count = present.sum()
    return torch.where(count > 0, (dice * present).sum() / count.clamp_min(1), torch.ones_like(count))
