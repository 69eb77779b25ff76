import pytest
import torch
from lightning_fabric import Fabric

from strokelabel.errors import TrainingError
from strokelabel.fit.data.stream import Batch
from strokelabel.fit.loop.objective import validate
from strokelabel.fit.segmentation import SegmentationObjective, foreground_dice, mask_dice
from support.tiny_run import SHAPE, CubeStream, tiny_network


class Oracle(torch.nn.Module):
    """Finds the lesion where the image is 5; calls everything else background."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(len(image), 6, *image.shape[2:])
        logits[:, 5] = 20.0 * (image[:, 0] == 5) - 10
        return logits


class Graded:
    """Three images with a lesion of eight voxels, of which 8, 4 and 0 are visible."""

    def __len__(self) -> int:
        return 3

    def batch(self, index: int) -> Batch:
        target = torch.zeros(1, *SHAPE, dtype=torch.uint8)
        target[0, 0, 0, :8] = 5
        image = target[:, None].float()
        image[..., 8 - 4 * index :] = 0
        return Batch(image, target, torch.tensor([False]))


def test_dice_of_a_batch_is_taken_image_by_image():
    truth, predicted = torch.zeros(3, *SHAPE, dtype=torch.bool), torch.zeros(3, *SHAPE, dtype=torch.bool)
    truth[0, 0, 0, :4] = predicted[0, 0, 0, 2:4] = True
    predicted[1, 0, 0, 0] = True
    assert mask_dice(predicted, truth).tolist() == pytest.approx([2 / 3, 0.0, 1.0])


def test_scores_are_the_mean_and_the_median_over_images():
    fabric = Fabric(accelerator="cpu", devices=1)
    score = validate(Oracle(), Graded(), SegmentationObjective(), fabric)
    assert score["dice_mean"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert score["dice_median"] == pytest.approx(2 / 3)
    assert score["loss"] > 0


def test_validation_repeats_itself_and_leaves_the_network_training():
    network, fabric = tiny_network(), Fabric(accelerator="cpu", devices=1)
    first, second = (validate(network, CubeStream(2), SegmentationObjective(), fabric) for _ in range(2))
    assert first == second
    assert network.training


def test_an_empty_validation_is_refused():
    with pytest.raises(TrainingError, match="validate_every: 0"):
        validate(tiny_network(), CubeStream(0), SegmentationObjective(), Fabric(accelerator="cpu", devices=1))


def test_without_a_lesion_the_dice_of_an_image_is_the_mean_over_the_classes_it_shows():
    truth, predicted = torch.zeros(2, 4, 5, 6, dtype=torch.uint8), torch.zeros(2, 4, 5, 6, dtype=torch.int64)
    truth[0, 0], predicted[0, 0, :4] = 3, 3
    predicted[0, 1, 0, 0] = 7
    assert foreground_dice(predicted, truth, 9).tolist() == pytest.approx([(48 / 54 + 0) / 2, 1.0])
