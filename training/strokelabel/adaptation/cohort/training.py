"""Training on pseudo-labels: windows of a cohort's scans, and their loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from strokelabel.adaptation.cohort.pseudo_labels import IGNORED, LabelledScan
from strokelabel.adaptation.windows import corner_about, window
from strokelabel.errors import DataError
from strokelabel.inference.engine import window_shape


@dataclass(frozen=True)
class PseudoBatch:
    """A window of a scan.

    Attributes:
        image: (1, 1, x, y, z) float32.
        target: (1, x, y, z) int64, class of each voxel, or `IGNORED`.
        weights: (classes,) of the classes in the loss.
    """

    image: Tensor
    target: Tensor
    weights: Tensor

    def to(self, device: torch.device) -> Self:
        """Move the batch to a device."""
        return replace(
            self,
            image=self.image.to(device),
            target=self.target.to(device),
            weights=self.weights.to(device),
        )


def class_weights(target: Tensor, classes: int) -> Tensor:
    """Return the weight of each class in the loss: one over the square root of its frequency.

    By the frequency itself, a lesion of 1 ml would weigh some thousand times as much as the air around the head, and
    grow without bound.

    Args:
        target: classes, or `IGNORED`.
        classes: how many there are.

    Returns:
        (classes,) float32; 0 for a class without voxels.
    """
    counts = torch.bincount(target[target != IGNORED].long().flatten(), minlength=classes).float()
    weights = (counts.sum() / counts.clamp_min(1)).sqrt()
    return torch.where(counts > 0, weights, 0.0)


class PseudoStream:
    """Windows of scans: each scan once in every round, in a random order.

    A window is about a random voxel of the brain that is kept, every second time of the lesion where there is one.

    Args:
        paths: of `LabelledScan.write`, at least one.
        classes: of the model.
        lesion: index of the lesion among them.
        multiple: divisor of the sides of what the network takes.
        max_voxels: of a window.
        seed: decides scans and windows.
    """

    def __init__(
        self, paths: Sequence[Path], classes: int, lesion: int, multiple: int, max_voxels: int, seed: int
    ) -> None:
        self._paths, self._classes, self._lesion = list(paths), classes, lesion
        self._multiple, self._max_voxels, self._seed = multiple, max_voxels, seed

    def batch(self, step: int) -> PseudoBatch:
        """Return the window of a step, a pure function of it.

        Raises:
            DataError: a file of the cohort is gone or damaged.
        """
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + step)
        path = self._paths[self._place(step)]
        scan = LabelledScan.read(path)
        if scan is None:
            raise DataError("expected the pseudo-labels of a scan; run the same command again", source=path)
        box = scan.target.shape
        shape = window_shape(tuple(box), self._multiple, self._max_voxels)
        part = window(corner_about(self._middle(scan.target, step, generator), shape, box), shape)
        target = scan.target[part].long()[None]
        return PseudoBatch(scan.item[(..., *part)][None], target, class_weights(scan.target, self._classes))

    def _place(self, step: int) -> int:
        """Return the number of the scan of a step."""
        turn, place = divmod(step, len(self._paths))
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + turn)
        return int(torch.randperm(len(self._paths), generator=generator)[place])

    def _middle(self, target: Tensor, step: int, generator: torch.Generator) -> list[int]:
        """Return the voxel that a window is about."""
        turn = step // len(self._paths)
        kept = target != IGNORED
        for wanted in (
            target == self._lesion if turn % 2 else kept & (target > 0),
            kept & (target > 0),
            kept,
        ):
            voxels = wanted.nonzero()
            if len(voxels):
                chosen = torch.randint(len(voxels), (), generator=generator)
                return [int(index) for index in voxels[chosen]]
        raise ValueError("expected a scan of which something is kept")


class PseudoObjective:
    """Cross-entropy of the kept voxels, weighted by class.

    Args:
        temperature: of the model; the logits are divided by it, as they are in a prediction.
    """

    score_names = ("loss",)
    metric = "loss"
    metric_label = "cross-entropy"

    def __init__(self, temperature: float) -> None:
        self._temperature = temperature

    def to(self, device: torch.device) -> Self:
        """Return the objective itself: it has no constants on a device."""
        return self

    def loss(self, output: Tensor, batch: PseudoBatch, step: int) -> Tensor:
        """Return the weighted mean over the kept voxels; 0 where nothing is kept."""
        logits = output.float() / self._temperature
        total = F.cross_entropy(
            logits, batch.target, weight=batch.weights, ignore_index=IGNORED, reduction="sum"
        )
        known = batch.target[batch.target != IGNORED]
        return total / batch.weights[known].sum().clamp_min(1e-6)

    def loss_phase(self, step: int) -> int:
        """Return 0: the loss is the same in all steps."""
        return 0

    def item_scores(self, output: Tensor, batch: PseudoBatch) -> dict[str, Tensor]:
        """Return the loss of a batch."""
        return {"loss": self.loss(output, batch, 0)[None]}

    def summarize(self, scores: dict[str, Tensor]) -> dict[str, float]:
        """Return the mean loss."""
        return {"loss": scores["loss"].mean().item()}
