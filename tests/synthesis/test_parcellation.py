"""Structures as a target: they move with the image, by fractions of a voxel, and left stays the patient's left."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from strokelabel.errors import LabelMapError
from strokelabel.labels import default_label_table
from strokelabel.structures import parcellation_structures
from strokelabel.synthesis.anatomy.deformation import DeformationParameters, head_coordinates
from strokelabel.synthesis.anatomy.head import make_head, stack_heads
from strokelabel.synthesis.anatomy.parcellation import ParcellationTarget, largest_share
from strokelabel.synthesis.config import SynthesisConfig
from strokelabel.synthesis.generator import Synthesizer
from support.head_phantom import (
    CENTER_MM,
    SHAPE,
    SPACING_MM,
    ball_bank,
    phantom_brain,
    phantom_head,
    phantom_ids,
)

TABLE = default_label_table()
IDS = torch.tensor([structure.id for structure in parcellation_structures(lesion=True)])
GRID, GRID_MM = (34, 40, 32), 5.0
FRONT, TOP, BOTTOM = 14, 15, 16
"""Balls on the midline that show how the head lies."""


def head_with(balls):
    """The phantom with balls of other labels in it: (id, centre from the phantom's in mm, radius in mm)."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), -1)
    mm = (index - (np.array(SHAPE) - 1) / 2) * SPACING_MM
    ids = phantom_ids()
    for label_id, center, radius in balls:
        ids[((mm - center) ** 2).sum(-1) <= radius**2] = label_id
    labels = np.zeros(SHAPE, dtype=np.uint8)
    for label_id in np.unique(ids):
        labels[ids == label_id] = TABLE.index(int(label_id))
    return make_head(replace(phantom_brain(), labels=labels), TABLE, SPACING_MM)


MARKED = head_with(
    [
        (FRONT, (0, 45, 0), 12),
        (TOP, (0, 0, 40), 12),
        (BOTTOM, (0, -10, -40), 12),
        (11, (-30, 20, 10), 15),  # on the left only
        (12, (-45, -20, 0), 9),
        (53, (35, -30, -20), 9),  # on the right only
    ]
)


def deformation(rotation=(0.0,) * 3, shear=(0.0,) * 3, zoom=(1.0,) * 3, shift=(0.0,) * 3, flip=(False,) * 3):
    return DeformationParameters(rotation, shear, zoom, shift, flip, torch.zeros(3, 2, 2, 2))


def label_ids(head, parameters, shape=GRID, spacing_mm=GRID_MM):
    """FreeSurfer ids (x, y, z) of the target of one deformed head without lesions."""
    stack = stack_heads([head])
    coordinates = head_coordinates([parameters], torch.tensor(CENTER_MM)[None].float(), shape, spacing_mm)
    empty = torch.zeros(1, *shape)
    target = ParcellationTarget(TABLE, [head]).label([parameters], stack, coordinates, empty, empty + 1)
    return IDS[target[0].int()].numpy()


def centroid(mask):
    return np.argwhere(mask).mean(axis=0)


angle = st.floats(-60, 60)
stretch = st.floats(0.8, 1.2)
slant = st.floats(-0.1, 0.1)


@settings(max_examples=6, deadline=None, derandomize=True)
@given(
    rotation=st.tuples(angle, angle, angle),
    shear=st.tuples(slant, slant, slant),
    zoom=st.tuples(stretch, stretch, stretch),
    flip=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_right_of_the_midline_is_labelled_right_however_the_head_lies(rotation, shear, zoom, flip):
    ids = label_ids(MARKED, deformation(rotation, shear, zoom, flip=flip))

    front, top, bottom = (centroid(ids == marker) for marker in (FRONT, TOP, BOTTOM))
    right = np.cross(
        front - bottom, top - bottom
    )  # of somebody who looks to the front, the top of the head up
    right /= np.linalg.norm(right)
    sides = {structure.id: structure.side for structure in parcellation_structures()}
    voxels = np.argwhere(ids > 0)
    distance = (voxels - bottom) @ right
    named = np.array([sides[value] for value in ids[tuple(voxels.T)]])
    assert set(named[distance > 2]) <= {"right", "midline"}
    assert set(named[distance < -2]) <= {"left", "midline"}
    assert min((named == "right").sum(), (named == "left").sum()) > 1000


def test_the_mirror_image_of_a_head_is_a_head_with_its_sides_changed_over():
    upright = label_ids(MARKED, deformation())
    mirrored = label_ids(MARKED, deformation(flip=(True, False, False)))

    mirror = {s.id: s.mirror for s in parcellation_structures()}
    assert (np.vectorize(mirror.get)(upright)[::-1] == mirrored).mean() > 0.9999  # ties at the midline
    assert (upright == 11).sum() > 100 and (upright == 50).sum() == 0
    assert (mirrored == 50).sum() == (upright == 11).sum()


@pytest.mark.parametrize("fraction", [0.25, 0.5, 0.75])
def test_structures_move_by_fractions_of_a_voxel(fraction):
    shift = fraction * SPACING_MM
    shape = (56, 68, 60)
    still, moved = (label_ids(MARKED, deformation(shift=(x, 0, 0)), shape, SPACING_MM) for x in (0.0, shift))
    for structure in (11, FRONT):
        before, after = centroid(still == structure), centroid(moved == structure)
        np.testing.assert_allclose(before - after, (fraction, 0, 0), atol=0.12)
        # Balls of four voxels' radius: what is interpolated between voxels is rounder, in the image as in the target.
        assert (moved == structure).sum() == pytest.approx((still == structure).sum(), rel=0.12)


def test_a_deformed_target_is_that_of_one_deformed_map_per_structure():
    generator = torch.Generator().manual_seed(3)
    first, second = (torch.randint(0, 6, (7, 9, 8), generator=generator, dtype=torch.uint8) for _ in "ab")
    fraction = torch.randint(128, 256, (7, 9, 8), generator=generator, dtype=torch.uint8)
    index = torch.rand(18, 20, 22, 3, generator=generator) * 14 - 3  # within the volume, and beyond it

    found = largest_share(first, second, fraction, index, 6)

    share = fraction / 255
    maps = torch.stack([(first == c) * share + (second == c) * (1 - share) for c in range(6)])
    maps = F.pad(maps, (4,) * 6)
    maps[0] = 1 - maps[1:].sum(dim=0)
    grid = ((index + 4) * 2 / (torch.tensor(maps.shape[1:]) - 1) - 1).flip(-1)
    warped = F.grid_sample(maps[None], grid[None], align_corners=True)[0]
    assert torch.equal(found.long(), warped.argmax(dim=0))


def test_outside_the_label_map_is_background():
    index = torch.tensor([[[[-50.0, 3, 3], [90, 3, 3], [3, 3, 1e6]]]])
    volume = torch.full((5, 6, 7), 2, dtype=torch.uint8)
    assert largest_share(volume, volume, volume, index, 3).tolist() == [[[0, 0, 0]]]


def test_labels_that_belong_to_no_structure_are_named():
    head = head_with([(77, (20, 0, 20), 9)])
    with pytest.raises(LabelMapError, match=r"77 \(WM-hypointensities\); relabel them"):
        ParcellationTarget(TABLE, [phantom_head(), head])


def synthesizer(*, lesion_class, **changes):
    config = SynthesisConfig.model_validate({"shape": (30, 36, 32), "spacing_mm": 6.0, **changes})
    heads = [phantom_head(spacing_mm=6.0)]
    target = ParcellationTarget(TABLE, heads, lesion_class=lesion_class)
    return Synthesizer(heads, ball_bank([(-35, 5, 25)]), TABLE, config, parcellation=target)


LESIONED = {"lesion": {"count_weights": {1: 1.0}}, "skull_strip": {"probability": 0}}


def test_a_lesion_is_a_class_of_its_own_or_labelled_as_what_lies_beneath():
    own, beneath = (
        synthesizer(lesion_class=lesion_class, **LESIONED).generate([2]).target[0]
        for lesion_class in (True, False)
    )
    lesion = own == 33
    assert lesion.sum() > 20
    assert torch.equal(own[~lesion], beneath[~lesion])
    assert set(IDS[beneath[lesion].int()].tolist()) <= {2, 3, 41, 42}


def test_the_image_is_the_same_whatever_the_target():
    structures = synthesizer(lesion_class=True, **LESIONED)
    tissues = Synthesizer(structures.heads, structures.lesions, TABLE, structures.config)
    assert torch.equal(structures.generate([4]).image, tissues.generate([4]).image)


@pytest.mark.parametrize("keep_csf", [0.0, 1.0])
def test_a_skull_stripped_by_labels_is_gone_from_image_and_target_and_csf_may_stay(keep_csf):
    generator = synthesizer(
        lesion_class=False,
        lesion={"count_weights": {0: 1}},
        contrast={"background_zero_probability": 1.0, "mean": (0.5, 1.0), "deviation": (0, 0.01)},
        artefacts={"full_resolution_probability": 1, "motion_fwhm_mm": (0, 0), "noise_deviation": (0, 0)},
        skull_strip={"probability": 1, "method": "labels", "keep_csf_probability": keep_csf},
    )
    batch = generator.generate([7])
    inside = batch.target[0] > 0
    assert ((IDS[batch.target[0].int()] == 24).sum() > 100) == bool(keep_csf)
    # Air has but one value; the border between brain and air has others.
    image, around = batch.image[0, 0], F.max_pool3d(inside[None, None].float(), 3, 1, 1)[0, 0] > 0
    assert image[~around].std() < 0.01
    assert image[inside].median() > image[~around].max() + 0.5
