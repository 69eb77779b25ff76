"""Optimisation of a normaliser in front of a frozen network."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn

from strokelabel.adaptation.normaliser import Normaliser
from strokelabel.adaptation.objective import AdaptationObjective, Corner, window
from strokelabel.adaptation.options import REFRESH_EVERY, AdaptationOptions
from strokelabel.adaptation.windows import WindowSampler
from strokelabel.fit.loop.devices import fastest_precision
from strokelabel.inference.interruption import add_checks

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
        add_checks(self.normaliser)
        self._network, self._item, self._objective = network, item, objective
        self._options = options
        self._half = fastest_precision(item.device) == "bf16-mixed"
        self._best: tuple[float, dict[str, Tensor]] | None = None
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
        """Do all iterations; the weights with the lowest objective on the whole box are kept, of those looked at.

        An iteration on the whole box looks at the weights that it begins with. With windows, which differ too much to
        be compared, the whole box is predicted every `REFRESH_EVERY` iterations. The last weights are looked at, too.

        Args:
            windows: where.
            plain: (classes, x, y, z) output for the whole box without a normaliser.
            present: returns the output (classes, x, y, z) for an input (1, 1, x, y, z), without gradients.
            on_iteration: told after every iteration.
        """
        if self._objective.needs_output:
            self._objective.renew(plain)
        whole = windows.shape == tuple(self._item.shape[2:])
        for iteration in range(self._options.iterations):
            renews = iteration > 0 and iteration % REFRESH_EVERY == 0
            if renews and not whole:
                self._look(present(self.normalised()), renews=True)
            self._step(windows.corner(), windows.shape, looks=whole, renews=renews)
            on_iteration(iteration + 1)
        if self._options.iterations:
            self._look(present(self.normalised()))
        if self._best is not None:
            self.normaliser.load_state_dict(self._best[1])
        return self.normaliser

    def _look(self, probabilities: Tensor, *, renews: bool = False) -> None:
        """Judge the output (classes, x, y, z) on the whole box, and keep the weights if they are the best so far."""
        value = self._objective.value(probabilities)
        if math.isfinite(value) and (self._best is None or value < self._best[0]):
            self._best = (value, deepcopy(self.normaliser.state_dict()))
        if renews and self._objective.needs_output:
            self._objective.renew(probabilities)

    @torch.no_grad()
    def normalised(self) -> Tensor:
        """Return the input of the network as the normaliser is now, (1, 1, x, y, z)."""
        return self.normaliser(self._item)

    def _step(self, corner: Corner, shape: tuple[int, ...], *, looks: bool, renews: bool) -> None:
        """Do one step; without finite gradients, which bfloat16 gives now and then, none."""
        with torch.enable_grad():
            probabilities = self._output(self._item[(..., *window(corner, shape))])
            if looks:
                self._look(probabilities[0].detach(), renews=renews)
            gradients = torch.autograd.grad(self._objective.loss(probabilities, corner), self._weights)
        norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients))
        if not math.isfinite(norm):
            return
        for weight, gradient in zip(self._weights, gradients, strict=True):
            weight.grad = gradient
        self._optimizer.step()

    def _output(self, item: Tensor) -> Tensor:
        """Return the probabilities (1, classes, x, y, z) for a part (1, 1, x, y, z) of what the network is shown."""
        with torch.autocast(item.device.type, torch.bfloat16, enabled=self._half):
            logits = self._network(self.normaliser(item))
        return torch.softmax(logits.float(), dim=1)
