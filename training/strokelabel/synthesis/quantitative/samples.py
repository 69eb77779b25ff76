"""Training samples of an estimator of quantitative maps: simulated MPRAGE scans with their maps.

Chalcroft et al. 2025 (qATLAS), section 2.1, without their 51 measured subjects: maps are drawn from the tissue priors
on our label maps, lesions included: a network learns tissue values and contrast from them, not the texture of a brain.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import torch
from monai.transforms import GibbsNoise
from monai.utils import convert_to_tensor
from torch import Tensor

from strokelabel.errors import DataError
from strokelabel.networks.estimator import ESTIMATED_MAPS
from strokelabel.physics.maps import MAP_NAMES
from strokelabel.physics.mprage import Mprage
from strokelabel.physics.presets import draw_acquisition
from strokelabel.synthesis.contrast.tissue_properties import with_acquisition
from strokelabel.synthesis.generator import SampleParameters, Synthesizer
from strokelabel.synthesis.quantitative.scan import MprageConfig
from strokelabel.synthesis.record import to_json
from strokelabel.synthesis.sampling import Sampler

TARGET_LIMITS: dict[str, float] = {"pd": 120.0, "r1": 2.0, "r2_star": 100.0, "mt": 5.0}
"""Greatest values of the maps to be learned. The paper clips maps at their own percentiles; fixed limits do not depend
on how much bone and fat, whose rates are far above any in the brain, a field of view holds."""

_VISIBLE_PD = 5.0
"""Proton density below which all maps are zero, as no signal is visible."""

_SEED_OFFSET = 2**60
"""Acquisitions are drawn from a generator of their own, so that the anatomy of a seed stays what it is elsewhere."""


@dataclass(frozen=True)
class EstimationParameters:
    """Parameters of one scan and its maps.

    Attributes:
        sample: anatomy, quantitative values, acquisition and artefacts.
        truncation: share of k-space lost to Gibbs ringing, from 0 to 1.
    """

    sample: SampleParameters
    truncation: float

    def to_json(self) -> str:
        """Return the parameters as JSON; see `strokelabel.synthesis.record`."""
        return json.dumps({"sample": json.loads(to_json(self.sample)), "truncation": self.truncation})


@dataclass(frozen=True)
class EstimationSample:
    """Scans and the maps behind them.

    Attributes:
        image: (batch, 1, x, y, z) float32, z-scored.
        maps: (batch, 4, x, y, z) float32, in the order of `ESTIMATED_MAPS`; zero in the air and where the skull was
            stripped away.
        classes: (batch, x, y, z) uint8 `TissueClass`.
        parameters: what each was made from.
    """

    image: Tensor
    maps: Tensor
    classes: Tensor
    parameters: tuple[EstimationParameters, ...]


class EstimationSynthesizer:
    """Simulator of MPRAGE scans with their maps.

    Args:
        synthesizer: draws anatomy and quantitative values; its contrast must be that of the physics.
        config: how the scans are acquired.

    Raises:
        DataError: the synthesizer draws intensities, not quantitative values.
    """

    def __init__(self, synthesizer: Synthesizer, config: MprageConfig) -> None:
        if synthesizer.config.contrast.model != "physics":
            raise DataError(
                f"expected quantitative contrast for simulated scans, got {synthesizer.config.contrast.model!r}; "
                "set synthesis.contrast.model to physics"
            )
        self.synthesizer = synthesizer
        self.config = config

    def sample(self, seed: int) -> EstimationParameters:
        """Draw the parameters of one scan; the same seed gives the same parameters."""
        sample = self.synthesizer.sample(seed)
        sampler, config = Sampler(seed + _SEED_OFFSET), self.config
        acquisition = draw_acquisition(sampler, config.protocol())
        assert isinstance(acquisition, Mprage)
        contrast = with_acquisition(sample.contrast, self.synthesizer.table, "estimation/mprage", acquisition)
        truncation = sampler.uniform(config.gibbs) if sampler.flip(config.gibbs_probability) else 0.0
        return EstimationParameters(replace(sample, contrast=contrast), truncation)

    @torch.no_grad()
    def apply(self, parameters: list[EstimationParameters]) -> EstimationSample:
        """Compute the scans that these parameters describe, in one batch."""
        batch = self.synthesizer.apply([p.sample for p in parameters], keep_features=True)
        assert batch.features is not None
        return EstimationSample(
            image=_truncate(batch.image, [p.truncation for p in parameters]),
            maps=target_maps(batch.features),
            classes=batch.target,
            parameters=tuple(parameters),
        )

    def generate(self, seeds: list[int]) -> EstimationSample:
        """Draw and compute one scan per seed."""
        return self.apply([self.sample(seed) for seed in seeds])


def target_maps(features: Tensor) -> Tensor:
    """Return the maps that can be learned from an MPRAGE.

    Args:
        features: (batch, 5, x, y, z) in the order of `physics.maps.MAP_NAMES`.

    Returns:
        (batch, 4, x, y, z) in the order of `ESTIMATED_MAPS`, within `TARGET_LIMITS`, zero where nothing is visible.
    """
    limits = torch.tensor([TARGET_LIMITS[name] for name in ESTIMATED_MAPS], device=features.device)
    chosen = features[:, [MAP_NAMES.index(name) for name in ESTIMATED_MAPS]]
    visible = features[:, :1] >= _VISIBLE_PD
    return torch.minimum(chosen, limits.view(1, -1, 1, 1, 1)) * visible


def _truncate(images: Tensor, shares: list[float]) -> Tensor:
    """Add Gibbs ringing: each image without the outer part of its k-space. Shapes (batch, 1, x, y, z)."""
    items = [
        convert_to_tensor(GibbsNoise(share)(image)).to(image) if share > 0 else image
        for image, share in zip(images, shares, strict=True)
    ]
    return torch.stack(items)
