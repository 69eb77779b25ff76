"""Objective of a segmentation network, with its losses."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Self

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from strokelabel.errors import TrainingError
from strokelabel.fit.config import TrainingConfig
from strokelabel.fit.data.stream import Batch
from strokelabel.labels import TissueClass
from strokelabel.types import ClassBatch, ItemValues, LogitsBatch, MaskBatch

_SMOOTHING = 1e-5
"""Keeps the Dice of a class finite when neither target nor prediction holds any of it."""

_WARMUP_LOGIT = 5.0
"""Logits that a warm-up pulls to, either sign."""


class DiceCrossEntropy(nn.Module):
    """Soft Dice, background left out, plus cross-entropy over all classes; both image by image.

    The loss of a batch is the mean of its items' losses. The published code sums the Dice over the whole batch, which
    is the same at the paper's batch of one, and otherwise makes the loss depend on how the items of an optimiser step
    are cut into batches and processes.

    Args:
        classes: number of output channels.
        lesion: index of the lesion class; all other classes together are "not lesion". None if there is none.
        lesion_weight: weight of the lesion class relative to the others, in both parts.
    """

    def __init__(
        self,
        classes: int = len(TissueClass),
        lesion: int | None = TissueClass.LESION,
        lesion_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.lesion = None if lesion is None else int(lesion)
        weights = torch.ones(classes)
        if self.lesion is not None:
            weights[self.lesion] = lesion_weight
        self.weights: Tensor
        self.register_buffer("weights", weights)

    def forward(self, logits: LogitsBatch, target: ClassBatch, partial: Tensor) -> Tensor:
        """Return the mean of `per_item`, a scalar."""
        return self.per_item(logits, target, partial).mean()

    def per_item(self, logits: LogitsBatch, target: ClassBatch, partial: Tensor) -> Tensor:
        """Return the loss of each item of a batch.

        Args:
            logits: (batch, classes, x, y, z), any floating type; computed in float32.
            target: (batch, x, y, z) class indices, any integer type.
            partial: (batch,) bool on the CPU, true where the target tells lesion from the rest and nothing else.

        Returns:
            (batch,) float32.

        Raises:
            TrainingError: an item tells the lesion only, and there is no lesion class.
        """
        with torch.autocast(logits.device.type, enabled=False):
            losses = [
                self._partial(logits[rows], target[rows])
                if lesion_only
                else dice_cross_entropy(logits[rows], target[rows], self.weights)
                for lesion_only, rows in _runs(partial.tolist())
            ]
            return torch.cat(losses)

    def _partial(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of items with a lesion annotation only: tissues marginalised into one class."""
        if self.lesion is None:
            raise TrainingError(
                "Expected every voxel's class, got items with a lesion annotation only; train a network that has a "
                "lesion class, or leave these items out"
            )
        weights = torch.stack((torch.ones_like(self.weights[0]), self.weights[self.lesion]))
        return dice_cross_entropy(marginal_logits(logits, self.lesion), target == self.lesion, weights)


def _runs(values: list[bool]) -> Iterator[tuple[bool, slice]]:
    """Yield the stretches of equal values; a stretch of a batch is a view of it, which costs no copy and no index on a
    GPU.
    """
    start = 0
    for value, stretch in groupby(values):
        stop = start + len(list(stretch))
        yield value, slice(start, stop)
        start = stop


def marginal_logits(logits: LogitsBatch, lesion: int = TissueClass.LESION) -> LogitsBatch:
    """Sum all classes but the lesion: the softmax of the two results is p(not lesion), p(lesion).

    Args:
        logits: (batch, classes, x, y, z).
        lesion: index of the lesion class.

    Returns:
        (batch, 2, x, y, z) float32: logsumexp of the other classes' logits, and the lesion's logit.
    """
    others = torch.cat(
        (logits[:, :lesion], logits[:, lesion + 1 :]), dim=1
    )  # a list of indices would stall a GPU
    rest = others.float().logsumexp(dim=1)
    return torch.stack((rest, logits[:, lesion].float()), dim=1)


def logit_distance(logits: LogitsBatch, target: ClassBatch) -> ItemValues:
    """Return the squared distance of the logits of foreground voxels from +5 for the true class and -5 for every other.

    It starts a training gently: the error is (1 - background) * (logit - target)², averaged over voxels and classes
    (Billot et al. 2023, section 3.4; SynthStroke likewise). Where only the lesion is known, its voxels count.

    Args:
        logits: (batch, classes, x, y, z), any floating type; computed in float32.
        target: (batch, x, y, z) class indices, any integer type.

    Returns:
        (batch,) float32.
    """
    with torch.autocast(logits.device.type, enabled=False):
        wanted = torch.full_like(logits, -_WARMUP_LOGIT, dtype=torch.float32)
        wanted.scatter_(1, target.unsqueeze(1).long(), _WARMUP_LOGIT)
        error = (logits.float() - wanted).square().mean(dim=1)
        return (error * (target != 0)).flatten(1).mean(dim=1)


def dice_cross_entropy(logits: LogitsBatch, target: ClassBatch, weights: Tensor) -> ItemValues:
    """Return the weighted soft Dice loss plus weighted cross-entropy of each item.

    Dice sums run over voxels; the Dice loss is the weighted mean over classes 1 and up. The cross-entropy is the
    mean over voxels, each weighted as its true class.

    Args:
        logits: (batch, classes, x, y, z), any floating type.
        target: (batch, x, y, z) class indices, bool or integer.
        weights: (classes,) float32.

    Returns:
        (batch,) float32; differentiable once with respect to the logits.
    """
    return _DiceCrossEntropy.apply(logits.float(), target, weights)


class _DiceCrossEntropy(torch.autograd.Function):
    """Both losses with their joint gradient in closed form.

    Faster, and far smaller in memory, than the same written with differentiable operations: the
    probabilities are the only volume-sized tensor kept for the backward pass.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        """Compute the values and keep what the gradient needs."""
        log_probability = logits.flatten(2).contiguous().log_softmax(dim=1)
        index = target.flatten(1).unsqueeze(1).long()
        voxel_weight = weights[index]
        total_weight = voxel_weight.sum(dim=2, keepdim=True)
        cross_entropy = -(voxel_weight * log_probability.gather(1, index)).sum(dim=2) / total_weight[..., 0]

        probability = log_probability.exp_()
        overlap, true_size = _class_sums(probability, index.squeeze(1))
        size = probability.sum(dim=2) + true_size + _SMOOTHING
        dice = (2 * overlap + _SMOOTHING) / size
        share = weights.clone()
        share[
            0
        ].zero_()  # and not `= 0`, which copies from the host and so cannot be recorded in a CUDA graph
        share /= share.sum()

        voxel_weight /= total_weight
        ctx.save_for_backward(probability, index, voxel_weight, dice / size * share, -2 / size * share)  # type: ignore[attr-defined]
        ctx.shape = logits.shape  # type: ignore[attr-defined]
        return cross_entropy.squeeze(1) + (share * (1 - dice)).sum(dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient with respect to the first argument of `forward`."""
        # d(Dice loss)/dp of class c is everywhere[c], plus inside[c] in the voxels of that class. The softmax
        # turns a gradient g into p * (g - sum of p * g); the cross-entropy adds weight * (p - truth).
        probability, index, voxel_weight, everywhere, inside = ctx.saved_tensors  # type: ignore[attr-defined]
        true_gradient = inside.gather(1, index.squeeze(1)).unsqueeze(1) * probability.gather(1, index)
        mean_gradient = torch.einsum("bc,bcn->bn", everywhere, probability).unsqueeze(1) + true_gradient
        result = everywhere.unsqueeze(2) + (voxel_weight - mean_gradient)
        result *= probability
        result.scatter_add_(1, index, true_gradient - voxel_weight)
        result *= grad.view(-1, 1, 1)
        return result.view(ctx.shape), None, None  # type: ignore[attr-defined]


def _class_sums(probability: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Return each class's probability summed over its own voxels, and the number of these.

    Args:
        probability: (batch, classes, voxels).
        index: (batch, voxels) true classes.

    Returns:
        Two tensors (batch, classes).
    """
    overlap, size = [], []
    for label in range(probability.shape[1]):
        truth = index == label
        overlap.append((probability[:, label] * truth).sum(dim=1))
        size.append(truth.sum(dim=1))
    return torch.stack(overlap, dim=1), torch.stack(size, dim=1)


def mask_dice(predicted: MaskBatch, truth: MaskBatch) -> ItemValues:
    """Return the Dice of each image of a batch; 1 where neither mask holds a voxel.

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
    """Return the Dice of each image, averaged over the classes 1 and up that its prediction or truth holds.

    Args:
        predicted: (batch, x, y, z) class indices, any integer type.
        truth: likewise.
        classes: number of classes, background included.

    Returns:
        (batch,) float32 in [0, 1]; 1 where there is background alone in both.
    """
    return torch.stack([_mean_dice(p, t, classes) for p, t in zip(predicted, truth, strict=True)])


def _mean_dice(predicted: Tensor, truth: Tensor, classes: int) -> Tensor:
    """Return the mean Dice of one image over the classes that it holds; 1 for none."""
    dice = class_dice(predicted, truth, classes)
    present = ~dice.isnan()
    count = present.sum()
    total = dice.nan_to_num().sum()
    return torch.where(count > 0, total / count.clamp_min(1), torch.ones_like(total))


def class_dice(predicted: Tensor, truth: Tensor, classes: int) -> Tensor:
    """Return the Dice of each class of one image but the first, from its confusion matrix.

    Args:
        predicted: (x, y, z) class indices, any integer type.
        truth: likewise.
        classes: number of classes, background included.

    Returns:
        (classes - 1,) float32 in [0, 1]; NaN for a class that neither holds.
    """
    pairs = truth.flatten().long() * classes + predicted.flatten().long()
    confusion = torch.bincount(pairs, minlength=classes**2).view(classes, classes)
    total = (confusion.sum(dim=0) + confusion.sum(dim=1))[1:].float()
    dice = 2 * confusion.diagonal()[1:] / total.clamp_min(1)
    return torch.where(total > 0, dice, torch.full_like(dice, float("nan")))


class SegmentationObjective:
    """Soft Dice plus cross-entropy, after an optional warm-up on the logits themselves.

    With a lesion class, validation reports the lesion's Dice; without one, the mean Dice over the foreground classes
    of each image.

    Args:
        classes: number of output channels, background (0) included.
        lesion: index of the lesion class; None if there is none, and then no item may be partially labelled.
        lesion_weight: weight of the lesion class in the loss, relative to the others.
        l2_warmup_steps: optimiser steps at the start that pull the logits of foreground voxels to ±5 instead
            (Billot et al. 2023; Chalcroft et al. 2025, section 3.3).
    """

    score_names: tuple[str, ...] = ("loss", "dice_mean", "dice_median")
    metric = "dice_mean"

    def __init__(
        self,
        classes: int = len(TissueClass),
        lesion: int | None = TissueClass.LESION,
        *,
        lesion_weight: float = 1.0,
        l2_warmup_steps: int = 0,
    ) -> None:
        self.classes = classes
        self.lesion = None if lesion is None else int(lesion)
        self.l2_warmup_steps = l2_warmup_steps
        self._loss = DiceCrossEntropy(classes, self.lesion, lesion_weight)

    @classmethod
    def from_config(
        cls,
        config: TrainingConfig,
        classes: int = len(TissueClass),
        lesion: int | None = TissueClass.LESION,
    ) -> Self:
        """Return the objective of a recipe's training settings."""
        return cls(
            classes, lesion, lesion_weight=config.lesion_weight, l2_warmup_steps=config.l2_warmup_steps
        )

    @property
    def metric_label(self) -> str:
        """Metric that chooses the best checkpoint."""
        return "mean Dice" if self.lesion is None else "lesion Dice"

    def to(self, device: torch.device) -> Self:
        """Move the objective with its class weights to a device."""
        self._loss.to(device)
        return self

    def loss(self, output: Tensor, batch: Batch, step: int) -> Tensor:
        """Return the mean loss of the items times the batch's weight.

        The warm-up's in the first `l2_warmup_steps` steps, then Dice plus cross-entropy.
        """
        if step < self.l2_warmup_steps:
            return batch.weight * logit_distance(output, batch.target).mean()
        return batch.weight * self._loss(output, batch.target, batch.partial)

    def loss_phase(self, step: int) -> int:
        """Return 0 during the warm-up, 1 after it."""
        return int(step >= self.l2_warmup_steps)

    def item_scores(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return the loss (never the warm-up's) and Dice of each item."""
        predicted = output.argmax(dim=1)
        if self.lesion is None:
            dice = foreground_dice(predicted, batch.target, self.classes)
        else:
            dice = mask_dice(predicted == self.lesion, batch.target == self.lesion)
        return {"loss": self._loss.per_item(output, batch.target, batch.partial), "dice": dice}

    def summarize(self, scores: dict[str, Tensor]) -> dict[str, float]:
        """Return the mean loss, and mean and median Dice of the items."""
        loss, dice = scores["loss"], scores["dice"]
        return {
            "loss": loss.mean().item(),
            "dice_mean": dice.mean().item(),
            "dice_median": dice.quantile(0.5).item(),
        }
