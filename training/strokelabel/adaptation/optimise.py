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

_THINNEST_SLAB = 8
"""Voxels; the three convolutions reach three voxels beyond each."""

_EARLY_LOOKS = (5, 10)
"""Iterations after which the whole box is predicted, besides every `REFRESH_EVERY`: the first steps are the largest."""

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
        self._generator = torch.Generator().manual_seed(options.seed)
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

        They are looked at early on, every `REFRESH_EVERY` iterations and after the last, as in Karani et al. 2021.

        Args:
            windows: where.
            plain: (classes, x, y, z) plain output in the box.
            present: returns the output (classes, x, y, z) for an input (1, 1, x, y, z), without gradients.
            on_iteration: told after every iteration.
        """
        if self._objective.needs_output:
            self._objective.renew(plain)
        for iteration in range(1, self._options.iterations + 1):
            self._step(windows.corner(), windows.shape)
            renews = iteration % REFRESH_EVERY == 0
            if renews or iteration in _EARLY_LOOKS or iteration == self._options.iterations:
                self._look(present(self.normalised()), renews=renews)
            on_iteration(iteration)
        if self._best is not None:
            self.normaliser.load_state_dict(self._best[1])
        return self.normaliser

    def _look(self, probabilities: Tensor, *, renews: bool) -> None:
        """Judge the present output on the whole box, and keep the weights if they are the best so far."""
        value = self._objective.value(probabilities)
        if math.isfinite(value) and (self._best is None or value < self._best[0]):
            self._best = (value, deepcopy(self.normaliser.state_dict()))
        if renews and self._objective.needs_output:
            self._objective.renew(probabilities)

    @torch.no_grad()
    def normalised(self) -> Tensor:
        """Return the input of the network as the normaliser is now, (1, 1, x, y, z)."""
        return self.normaliser(self._item)

    def _step(self, corner: Corner, shape: tuple[int, ...]) -> None:
        """Do one step; without finite gradients, which bfloat16 gives now and then, none."""
        gradients = self._gradients(self._item[(..., *window(corner, shape))], corner)
        norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients))
        if not math.isfinite(norm):
            return
        for weight, gradient in zip(self._weights, gradients, strict=True):
            weight.grad = gradient
        self._optimizer.step()

    @torch.enable_grad()
    def _gradients(self, item: Tensor, corner: Corner) -> tuple[Tensor, ...]:
        """Return the gradient of each weight of the normaliser, over a random part of what the network is shown.

        Args:
            item: (1, 1, x, y, z) what the network is shown.
            corner: of it in the box.
        """
        with self._arithmetic():
            with torch.no_grad():
                shown = self.normaliser(item)
            logits = self._network(shown.requires_grad_())
        loss = self._objective.loss(torch.softmax(logits.float(), dim=1), corner)
        (sensitivity,) = torch.autograd.grad(loss, shown)
        del logits, loss
        part = (..., *self._random_slab(item))
        with self._arithmetic():
            again = self.normaliser(item[part])
        return torch.autograd.grad(again, self._weights, sensitivity[part])

    def _random_slab(self, item: Tensor) -> tuple[slice, slice, slice]:
        """Return the next slab that the normaliser's gradient is taken over: the network's is over all it is shown.

        A slab across the head, along a random axis, has air, skull and brain in about their proportions; with cubes,
        the entropy of some scans rises.
        """
        shape = list(item.shape[2:])
        axis = int(torch.randint(3, (), generator=self._generator))
        area = math.prod(shape) // shape[axis]
        thickness = min(shape[axis], max(_THINNEST_SLAB, self._options.slab_voxels // area))
        first = int(torch.randint(shape[axis] - thickness + 1, (), generator=self._generator))
        slab = [slice(None)] * 3
        slab[axis] = slice(first, first + thickness)
        return slab[0], slab[1], slab[2]

    def _arithmetic(self) -> torch.autocast:
        return torch.autocast(self._item.device.type, torch.bfloat16, enabled=self._half)
