"""A pre-trained encoder as the start of another training."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from strokelabel.errors import RecipeError
from strokelabel.fit.recipe import Recipe
from strokelabel.networks.contrastive import ContrastiveNetwork, encoder_settings
from strokelabel.networks.encoder import encoder_stages
from strokelabel.networks.unet import UNetConfig
from strokelabel.networks.weights import load_weights, network_config
from strokelabel.registry import PRETRAINING, SEGMENTATION, ModelSpec, find_model
from strokelabel.types import PathLike


def check_encoder(recipe: Recipe, weights: PathLike) -> ModelSpec:
    """Find pre-trained weights whose encoder a recipe can start from.

    Args:
        recipe: of any segmentation.
        weights: name or file, exported from a training of the task "pretraining".

    Raises:
        UnknownModelError, WeightsError: no such weights.
        RecipeError: the recipe trains no segmentation, the weights are of another task, or have other settings.
    """
    if recipe.task != SEGMENTATION or not isinstance(recipe.network, UNetConfig):
        raise RecipeError(
            f"{recipe.name}: expected a segmentation to start from an encoder, got the task {recipe.task}"
        )
    spec = find_model(weights)
    if spec.task != PRETRAINING:
        raise RecipeError(
            f"expected the weights of a pre-training, such as contrast-squared, these are for {spec.task}; "
            "use --weights to start from a whole network",
            source=spec.path,
        )
    found = network_config(spec)
    assert isinstance(found, UNetConfig)
    ours, theirs = encoder_settings(recipe.network), encoder_settings(found)
    if different := [name for name in ours if ours[name] != theirs[name]]:
        lines = "; ".join(
            f"{name}: {theirs[name]} in the weights, {ours[name]} in the recipe" for name in different
        )
        raise RecipeError(
            f"network: expected the settings of the pre-trained encoder ({lines}); copy them into the recipe, or "
            "pre-train an encoder with the recipe's",
            source=spec.path,
        )
    return spec


@dataclass(frozen=True)
class EncoderStart:
    """A pre-trained encoder that a training starts from; the decoder begins with random weights.

    Attributes:
        weights: name or file, see `check_encoder`.
        freeze: keep the encoder as it is, and train the decoder alone.
    """

    weights: PathLike
    freeze: bool = False

    def apply(self, network: nn.Module, recipe: Recipe) -> None:
        """Give the recipe's fresh network the encoder.

        Raises:
            UnknownModelError, WeightsError, RecipeError: see `check_encoder`.
        """
        pretrained, _ = load_weights(check_encoder(recipe, self.weights))
        assert isinstance(pretrained, ContrastiveNetwork)
        put_encoder(network, pretrained, freeze=self.freeze)


def put_encoder(network: nn.Module, pretrained: ContrastiveNetwork, *, freeze: bool = False) -> None:
    """Copy an encoder into a U-Net with the same settings; frozen, it gets no gradients."""
    own = nn.ModuleList(encoder_stages(network))
    own.load_state_dict(pretrained.encoder.state_dict())
    if freeze:
        own.requires_grad_(False)
