"""Options of fine-tuning, and the result of a session."""

from __future__ import annotations

import math
from typing import Any, Literal, TypeAlias

import torch
from pydantic import BaseModel, ConfigDict, Field

from strokelabel.fit.config import Precision, TrainingConfig
from strokelabel.fit.data.annotated_scans.scans import RealAugmentationConfig
from strokelabel.fit.fine_tuning.versions import MARGIN, Decision
from strokelabel.fit.loop.devices import fastest_precision

Frozen: TypeAlias = Literal["none", "encoder"]
"""Part of the network that keeps its weights."""


class FineTuneOptions(BaseModel):
    """Options of a fine-tuning session.

    Attributes:
        epochs: how often each submitted scan is seen; counts where `steps` is 0.
        steps: optimiser steps; 0 for as many as the epochs need.
        learning_rate: highest learning rate; a tenth of the paper's code's, since the network knows its task already.
        freeze: "encoder" trains the decoder alone: faster, and less is forgotten.
        validation_fraction: of the subjects, held out to judge new weights by.
        synthetic_fraction: of the training items that are synthetic, so that other contrasts are not forgotten.
        paste_lesions: put the submitted lesions into synthetic heads too. Image and label fit each other there by
            construction, whatever the annotator's border (Chalcroft et al. 2025, section 2.2).
        batch_size: items per step.
        augmentation: random changes of submitted scans: milder than the paper's, whose gamma of up to 4.5 would hide
            the contrast that is to be learnt.
        max_minutes: stop after this long and judge what there is; None for no limit.
        margin: lesion Dice that new weights may lose on the synthetic benchmark.
        benchmark_per_family: volumes of the benchmark for each of its six contrasts.
        validations: how often a session is validated; the best of these checkpoints is kept.
        precision: arithmetic of the network; "auto" is "bf16-mixed" on CPUs and GPUs with instructions for
            bfloat16, which halves the time, and "32-true" on others.
        threads: CPU threads; None leaves torch's own choice.
        seed: of order, augmentation and synthetic images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=20, ge=1)
    steps: int = Field(default=0, ge=0)
    learning_rate: float = Field(default=1e-4, gt=0, allow_inf_nan=False)
    freeze: Frozen = "none"
    validation_fraction: float = Field(default=0.2, ge=0, lt=1)
    synthetic_fraction: float = Field(default=0.5, ge=0, lt=1)
    paste_lesions: bool = True
    batch_size: int = Field(default=1, ge=1)
    augmentation: RealAugmentationConfig = RealAugmentationConfig(probability=0.5, gamma=(0.7, 1.5))
    max_minutes: float | None = Field(default=None, gt=0)
    margin: float = Field(default=MARGIN, ge=0, le=1)
    benchmark_per_family: int = Field(default=2, ge=1)
    validations: int = Field(default=8, ge=1)
    precision: Precision | Literal["auto"] = "auto"
    threads: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)

    def total_steps(self, scans: int, synthetic_fraction: float, processes: int = 1) -> int:
        """Return the optimiser steps of a session with so many submitted scans to train on, `batch_size` in each
        process.
        """
        if self.steps:
            return self.steps
        return math.ceil(self.epochs * scans / (processes * self.batch_size * (1 - synthetic_fraction)))

    def training(self, steps: int, lesion_weight: float, device: torch.device) -> TrainingConfig:
        """Return the training settings of a session.

        Args:
            steps: of the schedule.
            lesion_weight: of the recipe that the model was trained with.
            device: where it trains.
        """
        every = max(1, math.ceil(steps / self.validations))
        return TrainingConfig(
            steps=steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            warmup_steps=min(10, steps // 10),
            lesion_weight=lesion_weight,
            ema_decay=0.99,
            validate_every=every,
            checkpoint_every=every,
            checkpoint_minutes=1.0,
            keep_last=2,
            precision=fastest_precision(device) if self.precision == "auto" else self.precision,
            threads=self.threads,
            seed=self.seed,
            max_minutes=self.max_minutes,
        )


class FineTuneResult(BaseModel):
    """Outcome of a session.

    Attributes:
        session: the same labels, options and starting weights have the same.
        stopped_by: why training ended, see `fit.loop.StopReason`.
        judged: whether new weights were made and compared; a session that was stopped on request is resumed instead,
            the next time.
        steps: optimiser steps done.
        total_steps: of the schedule.
        seconds: training time.
        version: name of the new version; None if it was not judged.
        active: name of the version that is active now.
        decision: what was decided, by which numbers.
        share: how much of the way from the weights that it began with to those that training ended with was kept.
        train: names of the scans that were trained on.
        validation: names of those held out.
        refused: name → why a submitted label was left out.
        pasted: how many submitted lesions went into synthetic heads.
        synthetic_fraction: of the training items.
        benchmark: what its numbers are comparable with; None where there was none.
        repeated: whether this is the recorded result of an earlier, equal session.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    session: str
    stopped_by: str
    judged: bool
    steps: int
    total_steps: int
    seconds: float
    version: str | None
    active: str
    decision: Decision | None
    train: tuple[str, ...]
    validation: tuple[str, ...]
    refused: dict[str, str]
    pasted: int
    synthetic_fraction: float
    benchmark: dict[str, Any] | None
    repeated: bool = False
    share: float = 1.0

    def __str__(self) -> str:
        if self.decision is None:
            return f"stopped after {self.steps} of {self.total_steps} steps; the next start resumes there"
        if self.repeated:
            return f"these labels and options gave version {self.version} before; {self.active} is active"
        part = f" with {self.share:.0%} of what training changed" if self.share < 1 else ""
        verdict = f"activated{part}" if self.decision.activate else f"not activated, {self.active} stays"
        return f"version {self.version} {verdict}: " + "; ".join(self.decision.reasons)
