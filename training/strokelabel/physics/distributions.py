"""Distributions that acquisition parameters are drawn from, and the source of randomness that they need."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class RandomSource(Protocol):
    """Protocol of random draws; `strokelabel.synthesis.sampling.Sampler` is one."""

    def uniform(self, bounds: tuple[float, float]) -> float:
        """Draw one number from U(low, high)."""
        ...

    def normal(self, mean: float = 0.0, deviation: float = 1.0) -> float:
        """Draw one number from N(mean, deviation)."""
        ...

    def choice(self, weights: Sequence[float]) -> int:
        """Draw an index with these relative weights."""
        ...


class Distribution(ABC):
    """A distribution of one number."""

    @abstractmethod
    def draw(self, source: RandomSource) -> float:
        """Draw one number."""


@dataclass(frozen=True)
class Fixed(Distribution):
    """Always the same."""

    value: float

    def draw(self, source: RandomSource) -> float:
        """See `Distribution.draw`."""
        return self.value


@dataclass(frozen=True)
class Uniform(Distribution):
    """U(low, high)."""

    low: float
    high: float

    def draw(self, source: RandomSource) -> float:
        """See `Distribution.draw`."""
        return source.uniform((self.low, self.high))


@dataclass(frozen=True)
class LogUniform(Distribution):
    """Distribution whose logarithm is uniform from that of low to that of high."""

    low: float
    high: float

    def draw(self, source: RandomSource) -> float:
        """See `Distribution.draw`."""
        return math.exp(source.uniform((math.log(self.low), math.log(self.high))))


@dataclass(frozen=True)
class Normal(Distribution):
    """N(mean, deviation)."""

    mean: float
    deviation: float

    def draw(self, source: RandomSource) -> float:
        """See `Distribution.draw`."""
        return source.normal(self.mean, self.deviation)


@dataclass(frozen=True)
class LogNormal(Distribution):
    """Distribution whose decadic logarithm is normal, with this deviation in decades."""

    median: float
    decades: float

    def draw(self, source: RandomSource) -> float:
        """See `Distribution.draw`."""
        return self.median * 10 ** source.normal(0.0, self.decades)


@dataclass(frozen=True)
class Reflected(Distribution):
    """N(mean, deviation), mirrored at an upper limit, as the public code draws inversion efficiencies."""

    mean: float
    deviation: float
    limit: float

    def draw(self, source: RandomSource) -> float:
        """See `Distribution.draw`."""
        value = source.normal(self.mean, self.deviation)
        return value if value <= self.limit else 2 * self.limit - value
