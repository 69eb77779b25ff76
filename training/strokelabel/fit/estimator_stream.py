"""Simulated scans with their quantitative maps as training and validation streams."""

from __future__ import annotations

from strokelabel.fit.estimator_objective import EstimatorBatch
from strokelabel.fit.synthetic_stream import stream_seed
from strokelabel.synthesis.quantitative import EstimationSample, EstimationSynthesizer

_VALIDATION_SEED = 40_000
"""First seed of the validation scans; training seeds are hashed and never this small."""


class EstimatorStream:
    """An endless stream of simulated scans.

    Args:
        synthesizer: makes the scans.
        batch_size: items per batch.
        seed: decides every scan of the stream.
    """

    def __init__(self, synthesizer: EstimationSynthesizer, batch_size: int, seed: int) -> None:
        self.synthesizer = synthesizer
        self.batch_size = batch_size
        self.seed = seed

    def batch(self, step: int) -> EstimatorBatch:
        """The batch of a step; a pure function of the step and the stream's seed."""
        first = step * self.batch_size
        seeds = [stream_seed(self.seed, first + i) for i in range(self.batch_size)]
        return _as_batch(self.synthesizer.generate(seeds))


class EstimatorValidation:
    """Simulated scans of unseen heads with unseen lesions, the same ones every time, one to a batch.

    Args:
        synthesizer: with heads and lesions that training does not see.
        count: how many.
    """

    def __init__(self, synthesizer: EstimationSynthesizer, count: int) -> None:
        self.synthesizer = synthesizer
        self.count = count

    def __len__(self) -> int:
        return self.count

    def batch(self, index: int) -> EstimatorBatch:
        """The scan at this position."""
        return _as_batch(self.synthesizer.generate([_VALIDATION_SEED + index]))


def _as_batch(sample: EstimationSample) -> EstimatorBatch:
    return EstimatorBatch(sample.image, sample.maps)
