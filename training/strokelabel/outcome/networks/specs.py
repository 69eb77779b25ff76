"""Networks of the classification table: each has a name, the picture that it sees, and its training."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from strokelabel.outcome.networks.architectures import RESIDUAL_WIDTHS, VOLUME_WIDTHS, LightCnn, ResNet
from strokelabel.outcome.networks.training import BuildNetwork, Schedule


@dataclass(frozen=True)
class NetworkSpec:
    """A network that can be trained.

    Attributes:
        name: of it, in tables.
        picture: kind of `pictures.Pictures` that it sees.
        build: makes it.
        schedule: of its training.
        most_seeds: repeats of the folds at most, for networks that take long.
    """

    name: str
    picture: str
    build: BuildNetwork
    schedule: Schedule = field(default_factory=Schedule)
    most_seeds: int = 20

    @property
    def slug(self) -> str:
        """Name for files."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower())


_VOLUME_SEEDS: Final = 3


def _resnet18(shape: tuple[int, ...], facts: int, fusion: str | None = None) -> ResNet:
    return ResNet(2, facts, RESIDUAL_WIDTHS, blocks=2, pool=True, fusion=fusion)


def _resnet_3d(shape: tuple[int, ...], facts: int, fusion: str | None = None) -> ResNet:
    return ResNet(3, facts, VOLUME_WIDTHS, blocks=1, fusion=fusion)


STITCHED_CNN: Final = NetworkSpec("light CNN, stitched", "stitched", LightCnn)

NETWORKS: Final = (
    STITCHED_CNN,
    NetworkSpec("light CNN, regions and symbols", "symbols", LightCnn),
    NetworkSpec("ResNet-18, regions and symbols", "symbols", _resnet18),
    NetworkSpec("ResNet-18, early fusion", "regions", partial(_resnet18, fusion="early")),
    NetworkSpec("3-D ResNet", "cells", _resnet_3d, most_seeds=_VOLUME_SEEDS),
    NetworkSpec("DAFT", "cells", partial(_resnet_3d, fusion="daft"), most_seeds=_VOLUME_SEEDS),
    NetworkSpec("light CNN, FLAIR slices", "flair", LightCnn),
)
"""In the order of the table. Those whose pictures are not there are left out."""
