import pytest
import torch
from torch import Tensor

from strokelabel.fit.segmentation import DiceCrossEntropy, dice_cross_entropy, marginal_logits

SHAPE = (3, 4, 5)
COMPLETE = torch.tensor([False, False])
LESION_ONLY = torch.tensor([True, True])


@pytest.fixture
def logits() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return 2 * torch.randn(2, 6, *SHAPE, generator=generator)


@pytest.fixture
def target() -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randint(0, 6, (2, *SHAPE), generator=generator, dtype=torch.uint8)


def plain_dice_cross_entropy(logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """The definition for one image, written with one-hot targets and differentiable operations."""
    truth = torch.nn.functional.one_hot(target.long(), len(weights)).movedim(-1, 1).to(logits)
    probability = logits.softmax(dim=1)
    axes = (0, 2, 3, 4)
    overlap = (probability * truth).sum(dim=axes)
    size = probability.sum(dim=axes) + truth.sum(dim=axes)
    dice = ((2 * overlap + 1e-5) / (size + 1e-5))[1:]
    dice_loss = ((1 - dice) * weights[1:]).sum() / weights[1:].sum()
    return dice_loss + torch.nn.functional.cross_entropy(logits, target.long(), weights)


@pytest.mark.parametrize("lesion_weight", [1.0, 2.5])
def test_value_and_gradient_are_those_of_the_definition(logits, target, lesion_weight):
    weights = torch.tensor([1.0, 1, 1, 1, 1, lesion_weight])
    ours, plain = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss = dice_cross_entropy(ours, target, weights)
    expected = torch.stack(
        [plain_dice_cross_entropy(plain[i : i + 1], target[i : i + 1], weights) for i in (0, 1)]
    )
    share = torch.tensor([3.0, -2.0])
    (share * loss).sum().backward()
    (share * expected).sum().backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(ours.grad, plain.grad)


def test_logits_with_channels_innermost_in_memory_give_the_same(logits, target):
    loss = DiceCrossEntropy()
    turned = logits.to(memory_format=torch.channels_last_3d).requires_grad_()
    straight = logits.clone().requires_grad_()
    assert loss(turned, target, COMPLETE).item() == loss(straight, target, COMPLETE).item()


def test_a_perfect_prediction_costs_next_to_nothing(target):
    perfect = 30 * torch.nn.functional.one_hot(target.long(), 6).movedim(-1, 1).float()
    assert DiceCrossEntropy()(perfect, target, COMPLETE) < 1e-5


def test_background_counts_in_the_cross_entropy_only():
    target = torch.zeros(1, *SHAPE, dtype=torch.uint8)
    logits = torch.zeros(1, 6, *SHAPE)
    loss = DiceCrossEntropy()(logits, target, torch.tensor([False]))
    absent = 5 * [1.0]  # none of the five other classes is there, yet each is predicted
    assert loss.item() == pytest.approx(torch.tensor(6.0).log().item() + sum(absent) / 5, abs=1e-4)


def test_the_loss_of_a_batch_is_the_mean_of_the_losses_of_its_images(logits, target):
    loss, one = DiceCrossEntropy(lesion_weight=3), torch.tensor([False])
    apart = [loss(logits[i : i + 1], target[i : i + 1], one) for i in (0, 1)]
    torch.testing.assert_close(loss(logits, target, COMPLETE), torch.stack(apart).mean())
    torch.testing.assert_close(loss.per_item(logits, target, COMPLETE), torch.stack(apart))


@pytest.mark.parametrize("value", [0, 5])
def test_classes_absent_from_the_target_leave_loss_and_gradient_finite(logits, value):
    logits.requires_grad_()
    target = torch.full((2, *SHAPE), value, dtype=torch.uint8)
    for partial in (COMPLETE, LESION_ONLY, torch.tensor([True, False])):
        loss = DiceCrossEntropy()(logits * 100, target, partial)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert loss.isfinite()
        assert gradient.isfinite().all()


def test_marginal_logits_give_the_probabilities_of_lesion_and_not_lesion(logits):
    probability = logits.softmax(dim=1)
    pair = marginal_logits(logits).softmax(dim=1)
    torch.testing.assert_close(pair[:, 1], probability[:, 5])
    torch.testing.assert_close(pair[:, 0], probability[:, :5].sum(dim=1))


def test_a_lesion_annotation_alone_does_not_care_which_tissue_is_predicted(logits, target):
    lesion_only = torch.where(target == 5, target, 0)
    loss = DiceCrossEntropy()
    expected = loss(logits, lesion_only, LESION_ONLY)
    shuffled = logits[:, [3, 0, 4, 1, 2, 5]]
    torch.testing.assert_close(loss(shuffled, lesion_only, LESION_ONLY), expected)


def test_a_lesion_annotation_alone_still_lowers_the_lesion_against_every_tissue(logits):
    logits.requires_grad_()
    healthy = torch.zeros(2, *SHAPE, dtype=torch.uint8)
    DiceCrossEntropy()(logits, healthy, LESION_ONLY).backward()
    assert (logits.grad[:, 5] > 0).all()
    assert (logits.grad[:, :5] < 0).all()


def test_mixed_batches_weigh_each_item_once(logits, target):
    partial = torch.tensor([True, False])
    loss = DiceCrossEntropy(lesion_weight=2)
    apart = (loss(logits[:1], target[:1], partial[:1]) + loss(logits[1:], target[1:], partial[1:])) / 2
    torch.testing.assert_close(loss(logits, target, partial), apart)


def test_a_heavier_lesion_pulls_harder_on_the_lesion_voxels(logits, target):
    target[target == 5] = 0
    target[:, 1, 1, 1] = 5
    pulls = []
    for weight in (1.0, 3.0):
        (gradient,) = torch.autograd.grad(
            DiceCrossEntropy(lesion_weight=weight)(logits.requires_grad_(), target, COMPLETE), logits
        )
        pulls.append(-gradient[:, 5, 1, 1, 1].sum())
    assert pulls[1] > pulls[0] > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_evaluated_in_single_precision(logits, target, dtype):
    half = (100 * logits).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        loss = DiceCrossEntropy()(half, target, COMPLETE)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, DiceCrossEntropy()(half.float(), target, COMPLETE))


def test_two_class_networks_have_the_lesion_second(logits, target):
    loss = DiceCrossEntropy(classes=2, lesion=1)
    binary = (target == 5).to(torch.uint8)
    pair = marginal_logits(logits)
    torch.testing.assert_close(loss(pair, binary, COMPLETE), loss(pair, binary, LESION_ONLY))
