"""Correction of label maps: its objective, and streams of maps that a parcellation predicts, with the true ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from strokelabel.errors import RecipeError
from strokelabel.fit.config import PredictionsConfig
from strokelabel.fit.data.stream import Batch
from strokelabel.fit.data.synthetic_streams import stream_seed
from strokelabel.fit.segmentation import SegmentationObjective, foreground_dice
from strokelabel.networks.denoiser import group_maps
from strokelabel.networks.weights import load_weights
from strokelabel.registry import PARCELLATION
from strokelabel.structures import TISSUE_GROUPS, group_classes, structures_of
from strokelabel.synthesis.generator import Synthesizer
from strokelabel.synthesis.sampling import Sampler

_VALIDATION_SEED = 80_000
"""First seed of the validation; training seeds are hashed and never this small."""

_LEVELS = 255
"""Steps of the maps that are kept in memory, a byte for each voxel and group."""


class DenoisingObjective(SegmentationObjective):
    """Soft Dice plus cross-entropy; validation compares what the network was given with what it makes of it.

    Of each label map, `dice` is the mean Dice over the foreground classes. `dice_gain` is the mean difference that the
    network makes to the maps with errors, and `dice_loss` what it takes from those without.
    """

    score_names = ("loss", "dice_mean", "dice_gain", "dice_loss")
    metric = "dice_mean"

    @property
    def metric_label(self) -> str:
        """Metric that chooses the best checkpoint."""
        return "mean Dice"

    def item_scores(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return the loss of each item, and the Dice of what was given and of what came out."""
        given, found = (
            foreground_dice(maps.argmax(dim=1), batch.target, self.classes)
            for maps in (batch.image[:, : self.classes], output)
        )
        loss = self._loss.per_item(output, batch.target, batch.partial)
        return {"loss": loss, "dice": found, "given_dice": given}

    def summarize(self, scores: dict[str, Tensor]) -> dict[str, float]:
        """Return the means over the items; a difference is zero where there are no such items."""
        gain = scores["dice"] - scores["given_dice"]
        correct = scores["given_dice"] >= 1
        return {
            "loss": scores["loss"].mean().item(),
            "dice_mean": scores["dice"].mean().item(),
            "dice_gain": _mean(gain[~correct]),
            "dice_loss": _mean(-gain[correct]),
        }


def _mean(values: Tensor) -> float:
    return values.mean().item() if len(values) else float(torch.zeros(()))


@dataclass(frozen=True)
class PredictedItem:
    """An image with maps, as it is kept in memory.

    Attributes:
        image: (1, x, y, z) float16, normalised.
        maps: (groups, x, y, z) uint8, predicted, from 0 to 255.
        target: (x, y, z) uint8, the true group.
    """

    image: Tensor
    maps: Tensor
    target: Tensor

    def mirrored(self) -> PredictedItem:
        """Return the image with its maps, mirrored from left to right; groups have no sides."""
        return PredictedItem(self.image.flip(1), self.maps.flip(1), self.target.flip(0))


class PredictedMaps:
    """Maker of synthetic images with maps of tissue groups: those that a parcellation predicts, and the true ones.

    Args:
        synthesizer: makes the images, and their true parcellations in the structures of SynthSeg.
        config: which parcellation.

    Raises:
        RecipeError: the images are not labelled with structures, or not of the parcellation's voxel size.
        UnknownModelError, WeightsError: there is no such parcellation.
        LabelMapError: its structures are not SynthSeg's.
    """

    def __init__(self, synthesizer: Synthesizer, config: PredictionsConfig) -> None:
        network, spec = load_weights(config.model)
        if synthesizer.parcellation is None or spec.task != PARCELLATION:
            raise RecipeError("predictions: expected `target: parcellation`, and a model that parcellates")
        if spec.spacing_mm != synthesizer.config.spacing_mm:
            raise RecipeError(
                f"synthesis.spacing_mm: expected that of the model {spec.name!r}, {spec.spacing_mm:g}, got "
                f"{synthesizer.config.spacing_mm:g}"
            )
        self._synthesizer, self._network, self._temperature = synthesizer, network, spec.temperature
        self._predicted = torch.tensor(group_classes(structures_of(spec.class_ids), TISSUE_GROUPS))
        self._true = torch.tensor(group_classes(synthesizer.parcellation.structures, TISSUE_GROUPS))

    @torch.inference_mode()
    def make(self, seed: int) -> PredictedItem:
        """Return one image with its maps."""
        made = self._synthesizer.generate([seed])
        image = made.image.cpu()
        probabilities = torch.softmax(self._network(image) / self._temperature, dim=1)[0]
        maps = _LEVELS * group_maps(probabilities, self._predicted, 1 + len(TISSUE_GROUPS))
        true = self._true[made.target[0].cpu().long()]
        return PredictedItem(image[0].half(), maps.round().to(torch.uint8), true.to(torch.uint8))


class PredictedMapsStream:
    """An endless stream of predicted maps with the true ones.

    Images are made in the first round and kept in memory; in each later round, a random half of them is mirrored.

    Args:
        maker: makes the images.
        images: how many.
        batch_size: images per batch.
        seed: decides every item of the stream.
    """

    def __init__(self, maker: PredictedMaps, images: int, batch_size: int, seed: int) -> None:
        self._maker, self._images, self._batch_size, self._seed = maker, images, batch_size, seed
        self._kept: dict[int, PredictedItem] = {}

    def batch(self, step: int) -> Batch:
        """Return the batch of a step; a pure function of the step and the stream's seed."""
        first = step * self._batch_size
        return _as_batch([self._item(index) for index in range(first, first + self._batch_size)])

    def _item(self, index: int) -> PredictedItem:
        turn, number = divmod(index, self._images)
        if number not in self._kept:
            self._kept[number] = self._maker.make(stream_seed(self._seed, number))
        item, sampler = self._kept[number], Sampler(stream_seed(self._seed, index, "mirrored"))
        return item.mirrored() if turn and sampler.flip(0.5) else item


class PredictedMapsValidation:
    """Predicted maps of unseen heads, the same ones every time, one to a batch.

    Args:
        maker: with heads and lesions that training does not see.
        count: how many.
    """

    def __init__(self, maker: PredictedMaps, count: int) -> None:
        self._maker, self._count = maker, count
        self._kept: dict[int, PredictedItem] = {}

    def __len__(self) -> int:
        return self._count

    def batch(self, index: int) -> Batch:
        """Return the image at this position."""
        if index not in self._kept:
            self._kept[index] = self._maker.make(_VALIDATION_SEED + index)
        return _as_batch([self._kept[index]])


def _as_batch(items: Sequence[PredictedItem]) -> Batch:
    """Return items as a batch: the maps, summing to one in each voxel, then the image."""
    maps = torch.stack([one.maps for one in items]).float()
    maps /= maps.sum(dim=1, keepdim=True)
    shown = torch.cat([maps, torch.stack([one.image for one in items]).float()], dim=1)
    target = torch.stack([one.target for one in items])
    return Batch(shown, target, torch.zeros(len(items), dtype=torch.bool))
