"""Ways to show a network the same scan, for several opinions about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import exp

import torch
from torch import Tensor

from strokelabel.inference.engine import Axes
from strokelabel.inference.network_input import trained_flips
from strokelabel.registry import ModelSpec

LEAST_VIEWS = 6
"""Fewer opinions than this say little about their spread; flips along one axis are only two."""

_GAMMA_LOG = 0.3
"""Half the standard deviation of the logarithm of gamma in training (`synthesis.config`), so nothing unseen."""


@dataclass(frozen=True)
class View:
    """A scan flipped, moved by whole voxels, and with another gamma; all of it can be undone.

    Attributes:
        flips: spatial axes (0, 1, 2 for x, y, z) that are turned round.
        shift: voxels by which the scan moves along x, y and z; edges are repeated.
        gamma: exponent of its intensities, on the scale from 0 to its largest value.
    """

    flips: Axes = ()
    shift: tuple[int, int, int] = (0, 0, 0)
    gamma: float = 1.0

    def apply(self, volume: Tensor) -> Tensor:
        """Return the view of a (1, 1, x, y, z) volume whose air is near zero, before normalisation."""
        shown = _moved(_with_gamma(volume, self.gamma), self.shift)
        return torch.flip(shown, self._dims) if self.flips else shown

    def undo(self, output: Tensor) -> Tensor:
        """Return a network's output (1, channels, x, y, z) for the view in the position of the scan."""
        x, y, z = self.shift
        turned = torch.flip(output, self._dims) if self.flips else output
        return _moved(turned, (-x, -y, -z))

    @property
    def _dims(self) -> list[int]:
        return [axis + 2 for axis in self.flips]


def views_of(spec: ModelSpec, multiple: int) -> list[View]:
    """Return the views for a model; the first is the scan as it is.

    All flips that it was trained with (Wang et al. 2019, "Aleatoric uncertainty estimation with test-time
    augmentation for medical image segmentation"). Where these are fewer than `LEAST_VIEWS`, each flip is also
    shown with the scan moved by a fraction of the network's stride, which changes the answers of networks with
    strides (Zhang 2019, "Making convolutional networks shift-invariant again") and needs no interpolation, and
    with a lower or a higher gamma.

    Args:
        spec: the model's description.
        multiple: of the network's sides: its stride in all.
    """
    axes = trained_flips(spec)
    flips = [View(chosen) for count in range(len(axes) + 1) for chosen in combinations(axes, count)]
    if len(flips) >= LEAST_VIEWS:
        return flips
    step = max(1, multiple // 4)
    moved = ((step, -step, step), (-step, step, -step), (step, step, -step), (-step, -step, step))
    gammas = (exp(_GAMMA_LOG), exp(-_GAMMA_LOG), exp(_GAMMA_LOG / 2), exp(-_GAMMA_LOG / 2))
    views = list(flips)
    for shift, gamma in zip(moved, gammas, strict=True):
        if len(views) < LEAST_VIEWS:
            views += [replace(view, shift=shift, gamma=gamma) for view in flips]
    return views


def describe_views(views: Sequence[View]) -> str:
    """Describe the differences between the views in words."""
    kinds = {
        "flips": any(view.flips for view in views),
        "shifts": any(any(view.shift) for view in views),
        "gamma": any(view.gamma != 1 for view in views),
    }
    return ", ".join(kind for kind, used in kinds.items() if used) or "none"


def _with_gamma(volume: Tensor, gamma: float) -> Tensor:
    largest = volume.abs().max()
    if gamma == 1 or largest == 0:
        return volume
    return volume.sign() * (volume.abs() / largest) ** gamma * largest


def _moved(volume: Tensor, shift: tuple[int, int, int]) -> Tensor:
    """Move a (1, c, x, y, z) volume by whole voxels; what comes in at an edge repeats it."""
    for axis, step in enumerate(shift):
        if step:
            size = volume.shape[axis + 2]
            source = (torch.arange(size, device=volume.device) - step).clamp(0, size - 1)
            volume = volume.index_select(axis + 2, source)
    return volume
