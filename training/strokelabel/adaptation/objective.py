"""Objectives that an adaptation minimises, computed from the model's output alone.

The entropy of the output (TENT, Wang et al. 2021; equation 2 of Chalcroft et al. 2025), and its disagreement with a
denoising autoencoder (Karani et al. 2021, section 3.3).
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from strokelabel.adaptation.denoiser import LabelDenoiser
from strokelabel.adaptation.windows import Corner, window


class AdaptationObjective(Protocol):
    """Number that is lowered, window by window, and judged on the whole box.

    Attributes:
        name: of what is lowered, for messages.
        alignment: corners of windows are multiples of this.
        has_target: true where the output is compared with a target that is made from it. Without one, the loss of the
            whole box is the number to be lowered.
    """

    name: str
    alignment: int
    has_target: bool

    def renew(self, probabilities: Tensor) -> None:
        """Make the target from the present output for the whole box, (classes, x, y, z).

        Called every `REFRESH_EVERY` iterations, where there is a target.
        """
        ...

    def loss(self, logits: Tensor, corner: Corner) -> Tensor:
        """Return the loss (a scalar, differentiable) of the output in a window.

        Args:
            logits: (1, classes, x, y, z), floats of any precision.
            corner: of the window.
        """
        ...

    def value(self, probabilities: Tensor) -> float:
        """Return the number to be lowered for the output in the whole box, (classes, x, y, z)."""
        ...


def mean_entropy(probabilities: Tensor, head: Tensor) -> Tensor:
    """Return the Shannon entropy over the classes in nats, averaged over the voxels of a head.

    Args:
        probabilities: (classes, x, y, z).
        head: (x, y, z) bool; air is certain anyway, and would hide the rest.

    Returns:
        Scalar; zero where there is no head.
    """
    entropy = torch.special.entr(probabilities).sum(dim=0)
    return (entropy * head).sum() / head.sum().clamp_min(1)


_BLOCK = 16_384
"""Voxels whose entropy is computed at once on a processor: what stays in its cache."""


class _MeanEntropy(torch.autograd.Function):
    """`mean_entropy` of logits, with its gradient -p (log p + H) for each of them, in one reading of the logits."""

    @staticmethod
    def forward(ctx: FunctionCtx, logits: Tensor, share: Tensor) -> Tensor:
        """Return the entropy of logits (classes, voxels), with the share of each voxel in the mean."""
        gradient, total = torch.empty_like(logits), share.new_zeros(())
        size = _BLOCK if logits.device.type == "cpu" else logits.shape[1]
        for given, part, made in zip(
            *(t.split(size, dim=-1) for t in (logits, share, gradient)), strict=True
        ):
            logs = torch.log_softmax(given.to(share.dtype), dim=0)
            probabilities = logs.exp()
            entropy = (probabilities * logs).sum(dim=0).neg_()
            total += entropy @ part
            made.copy_(logs.add_(entropy).mul_(probabilities).mul_(-part))
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: FunctionCtx, factor: Tensor) -> tuple[Tensor, None]:
        """Return the gradient for the logits."""
        (gradient,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return gradient * factor, None


class EntropyObjective:
    """Mean entropy in the head.

    Args:
        head: (x, y, z) bool, in the shown box, on the device of the network.
    """

    name = "entropy"
    alignment = 1
    has_target = False

    def __init__(self, head: Tensor) -> None:
        self._head = head

    def renew(self, probabilities: Tensor) -> None:
        """Do nothing: entropy has no target."""

    def loss(self, logits: Tensor, corner: Corner) -> Tensor:
        """Return the mean entropy in a window."""
        head = self._head[window(corner, logits.shape[2:])].reshape(-1)
        share = head / head.sum().clamp_min(1).to(torch.promote_types(logits.dtype, torch.float32))
        return _MeanEntropy.apply(logits[0].flatten(1), share)  # type: ignore[no-any-return, no-untyped-call]

    def value(self, probabilities: Tensor) -> float:
        """Return the mean entropy of the whole head."""
        return float(mean_entropy(probabilities, self._head.to(probabilities.device)))


_SMOOTHING = 10.0
"""Voxels of the autoencoder, 0.27 ml at 3 mm, added to both sides of the Dice.

A class with less than that in both, such as the lesion of a healthy brain, is no reason to adapt.
"""


def disagreement(found: Tensor, wanted: Tensor) -> Tensor:
    """Return one minus the mean soft Dice of the foreground classes, plus the squared distance of the probabilities.

    Args:
        found: (1, classes, x, y, z).
        wanted: the same shape.

    Returns:
        Scalar, zero for equal maps, however soft: the Dice has squares below its fraction bar (Milletari et al. 2016).
        The squared distance is summed over classes and averaged over voxels.
    """
    overlap = (found * wanted).sum(dim=(0, 2, 3, 4))[1:]
    size = (found.square() + wanted.square()).sum(dim=(0, 2, 3, 4))[1:]
    dice = (2 * overlap + _SMOOTHING) / (size + _SMOOTHING)
    return 1 - dice.mean() + (found - wanted).square().sum(dim=1).mean()


class AgreementObjective:
    """Disagreement between the output and what the autoencoder made of it some iterations ago.

    Args:
        denoiser: for the model's output.
        device: where output and target are compared.
    """

    name = "disagreement with the denoiser"
    has_target = True

    def __init__(self, denoiser: LabelDenoiser, device: torch.device) -> None:
        self.alignment = denoiser.factor
        self._denoiser, self._device = denoiser, device
        self._target: Tensor | None = None

    def renew(self, probabilities: Tensor) -> None:
        """Make the target from the present output (classes, x, y, z) of the whole box."""
        self._target = self._denoiser.corrected(self._coarse(probabilities)).clone()

    def loss(self, logits: Tensor, corner: Corner) -> Tensor:
        """Return the disagreement in a window."""
        if self._target is None:
            raise ValueError("expected a call of `renew` first")
        probabilities, factor = torch.softmax(logits.float(), dim=1), self._denoiser.factor
        # The end of a window may hold a part of a coarse voxel, which is left out.
        i, j, k = (side // factor * factor for side in probabilities.shape[2:])
        found = self._denoiser.coarse(probabilities[..., :i, :j, :k])
        x, y, z = (first // factor for first in corner)
        part = window((x, y, z), found.shape[2:])
        return disagreement(found, self._target[(..., *part)])

    def value(self, probabilities: Tensor) -> float:
        """Return the disagreement of the whole box with what the autoencoder makes of it."""
        coarse = self._coarse(probabilities)
        return float(disagreement(coarse, self._denoiser.corrected(coarse)))

    def _coarse(self, probabilities: Tensor) -> Tensor:
        # A copy: results of inference mode cannot be part of a loss.
        return self._denoiser.coarse(probabilities.clone()[None].to(self._device))
