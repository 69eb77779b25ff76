import pytest
import torch

from strokelabel.fit.estimation import EstimatorBatch, EstimatorLoss, EstimatorObjective


@pytest.fixture
def batch():
    random = torch.Generator().manual_seed(1)
    scale = torch.tensor([80.0, 1.0, 20.0, 1.5]).view(1, 4, 1, 1, 1)
    shape = (12, 14, 13)
    return EstimatorBatch(
        torch.rand(2, 1, *shape, generator=random), scale * torch.rand(2, 4, *shape, generator=random)
    )


@pytest.fixture
def objective():
    return EstimatorObjective(EstimatorLoss(5, 0.0))


def test_true_maps_score_best_and_every_error_lowers_the_similarity(objective, batch):
    true = objective.summarize(objective.item_scores(batch.target, batch))
    assert true == {"loss": 0, "ssim": pytest.approx(1), "nrmse": 0}
    wrong = objective.summarize(objective.item_scores(0.8 * batch.target, batch))
    noisy = batch.target * (1 + 0.5 * torch.randn_like(batch.target))
    worse = objective.summarize(objective.item_scores(noisy, batch))
    assert 1 > wrong["ssim"] > worse["ssim"]
    assert 0 < wrong["nrmse"] < worse["nrmse"]


def test_an_error_of_a_tenth_of_the_greatest_value_is_an_nrmse_of_a_tenth(objective, batch):
    greatest = batch.target.amax(dim=(2, 3, 4), keepdim=True)
    scores = objective.item_scores(batch.target + 0.1 * greatest, batch)
    torch.testing.assert_close(scores["nrmse"], torch.full((2,), 0.1))


def test_items_score_alike_alone_and_in_a_batch(objective, batch):
    output = 0.9 * batch.target + 0.01
    together = objective.item_scores(output, batch)
    for index in range(2):
        one = EstimatorBatch(batch.image[index : index + 1], batch.target[index : index + 1])
        alone = objective.item_scores(output[index : index + 1], one)
        for name in objective.score_names:
            torch.testing.assert_close(alone[name][0], together[name][index])


@pytest.mark.parametrize("step", [0, 5])
def test_the_loss_of_a_batch_is_the_mean_over_its_items_in_both_stages(objective, batch, step):
    output = 1.1 * batch.target
    alone = [
        objective.loss(
            output[i : i + 1], EstimatorBatch(batch.image[i : i + 1], batch.target[i : i + 1]), step
        )
        for i in range(2)
    ]
    torch.testing.assert_close(objective.loss(output, batch, step), torch.stack(alone).mean())
