"""Settings of a training run: the parts of a recipe that are not about images."""

from __future__ import annotations

from typing import Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from strokelabel.fit.estimation import EstimatorLoss, EstimatorObjective, SegmenterFeatures
from strokelabel.synthesis.quantitative.scan import MprageConfig

Precision: TypeAlias = Literal["32-true", "bf16-mixed", "16-mixed"]
"""Arithmetic of a network: float32, or mixed with one of two 16-bit formats."""


class TrainingConfig(BaseModel):
    """Settings of a training; `steps` are optimiser steps.

    Defaults are the paper's (Chalcroft et al. 2025, section 3.3) except for the learning rate, where the
    public code's value is ten times the paper's and suits short runs.

    Attributes:
        steps: length of the learning-rate schedule, and of the run unless it is stopped before.
        batch_size: items per batch; a batch stream is built with it.
        accumulate: batches whose gradients are averaged before each optimiser step.
        learning_rate: highest learning rate of AdamW.
        weight_decay: decoupled weight decay of the kernels; biases and activation slopes have none.
        clip_norm: gradients are scaled down to this L2 norm; 0 leaves them alone.
        largest_norm: a step whose gradients have a larger L2 norm is left out, as is one without finite gradients; 0
            for no limit. Now and then bfloat16 convolutions of oneDNN return garbage. Not with the precision
            16-mixed, where the gradient scaler judges.
        schedule: course of the rate; "polynomial" as `decay_power` says, "cosine" as `constant_fraction` and
            `final_fraction` say.
        schedule_minutes: length of the schedule in training time, earlier runs included; it ends then, or after `steps`
            if that is sooner, and so does the run. None for a schedule of steps, which alone makes the same run twice.
        decay_power: the rate falls as (1 - step / steps) to this power.
        constant_fraction: share of the steps before a cosine begins to fall.
        final_fraction: of the highest rate, below which a cosine does not fall.
        warmup_steps: steps over which the rate first rises linearly from zero.
        lesion_weight: weight of the lesion class in the loss, relative to the others.
        l2_warmup_steps: steps at the start that pull logits to ±5 instead of the loss proper; see
            `strokelabel.fit.segmentation.logit_distance`.
        ema_decay: decay per step of the moving average of the weights, which is what is validated and
            exported; 0 turns it off.
        precision: arithmetic of the network; the loss is always computed in float32.
        tf32: on NVIDIA GPUs, let float32 products round their inputs to 10 bits of mantissa, as their tensor
            cores do; sums stay float32.
        channels_last: keep channels innermost in memory, which is faster on most CPUs and GPUs.
        compile: generate fused kernels with torch.compile; needs a C++ compiler. On one CPU core it saves a
            quarter of the time without dropout, and costs a quarter with it.
        cuda_graphs: on an NVIDIA GPU, record forward and backward pass once for each shape of batches and replay the
            record, which costs the interpreter next to nothing; on a CPU nothing changes.
        generators: processes that make synthetic images on the CPU, a core each; 0 lets the trainer make them itself.
            The images do not depend on how many there are.
        gpu_generators: processes that make synthetic images on the GPU where the network is trained, besides. Their
            noise is not that of a CPU's.
        threads: CPU threads for torch; None leaves torch's own choice.
        seed: decides dropout, and by convention the initial weights.
        validate_every: steps between validations; 0 for never.
        early_stopping_patience: stop after this many validations in a row without a better one; 0 for never.
        checkpoint_every: steps between checkpoints; 0 for by time only.
        checkpoint_minutes: minutes between checkpoints, in addition; 0 for by steps only.
        keep_last: checkpoints kept; two at least, so that there is one to fall back on.
        mlflow: folder of a local MLflow file store that the record is logged to as well; None for no such log.
        max_minutes: stop cleanly, with a checkpoint, after this long; the schedule is left as it is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(ge=1)
    batch_size: int = Field(default=1, ge=1)
    accumulate: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    weight_decay: float = Field(default=0.01, ge=0, allow_inf_nan=False)
    clip_norm: float = Field(default=12.0, ge=0, allow_inf_nan=False)
    largest_norm: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    schedule: Literal["polynomial", "cosine"] = "polynomial"
    schedule_minutes: float | None = Field(default=None, gt=0)
    decay_power: float = Field(default=0.9, ge=0, allow_inf_nan=False)
    constant_fraction: float = Field(default=0.3, ge=0, lt=1)
    final_fraction: float = Field(default=0.01, ge=0, le=1)
    warmup_steps: int = Field(default=0, ge=0)
    lesion_weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    l2_warmup_steps: int = Field(default=0, ge=0)
    ema_decay: float = Field(default=0.999, ge=0, lt=1)
    precision: Precision = "32-true"
    tf32: bool = True
    channels_last: bool = False
    compile: bool = False
    cuda_graphs: bool = False
    generators: int = Field(default=0, ge=0)
    gpu_generators: int = Field(default=0, ge=0)
    threads: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)
    validate_every: int = Field(default=1000, ge=0)
    early_stopping_patience: int = Field(default=0, ge=0)
    checkpoint_every: int = Field(default=1000, ge=0)
    checkpoint_minutes: float = Field(default=10.0, ge=0)
    keep_last: int = Field(default=3, ge=2)
    mlflow: str | None = None
    max_minutes: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _graphs_are_possible(self) -> Self:
        """Refuse a recording of what changes from step to step."""
        if self.cuda_graphs and self.precision == "16-mixed":
            raise ValueError("cuda_graphs: expected the precision bf16-mixed or 32-true, got 16-mixed")
        return self

    @model_validator(mode="after")
    def _scaler_judges_alone(self) -> Self:
        """Refuse a limit that would be looked at after the gradient scaler has decided."""
        if self.largest_norm and self.precision == "16-mixed":
            raise ValueError(
                f"largest_norm: expected 0 with the precision 16-mixed, got {self.largest_norm:g}"
            )
        return self


class MapsConfig(BaseModel):
    """Heads whose contrast comes from quantitative volumes.

    Attributes:
        folder: of maps, written by `strokelabel estimate` or measured; None for maps simulated from the prepared label
            maps, which stand in where there are no scans.
        simulated_per_brain: simulated subjects for each label map of the training part.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str | None = None
    simulated_per_brain: int = Field(default=4, ge=1)


class EstimationConfig(BaseModel):
    """Settings of the loss, and of the simulation of scans from maps.

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
        """Return the objective of these settings.

        Raises:
            UnknownModelError, WeightsError: the perceptual model is not there, or is no segmentation U-Net.
        """
        features = SegmenterFeatures.from_model(self.perceptual_model) if self.perceptual_weight else None
        return EstimatorObjective(EstimatorLoss(self.mse_steps, self.perceptual_weight, features))


class PredictionsConfig(BaseModel):
    """Maps that a denoiser learns to correct: what a parcellation predicts on the recipe's images.

    Attributes:
        model: the parcellation, a name or a file.
        images: how many are made; they are kept in memory with their maps, 8 bytes a voxel.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = "synthseg"
    images: int = Field(default=240, ge=1)


class StructureRow(BaseModel):
    """Structure of a parcellation that is not SynthSeg's; see `strokelabel.structures.read_structure_table`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    index: int
    name: str
    side: Literal["left", "right", "midline"] = "midline"
    mirror: int = -1
    color: str = ""
