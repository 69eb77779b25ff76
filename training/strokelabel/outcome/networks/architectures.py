"""Networks from a picture and facts to a logit, light enough for CPUs and a few hundred patients.

All are trained from scratch: no weights are in the package.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

LIGHT_WIDTHS: Final = (8, 16, 32, 32)
RESIDUAL_WIDTHS: Final = (8, 16, 32, 64)
VOLUME_WIDTHS: Final = (8, 16, 32)

_HIDDEN: Final = 32
_DROPOUT: Final = 0.3


class LightCnn(nn.Module):
    """Strided convolutions whose last maps are not averaged, so that the network knows where in the picture it looks.

    Args:
        shape: rows and columns of the picture.
        facts: ignored; the picture alone is seen.
        widths: channels of each convolution, which halve the picture.
    """

    def __init__(self, shape: Sequence[int], facts: int = 0, widths: Sequence[int] = LIGHT_WIDTHS) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((1, *widths[:-1]), widths, strict=True):
            layers += [*_convolution(2, before, after, stride=2), nn.ReLU()]
        left = widths[-1]
        for size in shape:
            left *= _halved(size, len(widths))
        self.features = nn.Sequential(*layers, nn.Flatten())
        self.head = nn.Sequential(
            nn.Dropout(_DROPOUT),
            nn.Linear(left, _HIDDEN),
            nn.ReLU(),
            nn.Dropout(_DROPOUT),
            nn.Linear(_HIDDEN, 1),
        )

    def forward(self, picture: Tensor, facts: Tensor) -> Tensor:
        """Return the logit of each patient, given pictures (patients, 1, rows, columns)."""
        logits: Tensor = self.head(self.features(picture))
        return logits[:, 0]


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut (He et al. 2016).

    Args:
        dimensions: 2 or 3.
        before, after: channels.
        stride: of the first convolution.
        facts: number of facts that scale and shift the block's maps (DAFT); 0 for a plain block.
    """

    def __init__(self, dimensions: int, before: int, after: int, stride: int, facts: int = 0) -> None:
        super().__init__()
        self.first = nn.Sequential(*_convolution(dimensions, before, after, stride), nn.ReLU())
        self.second = nn.Sequential(*_convolution(dimensions, after, after))
        same = stride == 1 and before == after
        self.shortcut = (
            nn.Identity() if same else nn.Sequential(*_convolution(dimensions, before, after, stride, size=1))
        )
        self.transform = AffineTransform(after, facts) if facts else None

    def forward(self, maps: Tensor, facts: Tensor) -> Tensor:
        """Return the maps after the block."""
        found = self.first(maps)
        if self.transform is not None:
            found = self.transform(found, facts)
        return torch.relu(self.second(found) + self.shortcut(maps))


class AffineTransform(nn.Module):
    """Dynamic affine transform of feature maps by facts and the maps themselves (Pölsterl, Wolf and Wachinger 2021).

    Args:
        channels: of the maps.
        facts: number of facts.
    """

    def __init__(self, channels: int, facts: int) -> None:
        super().__init__()
        narrow = max(4, (channels + facts) // 7)
        self.network = nn.Sequential(
            nn.Linear(channels + facts, narrow, bias=False),
            nn.ReLU(),
            nn.Linear(narrow, 2 * channels, bias=False),
        )

    def forward(self, maps: Tensor, facts: Tensor) -> Tensor:
        """Return scaled and shifted maps (patients, channels, …)."""
        pooled = maps.flatten(2).mean(dim=2)
        scale, shift = self.network(torch.cat([pooled, facts], dim=1)).chunk(2, dim=1)
        ones = (1,) * (maps.dim() - 2)
        return maps * (1 + scale.reshape(*scale.shape, *ones)) + shift.reshape(*shift.shape, *ones)


class ResNet(nn.Module):
    """Residual network whose last maps are averaged.

    Args:
        dimensions: 2, or 3 for volumes.
        facts: number of facts.
        widths: channels of each stage.
        blocks: of each stage; 2 with four stages make a ResNet-18.
        pool: halve the maps after the first convolution, as ResNet-18 does.
        fusion: None; `early`: features and facts are joined before two fully connected layers (White et al. 2024);
            `daft`: facts scale and shift the maps of the last block.
    """

    def __init__(
        self,
        dimensions: int,
        facts: int,
        widths: Sequence[int],
        blocks: int,
        *,
        pool: bool = False,
        fusion: str | None = None,
    ) -> None:
        super().__init__()
        halve = nn.MaxPool2d(3, 2, 1) if pool else nn.Identity()
        self.stem = nn.Sequential(*_convolution(dimensions, 1, widths[0], stride=2), nn.ReLU(), halve)
        plan = [
            (before, after, 2 if stage and not block else 1)
            for stage, after in enumerate(widths)
            for block in range(blocks)
            for before in [after if block or not stage else widths[stage - 1]]
        ]
        last = len(plan) - 1
        self.blocks = nn.ModuleList(
            ResidualBlock(dimensions, *one, facts if fusion == "daft" and index == last else 0)
            for index, one in enumerate(plan)
        )
        self.early = fusion == "early"
        self.head: nn.Module = nn.Sequential(nn.Dropout(_DROPOUT), nn.Linear(widths[-1], 1))
        if self.early:
            self.head = nn.Sequential(
                nn.Linear(widths[-1] + facts, _HIDDEN), nn.ReLU(), nn.Dropout(_DROPOUT), nn.Linear(_HIDDEN, 1)
            )

    def forward(self, picture: Tensor, facts: Tensor) -> Tensor:
        """Return the logit of each patient, given pictures (patients, 1, …) and facts (patients, facts)."""
        maps = self.stem(picture)
        for block in self.blocks:
            maps = block(maps, facts)
        features = maps.flatten(2).mean(dim=2)
        if self.early:
            features = torch.cat([features, facts], dim=1)
        logits: Tensor = self.head(features)
        return logits[:, 0]


def _convolution(
    dimensions: int, before: int, after: int, stride: int = 1, size: int = 3
) -> tuple[nn.Module, nn.Module]:
    """Return a convolution without bias and its normalisation."""
    if dimensions == 2:
        return nn.Conv2d(before, after, size, stride, size // 2, bias=False), nn.BatchNorm2d(after)
    return nn.Conv3d(before, after, size, stride, size // 2, bias=False), nn.BatchNorm3d(after)


def _halved(size: int, times: int) -> int:
    for _ in range(times):
        size = (size + 1) // 2
    return size
