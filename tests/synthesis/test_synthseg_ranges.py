"""What SynthSeg draws and the project's own recipes do not: air, sides, joined labels, bias."""

from __future__ import annotations

import pytest
import torch

from strokelabel.fit.recipe import load_recipe
from strokelabel.labels import default_label_table
from strokelabel.synthesis.anatomy.skull_strip import sample_skull_strip
from strokelabel.synthesis.config import ContrastConfig, LesionConfig, SkullStripConfig
from strokelabel.synthesis.contrast.gaussian_mixture import sample_contrast
from strokelabel.synthesis.sampling import Sampler
from strokelabel.synthesis.scanner import apply_bias, sample_artefacts

TABLE = default_label_table()
CODE, PAPER = (load_recipe(name).synthesis for name in ("synthseg", "synthseg-paper"))


def means(config, seed):
    """The mean of each label, by its id."""
    drawn = sample_contrast(Sampler(seed), config, LesionConfig(), TABLE)
    return dict(zip([label.id for label in TABLE.labels], drawn.means[:, 0].tolist(), strict=True))


def test_air_is_zero_low_or_anything_as_often_as_in_the_code():
    drawn = [means(CODE.contrast, seed)[0] for seed in range(400)]
    assert sum(value == 0 for value in drawn) / 400 == pytest.approx(0.05, abs=0.03)
    low = sum(0 < value <= 15 / 255 for value in drawn) / 400
    assert low == pytest.approx(0.25 + 0.7 * 0.06, abs=0.06)
    assert max(drawn) > 0.9


def test_low_air_is_quiet():
    for seed in range(60):
        drawn = sample_contrast(Sampler(seed), CODE.contrast, LesionConfig(), TABLE)
        if 0 < drawn.means[0, 0] <= 15 / 255:
            assert drawn.deviations[0, 0] <= 0.0201


def test_sides_differ_and_joined_labels_do_not():
    drawn = means(CODE.contrast, 5)
    assert drawn[2] != drawn[41] and drawn[10] != drawn[49]
    for one, other in ((4, 5), (17, 18), (136, 137), (43, 44), (53, 54), (163, 164)):
        assert drawn[one] == drawn[other]
    assert drawn[4] != drawn[43]
    assert means(PAPER.contrast, 5)[17] != means(PAPER.contrast, 5)[18]


def test_without_these_settings_both_sides_look_the_same_and_structures_differ():
    drawn = means(ContrastConfig(), 5)
    assert drawn[2] == drawn[41] and drawn[4] == drawn[43] and drawn[4] != drawn[5]


def test_joined_labels_may_share_with_the_other_side_too():
    drawn = means(ContrastConfig(joined_labels=((18, 17),)), 5)
    assert drawn[17] == drawn[18] == drawn[53] == drawn[54]


def test_an_exponential_bias_is_positive_however_strong_and_one_on_average_of_its_logarithm():
    draws = [sample_artefacts(Sampler(seed), CODE.artefacts) for seed in range(24)]
    field = apply_bias(torch.ones(24, 1, 12, 14, 10), draws, exponential=True)
    assert field.min() > 0
    assert field.max() > 1.8
    assert field.log().mean().abs() < 0.1


def test_skulls_are_stripped_perfectly_and_imperfectly_as_often_as_in_the_paper():
    draws = [sample_skull_strip(Sampler(seed), PAPER.skull_strip) for seed in range(400)]
    removed = [draw for draw in draws if draw.remove_labels]
    assert not any(draw.strip for draw in draws)
    assert len(removed) / 400 == pytest.approx(0.5, abs=0.07)
    assert sum(draw.keep_csf for draw in removed) / len(removed) == pytest.approx(0.5, abs=0.1)


def test_a_mask_is_drawn_as_it_always_was():
    drawn = sample_skull_strip(Sampler(3), SkullStripConfig(probability=1))
    assert drawn.strip and not drawn.remove_labels and not drawn.keep_csf
