"""Optimisation of a normaliser in front of a frozen network."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from strokelabel.adaptation.normaliser import Normaliser
from strokelabel.adaptation.objective import AdaptationObjective, Corner, window
from strokelabel.adaptation.options import REFRESH_EVERY, AdaptationOptions
from strokelabel.adaptation.windows import WindowSampler
from strokelabel.fit.loop.devices import fastest_precision

OnIteration = Callable[[int], None]
"""Called with the number of iterations that are done; may raise, which ends the adaptation."""


class NormaliserTraining:
    """Training of one scan's normaliser.

    The network is only evaluated. Gradients are computed for the normaliser's weights alone, so that nothing of the
    network changes, however the training ends: neither its weights nor their gradients, modes and flags.

    Args:
        network: maps (1, 1, x, y, z) to logits, in evaluation mode.
        item: (1, 1, x, y, z) normalised input of the network, on its device.
        objective: what is lowered.
        options: see `AdaptationOptions`.
    """

    def __init__(
        self, network: nn.Module, item: Tensor, objective: AdaptationObjective, options: AdaptationOptions
    ) -> None:
        self.normaliser = Normaliser(options.seed).to(item.device)
        self._network, self._item, self._objective = network, item, objective
        self._options = options
        self._half = fastest_precision(item.device) == "bf16-mixed"
        self._weights = list(self.normaliser.parameters())
        self._optimizer = torch.optim.AdamW(
            self._weights, lr=options.learning_rate, weight_decay=options.weight_decay
        )

    def run(
        self,
        windows: WindowSampler,
        plain: Tensor,
        present: Callable[[Tensor], Tensor],
        on_iteration: OnIteration,
    ) -> Normaliser:
        """Do all iterations.

        Args:
            windows: where.
            plain: (classes, x, y, z) plain output in the box.
            present: returns the output (classes, x, y, z) for an input (1, 1, x, y, z), without gradients.
            on_iteration: told after every iteration.
        """
        for iteration in range(self._options.iterations):
            if self._objective.needs_output and iteration % REFRESH_EVERY == 0:
                self._objective.renew(present(self.normalised()) if iteration else plain)
            self._step(windows.corner(), windows.shape)
            on_iteration(iteration + 1)
        return self.normaliser

    @torch.no_grad()
    def normalised(self) -> Tensor:
        """Return the input of the network as the normaliser is now, (1, 1, x, y, z)."""
        return self.normaliser(self._item)

    def _step(self, corner: Corner, shape: tuple[int, ...]) -> None:
        """Do one step on one window; without finite gradients, which bfloat16 gives now and then, none."""
        gradients = self._gradients(corner, shape)
        norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients))
        if not math.isfinite(norm):
            return
        for weight, gradient in zip(self._weights, gradients, strict=True):
            weight.grad = gradient
        self._optimizer.step()

    @torch.enable_grad()
    def _gradients(self, corner: Corner, shape: tuple[int, ...]) -> tuple[Tensor, ...]:
        """Return the gradient of each weight of the normaliser."""
        part = window(corner, shape)
        with torch.autocast(self._item.device.type, torch.bfloat16, enabled=self._half):
            logits = self._network(self.normaliser(self._item[(..., *part)]))
        loss = self._objective.loss(torch.softmax(logits.float(), dim=1), corner)
        return torch.autograd.grad(loss, self._weights)
