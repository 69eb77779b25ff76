"""What is optimised can be exchanged: tissues and lesions, parcels without a lesion, or no classes at all."""

from dataclasses import dataclass

import pytest
import torch

from strokelabel.errors import TrainingError
from strokelabel.fit.data.stream import Batch
from strokelabel.fit.loop.checkpoint import load_checkpoint
from strokelabel.fit.loop.record import read_metrics
from strokelabel.fit.loop.training_loop import train
from strokelabel.fit.segmentation import SegmentationObjective, dice_cross_entropy, logit_distance
from strokelabel.networks.unet import UNetConfig, build_network
from support.tiny_run import CubeStream, join, tiny_config, tiny_network, tiny_run


@dataclass(frozen=True)
class Pair:
    """An image and the map to estimate from it: a batch without classes."""

    image: torch.Tensor
    wanted: torch.Tensor

    def to(self, device: torch.device) -> "Pair":
        return Pair(self.image.to(device), self.wanted.to(device))


class Doubles:
    """Noise, and twice the noise as its target."""

    def __len__(self) -> int:
        return 3

    def batch(self, index: int) -> Pair:
        image = torch.randn(2, 1, 4, 6, 8, generator=torch.Generator().manual_seed(index))
        return Pair(image, 2 * image)


class MeanError:
    """Mean absolute error; the smaller the better, so the metric is its negative."""

    score_names = ("error", "fit")
    metric = "fit"
    metric_label = "fit"

    def to(self, device):
        return self

    def loss(self, output, batch, step):
        return (output - batch.wanted).abs().mean()

    def item_scores(self, output, batch):
        return {"error": (output - batch.wanted).abs().flatten(1).mean(dim=1)}

    def summarize(self, scores):
        assert scores["error"].shape == (6,)
        error = scores["error"].mean().item()
        return {"error": error, "fit": -error}


def test_another_objective_brings_its_own_batches_loss_and_scores(tmp_path):
    config = tiny_config(steps=60, learning_rate=0.1, validate_every=20, ema_decay=0.0)
    torch.manual_seed(0)
    network = torch.nn.Conv3d(1, 1, 1)
    result = train(
        network,
        Doubles(),
        Doubles(),
        config,
        tmp_path,
        objective=MeanError(),
        device="cpu",
        on_progress=lambda progress: None,
    )
    validated = [row for row in read_metrics(result.metrics) if "validation_fit" in row]
    assert [row["step"] for row in validated] == [20, 40, 60]
    assert validated[-1]["validation_fit"] == -validated[-1]["validation_error"] == result.best_metric
    assert result.best_metric > -0.2
    assert result.metric_label == "fit"


def test_parcels_without_a_lesion_are_learned_and_scored_by_their_mean_dice(tmp_path):
    class Parcels(CubeStream):
        def batch(self, step):
            batch = super().batch(2 * step - 2 * step % 3)  # complete labels only
            return Batch(batch.image, batch.target * 6, torch.tensor([False]))

    torch.manual_seed(0)
    network = build_network(UNetConfig(out_channels=33, channels=(4, 6), strides=(2,)))
    objective = SegmentationObjective(classes=33, lesion=None)
    arguments = {"objective": objective, "device": "cpu", "on_progress": lambda progress: None}
    config = tiny_config(steps=30, learning_rate=0.02, validate_every=15)
    result = train(network, Parcels(), Parcels(1), config, tmp_path, **arguments)
    rows = [row for row in read_metrics(result.metrics) if "validation_dice_mean" in row]
    assert rows[-1]["validation_loss"] < rows[0]["validation_loss"]
    assert objective.metric_label == "mean Dice"


def test_without_a_lesion_class_a_lesion_annotation_alone_is_refused():
    objective = SegmentationObjective(classes=6, lesion=None)
    with pytest.raises(TrainingError, match="leave these items out"):
        objective.loss(torch.zeros(1, 6, 6, 8, 10), CubeStream().batch(2), 0)


def test_the_warm_up_pulls_foreground_logits_to_plus_and_minus_five():
    target = torch.tensor([[[[0, 2]]]], dtype=torch.uint8)
    logits = torch.zeros(1, 3, 1, 1, 2, requires_grad=True)
    logit_distance(logits, target).sum().backward()
    assert logit_distance(logits, target).item() == pytest.approx(25 / 2), "background does not count"
    assert (logits.grad[0, :, 0, 0, 1] < 0).tolist() == [False, False, True]
    assert logits.grad[0, :, 0, 0, 0].eq(0).all()
    right = torch.tensor([-5.0, -5.0, 5.0]).view(1, 3, 1, 1, 1).expand(1, 3, 1, 1, 2)
    assert logit_distance(right, target).item() == 0


def test_the_warm_up_ends_exactly_at_its_step():
    batch = CubeStream().batch(0)
    logits = torch.randn(1, 6, 6, 8, 10, generator=torch.Generator().manual_seed(0))
    objective = SegmentationObjective.from_config(tiny_config(l2_warmup_steps=5))
    warm = logit_distance(logits, batch.target).mean()
    proper = dice_cross_entropy(logits, batch.target, torch.ones(6)).mean()
    assert [objective.loss(logits, batch, step).item() for step in (0, 4)] == [warm.item()] * 2
    assert [objective.loss(logits, batch, step).item() for step in (5, 6)] == [proper.item()] * 2


def test_a_run_resumed_within_the_warm_up_switches_at_the_same_step(tmp_path):
    config = tiny_config(steps=8, l2_warmup_steps=5, checkpoint_every=3)
    whole = tiny_run(tmp_path / "whole", config)
    for stop in (2, 4):
        tiny_run(tmp_path / "parts", config.model_copy(update={"steps": 8}), should_stop=_after(stop))
    parts = tiny_run(tmp_path / "parts", config)
    assert parts.metrics.read_text() == whole.metrics.read_text()
    complete = {row["step"]: row["loss"] for row in read_metrics(whole.metrics) if row["step"] % 3}
    warm, proper = (
        [loss for step, loss in complete.items() if (step <= 5) == early] for early in (True, False)
    )
    assert min(warm) > 2 * max(proper), "squared distances are far larger than Dice and cross-entropy"
    ours, theirs = load_checkpoint(parts.checkpoint).network, load_checkpoint(whole.checkpoint).network
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())


def _after(count: int):
    asked = []

    def stop() -> bool:
        asked.append(None)
        return len(asked) > count

    return stop


def test_the_loss_does_not_depend_on_how_items_are_cut_into_batches():
    network = tiny_network().eval()
    objective = SegmentationObjective(lesion_weight=3.0)
    items = [CubeStream().batch(step) for step in range(4)]
    whole = join(*items)
    with torch.no_grad():
        together = objective.loss(network(whole.image), whole, 0)
        apart = torch.stack([objective.loss(network(item.image), item, 0) for item in items]).mean()
    torch.testing.assert_close(together, apart)
