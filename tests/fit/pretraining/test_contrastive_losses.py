"""Losses of pre-training: what they are at best, by chance, and for a case computed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from strokelabel.fit.pretraining.config import PretrainingConfig
from strokelabel.fit.pretraining.objective import PretrainingObjective, barlow_twins, nt_xent, retrieved
from strokelabel.fit.pretraining.views import PairBatch
from strokelabel.networks.contrastive import Representation


def test_nt_xent_is_the_cross_entropy_of_the_partner_among_all_other_views() -> None:
    views = torch.randn(6, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = nt_xent(views, 0.5)
    unit = views / views.norm(dim=1, keepdim=True)
    for pair in range(3):
        expected = 0.0
        for own, partner in ((pair, pair + 3), (pair + 3, pair)):
            others = [math.exp(float(unit[own] @ unit[k]) / 0.5) for k in range(6) if k != own]
            expected -= math.log(math.exp(float(unit[own] @ unit[partner]) / 0.5) / sum(others)) / 2
        assert float(found[pair]) == pytest.approx(expected)


def test_views_that_are_all_alike_are_at_chance_and_perfect_ones_at_the_least() -> None:
    alike, perfect = torch.ones(8, 4), torch.eye(4).repeat(2, 1)
    assert nt_xent(alike, 0.5).tolist() == pytest.approx([math.log(7)] * 4)
    least = -math.log(math.exp(2) / (math.exp(2) + 6))
    assert nt_xent(perfect, 0.5).tolist() == pytest.approx([least] * 4)
    assert retrieved(perfect).tolist() == [1, 1, 1, 1]
    assert retrieved(torch.cat([torch.eye(4), torch.eye(4).roll(1, 0)])).sum() == 0


def test_barlow_twins_is_zero_for_equal_views_of_independent_features() -> None:
    signs = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    assert barlow_twins(signs.repeat(2, 1), 0.5).tolist() == pytest.approx([0] * 4, abs=1e-6)
    same = signs[:, :1].expand(4, 2)
    assert barlow_twins(same.repeat(2, 1), 0.5).tolist() == pytest.approx(
        [0.5] * 4
    )  # 2 * 0.5 over 2 features
    opposite = torch.cat([signs, -signs])
    assert barlow_twins(opposite, 0.5).tolist() == pytest.approx([4] * 4)


@pytest.mark.parametrize("contrastive", ["nt-xent", "barlow-twins"])
def test_the_loss_adds_the_reconstruction_and_has_gradients_for_both_heads(contrastive: str) -> None:
    config = PretrainingConfig.model_validate({"contrastive": contrastive, "reconstruction_weight": 2.0})
    objective = PretrainingObjective(config)
    target = torch.zeros(6, 1, 2, 3, 4)
    output = Representation(
        torch.randn(6, 5, requires_grad=True), torch.full_like(target, 0.25).requires_grad_()
    )
    scores = objective.item_scores(output, PairBatch(target, target))
    loss = objective.loss(output, PairBatch(target, target), 0)
    loss.backward()
    assert all(len(values) == 3 for values in scores.values())
    assert scores["reconstruction"].tolist() == pytest.approx([0.25] * 3)
    assert float(loss) == pytest.approx(float((scores["contrastive"] + 0.5).mean()))
    assert all(part.grad is not None and bool(part.grad.any()) for part in output)
    assert set(objective.summarize({k: v.detach() for k, v in scores.items()})) == set(objective.score_names)
