"""Trainings from a pre-trained encoder, and from random weights: tissues, lesions, and denoising.

All of them see the same synthetic images of the training's brains, or a part of these, and are scored on the same
images of unseen brains and lesions. Images are not those of the pre-training: their contrast is SynthStroke's, random
and clinical.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import pandas as pd
import torch
from torch import Tensor, nn

from strokelabel.fit.config import TrainingConfig
from strokelabel.fit.data.recipe_streams import make_synthesizer
from strokelabel.fit.data.stream import Batch
from strokelabel.fit.data.synthetic_streams import stream_seed
from strokelabel.fit.loop.training_loop import train
from strokelabel.fit.pretraining.encoder import put_encoder
from strokelabel.fit.recipe import Recipe, load_recipe
from strokelabel.fit.segmentation import SegmentationObjective, class_dice, mask_dice
from strokelabel.io.atomic import atomic_write_text
from strokelabel.labels import TissueClass
from strokelabel.networks.contrastive import ContrastiveConfig, ContrastiveNetwork
from strokelabel.networks.unet import build_network
from strokelabel.networks.weights import load_weights, network_config
from strokelabel.registry import read_spec
from strokelabel.synthesis.benchmark import make_case, validation_cases, validation_config
from strokelabel.synthesis.prepared.dataset import PreparedData

TISSUES, LESION, DENOISING = "tissues", "lesion", "denoising"

_OUT_CHANNELS = {TISSUES: int(TissueClass.CSF) + 1, LESION: 2, DENOISING: 1}
_IMAGE_SEED = 95_000


@dataclass(frozen=True)
class Images:
    """Volumes with their truth.

    Attributes:
        image: (n, 1, x, y, z) z-scored.
        target: (n, x, y, z) `TissueClass`.
    """

    image: Tensor
    target: Tensor


@dataclass(frozen=True)
class DenoisingBatch:
    """Noisy images, and what they were; both (batch, 1, x, y, z)."""

    image: Tensor
    target: Tensor

    def to(self, device: torch.device) -> Self:
        """Move the batch to a device."""
        return type(self)(self.image.to(device), self.target.to(device))


class DenoisingObjective:
    """Mean squared error of the image less the noise that the network finds in it."""

    score_names = ("loss",)
    metric = "loss"
    metric_label = "mean squared error"

    def to(self, device: torch.device) -> Self:
        """Return the objective, which has nothing to move."""
        return self

    def loss(self, output: Tensor, batch: DenoisingBatch, step: int) -> Tensor:
        """Return the mean over the items."""
        return self.item_scores(output, batch)["loss"].mean()

    def loss_phase(self, step: int) -> int:
        """Return 0: the loss is the same at every step."""
        return 0

    def item_scores(self, output: Tensor, batch: DenoisingBatch) -> dict[str, Tensor]:
        """Return the error of each item."""
        error = batch.image - output.float() - batch.target
        return {"loss": error.square().mean(dim=(1, 2, 3, 4))}

    def summarize(self, scores: dict[str, Tensor]) -> dict[str, float]:
        """Return the mean."""
        return {"loss": scores["loss"].mean().item()}


class ImageStream:
    """Endless batches of a fixed set of images, mirrored at random, for one of the tasks.

    Args:
        images: all of them.
        chosen: positions of those that may be used.
        task: which targets.
        noise: standard deviation of the noise to remove, on z-scored images.
        batch_size, seed: as for other streams.
    """

    def __init__(
        self, images: Images, chosen: Sequence[int], task: str, noise: float, batch_size: int, seed: int
    ) -> None:
        self.images, self.chosen, self.task, self.noise = images, list(chosen), task, noise
        self.batch_size, self.seed = batch_size, seed

    def batch(self, step: int) -> Batch | DenoisingBatch:
        """Return the batch of a step; a pure function of the step and the stream's seed."""
        generator = torch.Generator().manual_seed(stream_seed(self.seed, step))
        picked = torch.randint(len(self.chosen), (self.batch_size,), generator=generator)
        rows = [self.chosen[int(place)] for place in picked]
        image, target = self.images.image[rows], self.images.target[rows]
        if torch.rand((), generator=generator) < 0.5:
            image, target = image.flip(2), target.flip(1)
        if self.task == DENOISING:
            return DenoisingBatch(image + self.noise * torch.randn(image.shape, generator=generator), image)
        return Batch(image, task_target(target, self.task), torch.zeros(len(image), dtype=torch.bool))


def task_target(target: Tensor, task: str) -> Tensor:
    """Return the classes of a task: the tissues, with lesions as background, or lesion and background."""
    lesion = target == int(TissueClass.LESION)
    return lesion.to(torch.uint8) if task == LESION else target.masked_fill(lesion, 0)


@torch.no_grad()
def score(network: nn.Module, task: str, images: Images, noise: float) -> float:
    """Return the mean score of a network over images: Dice of tissues or lesion, or PSNR in dB."""
    network.eval()
    found = []
    for number, (image, target) in enumerate(zip(images.image, images.target, strict=True)):
        if task == DENOISING:
            noisy = noisy_image(image, number, noise)
            found.append(psnr(noisy - network(noisy[None])[0], image))
            continue
        classes, truth = network(image[None]).argmax(dim=1)[0], task_target(target, task)
        if task == LESION:
            found.append(float(mask_dice(classes[None] == 1, truth[None] == 1)))
        else:
            found.append(float(class_dice(classes, truth, _OUT_CHANNELS[task]).nanmean()))
    return sum(found) / len(found)


def noisy_image(image: Tensor, number: int, noise: float) -> Tensor:
    """Return a test image with its noise, the same every time."""
    generator = torch.Generator().manual_seed(stream_seed(_IMAGE_SEED, number, "noise"))
    return image + noise * torch.randn(image.shape, generator=generator)


def psnr(found: Tensor, true: Tensor) -> float:
    """Return the peak signal-to-noise ratio in dB, with the range of the true image as the peak."""
    span = true.max() - true.min()
    return float(10 * torch.log10(span.square() / (found - true).square().mean()))


class Downstream:
    """Trainings of the plan's section `downstream`.

    Args:
        plan: images, tasks, percent, starts, seeds, noise and training.
        data: prepared label maps and lesions.
        folder: receives downstream.csv.
        weights: of the arms of the pre-training.
        device: where the networks are trained.
    """

    def __init__(
        self, plan: dict[str, Any], data: PreparedData, folder: Path, weights: Mapping[Any, Path], device: str
    ) -> None:
        self.plan, self.data, self.folder, self.weights, self.device = plan, data, folder, weights, device
        self.path = folder / "downstream.csv"

    def finish(self) -> None:
        """Train and score what is missing; every run adds a row to downstream.csv."""
        keys = ["task", "percent", "start", "seed"]
        table = pd.read_csv(self.path) if self.path.exists() else pd.DataFrame(columns=[*keys, "score"])
        done = set(table[keys].itertuples(index=False, name=None))
        for run in self.runs():
            if run not in done:
                row = pd.DataFrame([(*run, self.run(*run))], columns=table.columns)
                table = pd.concat([table, row], ignore_index=True) if len(table) else row
                atomic_write_text(self.path, table.to_csv(index=False))

    def runs(self) -> Iterator[tuple[str, int, str, int]]:
        """Yield task, per cent of the images, start and seed; the seeds in turn, so that a part has all others."""
        for seed in range(1, self.plan["seeds"] + 1):
            for task in self.plan["tasks"]:
                for percent in self.plan["percent"]:
                    for start in self.plan["starts"]:
                        yield task, percent, start, seed

    def run(self, task: str, percent: int, start: str, seed: int) -> float:
        """Train one network, and return its score."""
        config = TrainingConfig.model_validate({**self.plan["training"], "seed": seed})
        stream = ImageStream(
            self.train_images, self.part(percent, seed), task, self.plan["noise"], config.batch_size, seed
        )
        objective = (
            DenoisingObjective()
            if task == DENOISING
            else SegmentationObjective.from_config(config, _OUT_CHANNELS[task], 1 if task == LESION else None)
        )
        network = self.network(task, start, seed)
        name = f"{task}-{percent}-{start}-{seed}".replace(" ", "-").replace(",", "")
        result = train(
            network,
            stream,
            None,
            config,
            self.folder / "downstream" / name,
            objective=objective,
            device=self.device,
            on_progress=lambda progress: None,
        )
        if not result.finished:
            raise SystemExit(f"{self.folder}: stopped; give the command again to continue")
        return score(network.to("cpu"), task, self.test_images, self.plan["noise"])

    def network(self, task: str, start: str, seed: int) -> nn.Module:
        """Return a U-Net with the encoder's settings: random, or with the encoder of an arm, which may be frozen."""
        chosen = self.plan["starts"][start]
        settings = network_config(read_spec(next(iter(self.weights.values()))))
        assert isinstance(settings, ContrastiveConfig)
        torch.manual_seed(seed)
        network = build_network(settings.unet().model_copy(update={"out_channels": _OUT_CHANNELS[task]}))
        if chosen is not None:
            pretrained, _ = load_weights(self.weights[chosen["arm"]])
            assert isinstance(pretrained, ContrastiveNetwork)
            put_encoder(network, pretrained, freeze=chosen.get("freeze", False))
        return network

    def part(self, percent: int, seed: int) -> list[int]:
        """Return the positions of the images that a run may use: other ones for other seeds."""
        total = len(self.train_images.image)
        order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
        return order[: max(1, round(total * percent / 100))].tolist()

    @cached_property
    def recipe(self) -> Recipe:
        """Recipe of the images: the plan's, at the shape and voxel size of the pre-training."""
        images = self.plan["images"]
        content = load_recipe(images["recipe"]).model_dump(mode="json")
        content["synthesis"] |= {"shape": images["shape"], "spacing_mm": images["spacing_mm"]}
        return Recipe.model_validate(content)

    @cached_property
    def train_images(self) -> Images:
        """Images of the training's brains."""
        made = make_synthesizer(self.data, self.recipe, "train", self.recipe.synthesis, "cpu")
        count = self.plan["images"]["train"]
        batches = [made.generate([stream_seed(_IMAGE_SEED, index)]) for index in range(count)]
        return Images(torch.cat([b.image for b in batches]), torch.cat([b.target for b in batches]))

    @cached_property
    def test_images(self) -> Images:
        """Images of the synthetic benchmark, of unseen brains and lesions."""
        synthesis = self.recipe.synthesis
        config = validation_config(synthesis.shape, synthesis.spacing_mm)
        unseen = make_synthesizer(self.data, self.recipe, "validation", config, "cpu")
        batches = [
            make_case(unseen, case) for case in validation_cases(self.plan["images"]["test_per_family"])
        ]
        return Images(torch.cat([b.image for b in batches]), torch.cat([b.target for b in batches]))
