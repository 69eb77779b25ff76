"""Distractors look like lesions, lie where they do in patients, and are never labelled lesion."""

from __future__ import annotations

import pytest
import torch

from strokelabel.labels import default_label_table
from strokelabel.synthesis.config import ContrastConfig, DistractorConfig, LesionConfig
from strokelabel.synthesis.contrast.gaussian_mixture import sample_contrast
from strokelabel.synthesis.fields import CoarseGrid
from strokelabel.synthesis.lesions.distractors import (
    SUSCEPTIBILITY_MM,
    alter_basal_ganglia,
    hyperintensity_weight,
    sample_distractors,
    signal_gain,
)
from strokelabel.synthesis.sampling import Sampler

TABLE = default_label_table()
SHAPE = (60, 70, 56)
SPACING_MM = 3.0
ALL = DistractorConfig(
    hyperintensity_probability=1,
    basal_ganglia_probability=1,
    susceptibility_probability=1,
    cortex_probability=1,
    spot_probability=1,
)
GRID = CoarseGrid(SHAPE, SPACING_MM, torch.device("cpu"))


def icbm():
    """(1, 3, x, y, z) ICBM mm, the origin in the middle of the grid."""
    axes = [(torch.arange(n) - (n - 1) / 2) * SPACING_MM for n in SHAPE]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None].float()


def box(low, high):
    """(1, 1, x, y, z): one between two corners in mm."""
    bounds = [torch.tensor(b).view(1, 3, 1, 1, 1) for b in (low, high)]
    return ((icbm() > bounds[0]) & (icbm() < bounds[1])).all(dim=1, keepdim=True).float()


def distractors(seed, family="dwi", config=ALL):
    return sample_distractors(Sampler(seed), config, family)


def test_hyperintensities_lie_in_white_matter_around_the_ventricles():
    ventricle = box((-15.0, -40.0, 5.0), (15.0, 30.0, 30.0))
    white = box((-60.0, -80.0, -40.0), (60.0, 70.0, 70.0)) - ventricle
    near = box((-30.0, -60.0, -8.0), (30.0, 50.0, 45.0)) * white
    config = ALL.model_copy(update={"spot_probability": 0.0})

    total = sum(
        hyperintensity_weight([distractors(seed, config=config)], ventricle, white, icbm()[:, 2:], GRID)
        for seed in range(8)
    )

    assert total[white == 0].max() == 0
    assert (total * near).sum() > 0.95 * total.sum() > 0


def test_low_ventricles_have_no_halo():
    ventricle = box((-12.0, -50.0, -60.0), (12.0, -30.0, -20.0))
    white = 1 - ventricle
    config = ALL.model_copy(update={"spot_probability": 0.0})

    weight = hyperintensity_weight([distractors(1, config=config)], ventricle, white, icbm()[:, 2:], GRID)

    assert weight.max() < 0.05


def test_signal_changes_near_air_and_nowhere_else():
    ones = torch.ones(1, 1, *SHAPE)
    config = ALL.model_copy(update={"cortex_probability": 0.0})
    distances = torch.stack(
        [(icbm() - torch.tensor(c).view(1, 3, 1, 1, 1)).norm(dim=1) for c in SUSCEPTIBILITY_MM]
    )
    far = (distances.amin(dim=0) > 60)[:, None]

    gains = [signal_gain([distractors(s, config=config)], ones, ones, ones, icbm(), GRID) for s in range(6)]

    changed = [g for g in gains if g is not None]
    assert max(float(g.max()) for g in changed) > 1.5
    assert all(float(g.min()) > 0 for g in changed)
    assert all(float((g[far] - 1).abs().max()) < 0.02 for g in changed)


def test_cortex_is_brightened_in_patches_and_white_matter_is_left():
    gray = box((-60.0, -80.0, 0.0), (60.0, 80.0, 70.0))
    config = ALL.model_copy(update={"susceptibility_probability": 0.0})

    gain = signal_gain([distractors(2, "flair", config)], gray, 1 - gray, torch.ones_like(gray), icbm(), GRID)

    assert (gain[gray == 0] == 1).all()
    assert gain.min() >= 1 and 1.05 < gain.max() <= 1.45 + 1e-6
    assert 0.1 < (gain[gray > 0] < 1.02).float().mean() < 0.9


@pytest.mark.parametrize(("family", "share"), [("t1", 0.6), ("flair", 0.3)])
def test_patches_of_cortex_may_be_darker_on_t1_more_often_than_elsewhere(family, share):
    config = DistractorConfig(cortex_probability=1, cortex_darker_probability=0.3)

    gains = [distractors(seed, family, config).cortex_gain for seed in range(200)]

    assert sum(gain < 0 for gain in gains) / 200 == pytest.approx(share, abs=0.1)
    assert min(gains) >= -0.45 and max(gains) <= 0.45 and 0 not in gains
    assert not distractors(1, "ct", config).cortex_gain


def test_white_matter_is_uneven_both_ways_and_nothing_else_is_touched():
    white = box((-60.0, -80.0, 0.0), (60.0, 80.0, 70.0))
    config = DistractorConfig(white_matter_probability=1)

    for family in ("t1", "t2", "flair", "dwi", "random"):
        gain = signal_gain(
            [distractors(3, family, config)], 1 - white, white, torch.ones_like(white), icbm(), GRID
        )
        assert (gain[white == 0] == 1).all()
        assert 0.75 <= gain.min() < 0.98 and 1.02 < gain.max() <= 1.25


def test_no_susceptibility_or_bright_cortex_where_a_contrast_has_none():
    for seed in range(10):
        t1, t2 = distractors(seed, "t1"), distractors(seed, "t2")
        assert not t1.cortex_gain and not t1.susceptibility and not t2.susceptibility


def test_basal_ganglia_differ_from_gray_matter_and_a_little_from_side_to_side():
    before = sample_contrast(Sampler(3), ContrastConfig(families={"t2": 1.0}), LesionConfig(), TABLE)

    after = alter_basal_ganglia(Sampler(4), ALL, before, TABLE)

    changed = {TABLE.labels[int(row)].id for row in (after.means != before.means).any(dim=1).nonzero()}
    assert changed == {11, 12, 13, 50, 51, 52}
    left, right = (float(after.means[TABLE.index(i), 0]) for i in (13, 52))
    assert left != right and left / right == pytest.approx(1, abs=0.3)


def test_a_recipe_without_distractors_draws_none():
    drawn = distractors(1, config=DistractorConfig())
    before = sample_contrast(Sampler(3), ContrastConfig(), LesionConfig(), TABLE)

    assert not (drawn.halo_strength or drawn.spot_strength or drawn.cortex_gain or drawn.susceptibility)
    assert alter_basal_ganglia(Sampler(4), DistractorConfig(), before, TABLE) is before
