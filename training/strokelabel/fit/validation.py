"""How good a network is on a validation stream."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from strokelabel.fit.losses import DiceCrossEntropy
from strokelabel.fit.streams import ValidationStream


@dataclass(frozen=True)
class ValidationScore:
    """Means over a validation stream.

    Attributes:
        loss: mean loss of the batches.
        dice_mean: mean lesion Dice of the images, in [0, 1].
        dice_median: median lesion Dice of the images.
    """

    loss: float
    dice_mean: float
    dice_median: float


@torch.no_grad()
def validate(
    network: nn.Module, stream: ValidationStream, loss: DiceCrossEntropy, fabric: Fabric
) -> ValidationScore:
    """Run a network over a validation stream, the batches shared out among the processes.

    Args:
        network: on Fabric's device; left in training mode.
        stream: at least one batch; every batch has the same number of images.
        loss: the training loss, which also names the lesion class.
        fabric: device and processes.
    """
    network.eval()
    batches = len(stream)
    losses = torch.zeros(batches, device=fabric.device)
    dice: Tensor | None = None
    for index in range(fabric.global_rank, batches, fabric.world_size):
        batch = stream.batch(index).to(fabric.device)
        with fabric.autocast():
            logits = network(batch.image)
        scores = lesion_dice(logits.argmax(dim=1) == loss.lesion, batch.target == loss.lesion)
        dice = torch.zeros(batches, len(scores), device=fabric.device) if dice is None else dice
        losses[index] = loss(logits, batch.target, batch.partial)
        dice[index] = scores
    network.train()
    if fabric.world_size > 1:
        losses, dice = fabric.all_reduce((losses, dice), reduce_op="sum")
    assert dice is not None
    return ValidationScore(losses.mean().item(), dice.mean().item(), dice.quantile(0.5).item())


def lesion_dice(predicted: Tensor, truth: Tensor) -> Tensor:
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
