"""Normaliser: a small network that changes a scan's intensities before the model sees them (Karani et al. 2021).

Its training in front of a frozen network, on the whole box, or on windows where memory is short.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from itertools import product
from typing import Self

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from strokelabel.adaptation.objective import AdaptationObjective
from strokelabel.adaptation.options import REFRESH_EVERY, AdaptationOptions
from strokelabel.adaptation.safety import OutputWatch
from strokelabel.adaptation.windows import Corner, WindowSampler, window
from strokelabel.fit.loop.devices import fastest_precision
from strokelabel.inference.interruption import add_checks
from strokelabel.types import ChannelBatch, ImageBatch

_CHANNELS = 16
_KERNEL = 3
_SIGMA_MEAN, _SIGMA_DEVIATION = 0.2, 0.05
_SMALLEST_SIGMA = 1e-3
"""The activation divides by sigma, which the optimiser may bring to zero."""

_BLOCK = 16_384
"""Voxels that are computed at once on a processor: half a megabyte of 16 channels in bfloat16."""


class GaussianActivation(nn.Module):
    """exp(-x² / σ²), with a learned σ for each channel.

    Args:
        channels: number of channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.sigma = nn.Parameter(torch.empty(channels))

    def forward(self, features: ChannelBatch) -> ChannelBatch:
        """Return values in (0, 1], (batch, channels, x, y, z)."""
        return _Gaussian.apply(features, self.sigma)  # type: ignore[no-any-return, no-untyped-call]


class _Gaussian(torch.autograd.Function):
    """exp(-x² / σ²) of all channels at once, in blocks that stay in the cache of a processor."""

    @staticmethod
    def forward(ctx: FunctionCtx, features: Tensor, sigma: Tensor) -> Tensor:
        """Return the values; see `GaussianActivation`."""
        features = features.contiguous(memory_format=torch.channels_last_3d)
        values, factor = torch.empty_like(features), -_inverse_square(sigma, features)
        for given, made in zip(_blocks(features), _blocks(values), strict=True):
            torch.mul(given, given, out=made).mul_(factor).exp_()
        ctx.save_for_backward(features, values, sigma)
        return values

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients for features and σ; that of a σ below the smallest is zero."""
        features, values, sigma = ctx.saved_tensors  # type: ignore[attr-defined]
        gradient = gradient.contiguous(memory_format=torch.channels_last_3d)
        found, factor = torch.empty_like(features), -2 * _inverse_square(sigma, features)
        total = torch.zeros_like(sigma)
        parts = (_blocks(tensor) for tensor in (gradient, values, features, found))
        for of_values, value, feature, made in zip(*parts, strict=True):
            torch.mul(of_values, value, out=made).mul_(feature).mul_(factor)
            total += (made * feature).sum(dim=0, dtype=sigma.dtype)
        free = sigma.abs() >= _SMALLEST_SIGMA
        return found, torch.where(free, -total / sigma, 0.0)


def _blocks(features: Tensor) -> tuple[Tensor, ...]:
    """Return the rows of features by parts that are computed at once."""
    rows = _rows(features)
    return rows.split(_BLOCK if features.device.type == "cpu" else len(rows))


def _rows(features: Tensor) -> Tensor:
    """Return (voxels, channels) for features (batch, channels, x, y, z); a view where channels are innermost."""
    return features.permute(0, 2, 3, 4, 1).reshape(-1, features.shape[1])


def _inverse_square(sigma: Tensor, like: Tensor) -> Tensor:
    """Return 1 / σ² for each channel, in the arithmetic of the features."""
    return sigma.square().clamp_min(_SMALLEST_SIGMA**2).reciprocal().to(like.dtype)


class ToOneChannel(nn.Conv3d):
    """`torch.nn.Conv3d` of 3³ to one channel; on a processor in some 60 % of its time.

    There the library computes 16 channels and keeps one.

    Args:
        channels: number of channels that it takes.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 1, _KERNEL, padding="same")

    def forward(self, features: ChannelBatch) -> ChannelBatch:
        """Return (batch, 1, x, y, z)."""
        if features.device.type != "cpu" or self.bias is None:
            return super().forward(features)
        if torch.is_autocast_enabled("cpu"):
            features = features.to(torch.get_autocast_dtype("cpu"))
        made: Tensor = _ToOneChannel.apply(features, self.weight.to(features.dtype))  # type: ignore[no-untyped-call]
        return made + self.bias.to(made.dtype)


_PLANES = 4
"""Planes of voxels for which products with all places of the kernel are held at once."""

_PLACES = tuple(product(range(_KERNEL), repeat=3))
"""Places of a kernel of 3³, in the order of its values."""


class _ToOneChannel(torch.autograd.Function):
    """Convolution of 3³ to one channel: products of matrices, and 27 shifted copies of what has one channel."""

    @staticmethod
    def forward(ctx: FunctionCtx, features: Tensor, weight: Tensor) -> Tensor:
        """Return (batch, 1, x, y, z) for features (batch, channels, x, y, z) and a weight (1, channels, 3, 3, 3)."""
        ctx.save_for_backward(features, weight)
        kernel = weight[0].flatten(1).t().contiguous()
        sides = [side + 2 for side in features.shape[2:]]
        sums = torch.promote_types(features.dtype, torch.float32)
        made = features.new_zeros(len(features), *sides, dtype=sums)
        for item, total in zip(features, made, strict=True):
            for first in range(0, item.shape[1], _PLANES):
                planes = item[:, first : first + _PLANES]
                taps = (kernel @ _rows(planes[None]).t()).view(-1, *planes.shape[1:])
                for tap, place in zip(taps, _PLACES, strict=True):
                    i, j, k = (2 - at for at in place)
                    total[window((first + i, j, k), tap.shape)] += tap
        return made[:, None, 1:-1, 1:-1, 1:-1].to(features.dtype)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients for features and weight."""
        features, weight = ctx.saved_tensors  # type: ignore[attr-defined]
        kernel = weight[0].flatten(1).t().flip(0).contiguous()
        found = torch.empty_like(features, memory_format=torch.channels_last_3d)
        of_kernel = torch.zeros_like(kernel, dtype=torch.promote_types(kernel.dtype, torch.float32))
        padded = nn.functional.pad(gradient[:, 0], (1, 1) * 3)
        for item, borders, made in zip(features, padded, found, strict=True):
            for first in range(0, item.shape[1], _PLANES):
                planes = item[:, first : first + _PLANES]
                shape = planes.shape[1:]
                taps = torch.stack([borders[window((first + i, j, k), shape)] for i, j, k in _PLACES])
                of_kernel += taps.flatten(1) @ _rows(planes[None])
                for_planes = (taps.flatten(1).t() @ kernel).view(*shape, -1)
                made[:, first : first + _PLANES] = for_planes.permute(3, 0, 1, 2)
        return found, of_kernel.flip(0).t().reshape(weight.shape).to(weight.dtype)


class Normaliser(nn.Module):
    """Three convolutions of 3³ with 16 channels, added to their input.

    The last one starts at zero, so that a new normaliser changes nothing.

    Args:
        seed: decides the initial weights, whatever torch's own generator is at.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.device("meta"):  # costs no random numbers of torch's own generator
            layers = nn.Sequential(
                nn.Conv3d(1, _CHANNELS, _KERNEL, padding="same"),
                GaussianActivation(_CHANNELS),
                nn.Conv3d(_CHANNELS, _CHANNELS, _KERNEL, padding="same"),
                GaussianActivation(_CHANNELS),
                ToOneChannel(_CHANNELS),
            )
        self.layers = layers.to_empty(device="cpu").to(memory_format=torch.channels_last_3d)
        self._start(torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def _start(self, generator: torch.Generator) -> Self:
        """Draw the initial weights: convolutions as torch does, σ as Karani et al. do."""
        for layer in self.layers:
            if isinstance(layer, nn.Conv3d):
                bound = 1 / math.sqrt(layer.weight[0].numel())
                for values in layer.parameters():
                    values.uniform_(-bound, bound, generator=generator)
            elif isinstance(layer, GaussianActivation):
                layer.sigma.normal_(_SIGMA_MEAN, _SIGMA_DEVIATION, generator=generator)
        for values in self.layers[-1].parameters():
            values.zero_()
        return self

    def forward(self, images: ImageBatch) -> ImageBatch:
        """Return images (batch, 1, x, y, z) with other intensities, float32."""
        change: Tensor = self.layers(images.contiguous(memory_format=torch.channels_last_3d))
        return images + change.float()


_PATIENCE = 5
"""Iterations in which a spoiled output may recover."""

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
        watch: tells when the output is spoiled.
        temperature: of the model; its logits are divided by it.

    Attributes:
        normaliser: in training.
        iterations: that were done.
        ended: why they ended before all were done; "" if they did not.
    """

    def __init__(
        self,
        network: nn.Module,
        item: Tensor,
        objective: AdaptationObjective,
        options: AdaptationOptions,
        watch: OutputWatch,
        temperature: float = 1.0,
    ) -> None:
        self.normaliser = Normaliser(options.seed).to(item.device)
        add_checks(self.normaliser)
        self._network, self._item, self._objective = network, item, objective
        self._options, self._watch, self._temperature = options, watch, temperature
        self.iterations, self.ended, self._last_safe = 0, "", 0
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
        """Do the iterations; the weights with the lowest objective on the whole box are kept, of those looked at.

        An iteration on the whole box looks at the weights that it begins with. With windows, which differ too much to
        be compared, the whole box is predicted every `REFRESH_EVERY` iterations. The last weights are looked at, too.
        Weights that spoil the output are not kept; where it does not recover, the iterations end.

        Args:
            windows: where.
            plain: (classes, x, y, z) output for the whole box without a normaliser.
            present: returns the output (classes, x, y, z) for an input (1, 1, x, y, z), without gradients.
            on_iteration: told after every iteration.
        """
        if self._objective.has_target:
            self._objective.renew(plain)
        whole = windows.shape == tuple(self._item.shape[2:])
        for iteration in range(self._options.iterations):
            renews = iteration > 0 and iteration % REFRESH_EVERY == 0
            if renews and not whole:
                self._look(present(self.normalised()), renews=True)
            if not self.ended:
                self._step(windows.corner(), windows.shape, looks=whole, renews=renews)
            if self.ended:
                break
            self.iterations = iteration + 1
            on_iteration(self.iterations)
        if self._options.iterations and not self.ended:
            self._look(present(self.normalised()))
        if self._best is not None:
            self.normaliser.load_state_dict(self._best[1])
        return self.normaliser

    def _look(self, probabilities: Tensor, *, renews: bool = False) -> None:
        """Judge the output (classes, x, y, z) on the whole box."""
        self._judge(self._objective.value(probabilities), probabilities)
        if renews and self._objective.has_target:
            self._objective.renew(probabilities)

    def _judge(self, value: float, output: Tensor) -> None:
        """Keep the weights if they are the best so far; end where their output is spoiled, and was for a while.

        Args:
            value: what is lowered.
            output: (classes, x, y, z) on the whole box, probabilities or logits.
        """
        objection = self._watch.objection(output)
        if objection:
            if self._last_safe + _PATIENCE <= self.iterations < self._options.iterations:
                self.ended = objection
            return
        self._last_safe = self.iterations
        if math.isfinite(value) and (self._best is None or value < self._best[0]):
            self._best = (value, deepcopy(self.normaliser.state_dict()))

    @torch.no_grad()
    def normalised(self) -> Tensor:
        """Return the input of the network as the normaliser is now, (1, 1, x, y, z)."""
        with self._fast():
            return self.normaliser(self._item)

    def _fast(self) -> torch.autocast:
        return torch.autocast(self._item.device.type, torch.bfloat16, enabled=self._half)

    def _step(self, corner: Corner, shape: tuple[int, ...], *, looks: bool, renews: bool) -> None:
        """Do one step; without finite gradients, which bfloat16 gives now and then, none."""
        with torch.enable_grad():
            logits = self._logits(self._item[(..., *window(corner, shape))])
            if looks and self._objective.has_target:
                self._look(torch.softmax(logits[0].detach().float(), dim=0), renews=renews)
            loss = self._objective.loss(logits, corner)
            if looks and not self._objective.has_target:
                self._judge(float(loss.detach()), logits[0].detach())
            if self.ended:
                return
            gradients = torch.autograd.grad(loss, self._weights)
        norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients))
        if not math.isfinite(norm):
            return
        for weight, gradient in zip(self._weights, gradients, strict=True):
            weight.grad = gradient
        self._optimizer.step()

    def _logits(self, item: Tensor) -> Tensor:
        """Return the logits (1, classes, x, y, z) for a part (1, 1, x, y, z) of what the network is shown."""
        with self._fast():
            logits: Tensor = self._network(self.normaliser(item))
        return logits if self._temperature == 1 else logits.float() / self._temperature
