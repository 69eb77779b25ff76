"""Segmentation losses.

The loss is soft Dice plus cross-entropy, weighted equally (Chalcroft et al. 2025, section 3.3). Where only
the lesion is annotated, the other classes are summed into "not lesion" before the two are compared, so that
the lesion still competes with every tissue and nothing is asked of the tissues themselves.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

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
        """Mean loss of a batch; completely and partially labelled items weigh as many items as they are.

        Args:
            logits: (batch, classes, x, y, z), any floating type; computed in float32.
            target: (batch, x, y, z) class indices, any integer type.
            partial: (batch,) bool, true where the target tells lesion from the rest and nothing else.

        Returns:
            Scalar float32.
        """
        count = int(partial.sum())
        with torch.autocast(logits.device.type, enabled=False):
            if count == 0:
                return self._full(logits, target)
            if count == len(partial):
                return self._partial(logits, target)
            some = partial.to(logits.device)
            full = self._full(logits[~some], target[~some])
            share = count / len(partial)
            return (1 - share) * full + share * self._partial(logits[some], target[some])

    def _full(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of items whose every voxel is labelled."""
        return dice_cross_entropy(logits, target, self.weights)

    def _partial(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of items with a lesion annotation only: tissues marginalised into one class."""
        weights = torch.stack((torch.ones_like(self.weights[0]), self.weights[self.lesion]))
        return dice_cross_entropy(marginal_logits(logits, self.lesion), target == self.lesion, weights)


def marginal_logits(logits: Tensor, lesion: int = TissueClass.LESION) -> Tensor:
    """Sum all classes but the lesion: the softmax of the two results is p(not lesion), p(lesion).

    Args:
        logits: (batch, classes, x, y, z).
        lesion: index of the lesion class.

    Returns:
        (batch, 2, x, y, z) float32: logsumexp of the other classes' logits, and the lesion's logit.
    """
    others = [index for index in range(logits.shape[1]) if index != lesion]
    rest = logits[:, others].float().logsumexp(dim=1)
    return torch.stack((rest, logits[:, lesion].float()), dim=1)


def dice_cross_entropy(logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Weighted soft Dice loss plus weighted cross-entropy.

    Dice sums run over batch and voxels; the Dice loss is the weighted mean over classes 1 and up. The
    cross-entropy is the mean over voxels, each weighted as its true class.

    Args:
        logits: (batch, classes, x, y, z), any floating type.
        target: (batch, x, y, z) class indices, bool or integer.
        weights: (classes,) float32.

    Returns:
        Scalar float32; differentiable once with respect to the logits.
    """
    return _DiceCrossEntropy.apply(logits.float(), target, weights)


class _DiceCrossEntropy(torch.autograd.Function):
    """Both losses with their joint gradient in closed form.

    Faster, and far smaller in memory, than the same written with differentiable operations: the
    probabilities are the only volume-sized tensor kept for the backward pass.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        """Compute the value and keep what the gradient needs."""
        log_probability = logits.flatten(2).contiguous().log_softmax(dim=1)
        index = target.flatten(1).unsqueeze(1).long()
        voxel_weight = weights[index]
        total_weight = voxel_weight.sum()
        cross_entropy = -(voxel_weight * log_probability.gather(1, index)).sum() / total_weight

        probability = log_probability.exp_()
        truths = [index.squeeze(1) == c for c in range(len(weights))]
        true_size = torch.stack([truth.sum() for truth in truths])
        size = probability.sum(dim=(0, 2)) + true_size + _SMOOTHING
        overlap = torch.stack([(probability[:, c] * truth).sum() for c, truth in enumerate(truths)])
        dice = (2 * overlap + _SMOOTHING) / size
        share = weights.clone()
        share[0] = 0
        share /= share.sum()

        voxel_weight /= total_weight
        ctx.save_for_backward(probability, index, voxel_weight, dice / size * share, -2 / size * share)  # type: ignore[attr-defined]
        ctx.shape = logits.shape  # type: ignore[attr-defined]
        return cross_entropy + (share * (1 - dice)).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None, None]:
        """Gradient with respect to the first argument of `forward`."""
        # d(Dice loss)/dp of class c is everywhere[c], plus inside[c] in the voxels of that class. The softmax
        # turns a gradient g into p * (g - sum of p * g); the cross-entropy adds weight * (p - truth).
        probability, index, voxel_weight, everywhere, inside = ctx.saved_tensors  # type: ignore[attr-defined]
        true_gradient = inside[index] * probability.gather(1, index)
        mean_gradient = torch.einsum("c,bcn->bn", everywhere, probability).unsqueeze(1) + true_gradient
        result = everywhere.view(1, -1, 1) + (voxel_weight - mean_gradient)
        result *= probability
        result.scatter_add_(1, index, true_gradient - voxel_weight)
        result *= grad
        return result.view(ctx.shape), None, None  # type: ignore[attr-defined]
