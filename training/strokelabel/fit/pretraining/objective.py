"""Objective of pre-training: views of a subject alike, other subjects different, and the image reconstructed."""

from __future__ import annotations

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from strokelabel.fit.pretraining.config import PretrainingConfig
from strokelabel.fit.pretraining.views import VIEWS, PairBatch
from strokelabel.networks.contrastive import Representation


def nt_xent(projections: Tensor, temperature: float) -> Tensor:
    """Return the normalised temperature-scaled cross-entropy of each pair (Chen et al. 2020, SimCLR).

    Args:
        projections: (2 * pairs, features), the first views of all subjects, then the second ones.
        temperature: that cosine similarities are divided by.

    Returns:
        (pairs,) mean over the two directions: of all other views in the batch, is it the subject's?
    """
    unit = F.normalize(projections, dim=1)
    similarity = unit @ unit.T / temperature
    similarity = similarity.masked_fill(
        torch.eye(len(unit), dtype=torch.bool, device=unit.device), -torch.inf
    )
    partner = torch.arange(len(unit), device=unit.device).roll(len(unit) // VIEWS)
    return F.cross_entropy(similarity, partner, reduction="none").view(VIEWS, -1).mean(dim=0)


def barlow_twins(projections: Tensor, redundancy_weight: float) -> Tensor:
    """Return the loss of Barlow twins (Zbontar et al. 2021) divided by the number of features, for each pair.

    Args:
        projections: as for `nt_xent`.
        redundancy_weight: of the correlations between different features.

    Returns:
        (pairs,) the same value for each, since it is a property of the batch.
    """
    first, second = projections.chunk(VIEWS)
    deviation = [view.std(dim=0, unbiased=False).clamp_min(1e-5) for view in (first, second)]
    first, second = (
        (view - view.mean(dim=0)) / own for view, own in zip((first, second), deviation, strict=True)
    )
    correlation = first.T @ second / len(first)
    diagonal = correlation.diagonal()
    redundant = correlation.square().sum() - diagonal.square().sum()
    loss = ((1 - diagonal).square().sum() + redundancy_weight * redundant) / len(diagonal)
    return loss.expand(len(first))


def retrieved(projections: Tensor) -> Tensor:
    """Return whether the nearest second view of each first one is of the same subject: (pairs,) of 0 and 1."""
    first, second = F.normalize(projections, dim=1).chunk(VIEWS)
    nearest = (first @ second.T).argmax(dim=1)
    return (nearest == torch.arange(len(first), device=first.device)).float()


class PretrainingObjective:
    """Contrastive loss plus reconstruction; the best checkpoint is the one with the lowest loss in validation.

    A contrastive loss compares within a batch: accumulated batches have no more subjects to compare with than one.
    `retrieval` is the share of first views whose nearest second view, among those of the batch, is of their subject.

    Args:
        config: which loss, and the weights of its parts.
    """

    score_names = ("loss", "contrastive", "reconstruction", "retrieval")
    metric = "loss"
    metric_label = "loss of pre-training"

    def __init__(self, config: PretrainingConfig) -> None:
        self._config = config

    def to(self, device: torch.device) -> Self:
        """Return the objective, which has nothing to move."""
        return self

    def loss(self, output: Representation, batch: PairBatch, step: int) -> Tensor:
        """Return the mean loss of the pairs."""
        return self._parts(output, batch)["loss"].mean()

    def loss_phase(self, step: int) -> int:
        """Return 0: the loss is the same at every step."""
        return 0

    def item_scores(self, output: Representation, batch: PairBatch) -> dict[str, Tensor]:
        """Return the loss of each pair, its two parts, and whether it was retrieved."""
        return self._parts(output, batch) | {"retrieval": retrieved(output.projection.float())}

    def summarize(self, scores: dict[str, Tensor]) -> dict[str, float]:
        """Return the mean of each score over the pairs."""
        return {name: scores[name].mean().item() for name in self.score_names}

    def _parts(self, output: Representation, batch: PairBatch) -> dict[str, Tensor]:
        config = self._config
        with torch.autocast(output.projection.device.type, enabled=False):
            projections = output.projection.float()
            if config.contrastive == "nt-xent":
                contrastive = nt_xent(projections, config.temperature)
            else:
                contrastive = barlow_twins(projections, config.redundancy_weight)
            errors = (output.reconstruction.float() - batch.target).abs().mean(dim=(1, 2, 3, 4))
            reconstruction = errors.view(VIEWS, -1).mean(dim=0)
            loss = contrastive + config.reconstruction_weight * reconstruction
        return {"loss": loss, "contrastive": contrastive, "reconstruction": reconstruction}
