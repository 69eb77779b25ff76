"""The label is what is visible: an observer who sees exactly what was painted agrees with it, whatever the size."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import pytest
import torch

from strokelabel.labels import TissueClass, default_label_table
from strokelabel.synthesis.config import SynthesisConfig
from strokelabel.synthesis.generator import Synthesizer
from strokelabel.synthesis.lesions.lesion import LesionParameters
from support.head_phantom import ball_bank, phantom_head

TABLE = default_label_table()
WHITE, GRAY = 0.4, 1.0
"""Lesions are as bright as the cortex, so that normalisation clips nothing that matters."""
RADII_MM = {"below 0.3": 4, "0.3 to 1": 5, "1 to 3": 8, "3 to 10": 11, "10 to 30": 16, "above 30": 20}
"""Of a ball in each bin of volume in ml."""


def observer(spacing_mm, side, radius_mm):
    """A generator of views of one hemisphere's white matter with one ball in it."""
    config = SynthesisConfig.model_validate(
        {
            "shape": (side, side, side),
            "spacing_mm": spacing_mm,
            "deformation": {"translation_mm": (0, 0), "flip_probability": (0, 0, 0), "zoom": (0.95, 1.05)},
            "lesion": {
                "count_weights": {1: 1},
                "mirror_probability": 0,
                "penumbra_probability": 0,
                "shift_mm": (-2, 2),
            },
            "artefacts": {
                "bias_strength": (0, 0),
                "gamma_log_deviation": 0,
                "motion_fwhm_mm": (0, 0),
                "full_resolution_probability": 1,
                "noise_deviation": (0, 0),
            },
            "skull_strip": {"probability": 0},
        }
    )  # fmt: skip
    return Synthesizer([head(spacing_mm)], ball_bank([(38, -10, 12)], radius_mm), TABLE, config)


def drawn(generator, seed):
    """Parameters without texture, with the view beside the ventricles."""
    parameters = generator.sample(seed)
    means = torch.zeros_like(parameters.contrast.means)
    for row, label in enumerate(TABLE.labels):
        means[row] = {"gray": GRAY, "white": WHITE, "ventricle": WHITE}.get(label.group, 0.0)
    contrast = replace(
        parameters.contrast,
        means=means,
        deviations=torch.zeros_like(means),
        lesion_means=torch.full_like(parameters.contrast.lesion_means, GRAY),
        lesion_deviations=torch.zeros_like(parameters.contrast.lesion_deviations),
    )
    deformation = replace(parameters.deformation, translation_mm=(34.0, 0.0, 0.0))
    return replace(parameters, contrast=contrast, deformation=deformation)


def seen(batch):
    """What is brighter than half way between white matter and cortex."""
    image = batch.image[0, 0]
    white = image[batch.target[0] == TissueClass.WHITE_MATTER].median()
    return image > (white + image.max()) / 2


@lru_cache
def head(spacing_mm):
    """The phantom at a voxel size."""
    return phantom_head(spacing_mm=spacing_mm)


@pytest.mark.parametrize(("spacing_mm", "side"), [(1.0, 64), (1.5, 44)])
@pytest.mark.parametrize("volume", RADII_MM)
def test_an_observer_who_sees_what_was_painted_finds_the_label(volume, spacing_mm, side):
    generator = observer(spacing_mm, side, RADII_MM[volume])
    overlap, total = 0.0, 0.0
    for seed in range(3):  # each with another erosion, dilation, blur, zoom and deformation
        parameters = drawn(generator, seed)
        batch = generator.apply([parameters])
        without = replace(parameters, lesions=LesionParameters((), (0.0, 0.0, 0.0), 1.0))
        found = seen(batch) & ~seen(generator.apply([without]))
        label = batch.target[0] == TissueClass.LESION
        assert label.any()
        overlap += 2 * float((found & label).sum())
        total += float(found.sum() + label.sum())

    assert overlap / total >= 0.95
