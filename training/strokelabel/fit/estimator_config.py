"""Settings of an estimator's training that other recipes do not have."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from strokelabel.fit.estimator_loss import EstimatorLoss
from strokelabel.fit.estimator_objective import EstimatorObjective
from strokelabel.fit.perceptual import SegmenterFeatures
from strokelabel.synthesis.quantitative_config import MprageConfig


class EstimationConfig(BaseModel):
    """The loss, and how scans are simulated from maps.

    Attributes:
        mse_steps: optimiser steps with the mean squared error alone.
        perceptual_weight: of the perceptual part of the loss after that; 0 leaves it out.
        perceptual_model: the segmentation model whose encoder it looks with.
        mprage: acquisition parameters of the simulated scans.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mse_steps: int = Field(default=20_000, ge=0)
    perceptual_weight: float = Field(default=0.1, ge=0, allow_inf_nan=False)
    perceptual_model: str = "base"
    mprage: MprageConfig = MprageConfig()

    def objective(self) -> EstimatorObjective:
        """The objective of these settings.

        Raises:
            UnknownModelError, WeightsError: the perceptual model is not there, or is no segmentation U-Net.
        """
        features = SegmenterFeatures.from_model(self.perceptual_model) if self.perceptual_weight else None
        return EstimatorObjective(EstimatorLoss(self.mse_steps, self.perceptual_weight, features))
