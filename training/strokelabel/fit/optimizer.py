"""The optimiser of a run."""

from __future__ import annotations

from torch import nn
from torch.optim import AdamW

from strokelabel.fit.config import TrainingConfig


def make_optimizer(network: nn.Module, config: TrainingConfig) -> AdamW:
    """AdamW; weight decay for kernels, none for biases and activation slopes, which have one axis.

    The fused form costs a third of the plain one, but cannot clip under a gradient scaler (float16).
    """
    parameters = [value for value in network.parameters() if value.requires_grad]
    groups = [
        {"params": [value for value in parameters if value.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [value for value in parameters if value.ndim <= 1], "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=config.learning_rate, fused=config.precision != "16-mixed")
