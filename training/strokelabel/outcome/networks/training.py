"""Training of a network for a binary outcome: class weights, the best epoch by patients left out, a temperature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from strokelabel.errors import DataError
from strokelabel.outcome.models import inner_folds

BuildNetwork: TypeAlias = Callable[[tuple[int, ...], int], nn.Module]
"""Makes a network from the shape of its pictures and the number of facts."""

_BATCH: Final = 32
_WEIGHT_DECAY: Final = 0.05
_SMALLEST_SD: Final = 1e-6
_TEMPERATURES: Final = (0.25, 20.0)
"""Limits: no temperature would be low enough for few patients left out whose classes are predicted without error."""
_FEWEST: Final = 16
_ROWS_AND_COLUMNS: Final = 3


@dataclass(frozen=True)
class Schedule:
    """Length and speed of a training.

    Attributes:
        epochs: passes through the training patients.
        rate: highest learning rate; it rises for a third of the training and falls again.
    """

    epochs: int = 6
    rate: float = 3e-3


@dataclass(frozen=True, eq=False)
class Standard:
    """Standardisation that training patients set: pictures minus their mean picture, facts by mean and SD.

    What is the same in all pictures, the template, cancels.

    Attributes:
        picture: mean, (rows, columns) or (z, y, x).
        spread: SD over all pixels.
        facts, fact_spread: (facts,).
    """

    picture: Tensor
    spread: float
    facts: Tensor
    fact_spread: Tensor

    @classmethod
    def fit(cls, pictures: Tensor, facts: Tensor) -> Standard:
        """Return the means and deviations of training patients."""
        mean = pictures.mean(dim=0)
        spread = float((pictures - mean).square().mean().sqrt())
        return cls(
            mean, max(spread, _SMALLEST_SD), facts.mean(dim=0), facts.std(dim=0).clamp(min=_SMALLEST_SD)
        )

    def __call__(self, pictures: Tensor, facts: Tensor) -> tuple[Tensor, Tensor]:
        """Return pictures (patients, 1, …) and facts for a network."""
        return ((pictures - self.picture) / self.spread)[:, None], (facts - self.facts) / self.fact_spread


@dataclass(frozen=True, eq=False)
class FittedNetwork:
    """A network that was trained.

    Attributes:
        network: in evaluation mode.
        standard: of its inputs.
        temperature: that logits are divided by.
    """

    network: nn.Module
    standard: Standard
    temperature: float

    def logits(self, pictures: Tensor, facts: Tensor) -> Tensor:
        """Return the logit of each patient; gradients flow to the pictures."""
        found: Tensor = self.network(*self.standard(pictures, facts)) / self.temperature
        return found

    def predict(self, pictures: NDArray[np.float32], facts: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the probability of each patient, (patients,)."""
        with torch.no_grad():
            parts = [
                torch.sigmoid(self.logits(one, two))
                for one, two in zip(
                    torch.from_numpy(pictures).split(4 * _BATCH),
                    torch.from_numpy(facts).split(4 * _BATCH),
                    strict=True,
                )
            ]
        return torch.cat(parts).numpy().astype(np.float64)


def fit_network(
    build: BuildNetwork,
    pictures: NDArray[np.float32],
    facts: NDArray[np.float32],
    positive: NDArray[np.bool_],
    schedule: Schedule,
    seed: int,
) -> FittedNetwork:
    """Train a network.

    A fifth of the patients is left out to choose the epoch and the temperature. The rarer class weighs more, so that
    both classes weigh the same.

    Args:
        build: see `BuildNetwork`.
        pictures: (patients, rows, columns) or (patients, z, y, x).
        facts: (patients, facts).
        positive: (patients,).
        schedule: of the training.
        seed: of the weights, the order of patients and who is left out.

    Raises:
        DataError: there are too few patients, or of one class only.
    """
    if len(positive) < _FEWEST or not 0 < positive.sum() < len(positive):
        raise DataError(
            f"expected at least {_FEWEST} training patients of two classes, found {len(positive)} of which "
            f"{positive.sum()} are positive; add patients"
        )
    held = inner_folds(positive.astype(np.float64), seed) == 0
    inside, outside = np.flatnonzero(~held), np.flatnonzero(held)
    images, numbers = torch.from_numpy(pictures), torch.from_numpy(facts)
    standard = Standard.fit(images[inside], numbers[inside])
    truth = torch.from_numpy(positive.astype(np.float32))
    train = (*standard(images[inside], numbers[inside]), truth[inside])
    validation = (*standard(images[outside], numbers[outside]), truth[outside])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build(tuple(pictures.shape[1:]), facts.shape[1])
        if pictures.ndim == _ROWS_AND_COLUMNS:
            network = network.to(memory_format=torch.channels_last)  # a third faster on CPUs
        logits = _train(network, train, validation, schedule)
    return FittedNetwork(network.eval(), standard, best_temperature(logits, validation[2]))


Batch: TypeAlias = tuple[Tensor, Tensor, Tensor]


def _train(network: nn.Module, train: Batch, validation: Batch, schedule: Schedule) -> Tensor:
    """Train, keep the weights of the epoch with the least loss on validation patients, and return their logits then."""
    pictures, facts, truth = train
    weight = (1 - truth).sum() / truth.sum()
    optimizer = torch.optim.AdamW(network.parameters(), schedule.rate, weight_decay=_WEIGHT_DECAY)
    batches = max(1, len(truth) // _BATCH)
    rates = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, schedule.rate, total_steps=schedule.epochs * batches
    )
    best, kept, found = float("inf"), network.state_dict(), torch.zeros_like(validation[2])
    for _ in range(schedule.epochs):
        network.train()
        for index in torch.randperm(len(truth)).tensor_split(batches):
            logits = network(pictures[index], facts[index])
            loss = F.binary_cross_entropy_with_logits(logits, truth[index], pos_weight=weight)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            rates.step()
        unseen = _validate(network, validation)
        now = float(F.binary_cross_entropy_with_logits(unseen, validation[2], pos_weight=weight))
        if now < best:
            best, found = now, unseen
            kept = {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(kept)
    return found


def _validate(network: nn.Module, validation: Batch) -> Tensor:
    network.eval()
    with torch.no_grad():
        logits: Tensor = network(validation[0], validation[1])
    return logits


def best_temperature(logits: Tensor, truth: Tensor) -> float:
    """Return the temperature with the least negative log likelihood (Guo et al. 2017), within `_TEMPERATURES`."""

    def loss(log_temperature: float) -> float:
        return float(F.binary_cross_entropy_with_logits(logits / float(np.exp(log_temperature)), truth))

    found = minimize_scalar(loss, bounds=np.log(_TEMPERATURES), method="bounded", options={"xatol": 1e-3})
    return float(np.exp(found.x))
