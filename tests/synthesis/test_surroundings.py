"""Structures, and what lies around the brain, look less alike from head to head than one mean per tissue makes them."""

from __future__ import annotations

import pytest
import torch

from strokelabel.labels import TissueClass, default_label_table
from strokelabel.synthesis.config import ContrastConfig, LesionConfig, SynthesisConfig
from strokelabel.synthesis.config_sections import PocketConfig, StructureConfig, SurroundingsConfig
from strokelabel.synthesis.contrast.gaussian_mixture import CT_AIR, sample_contrast
from strokelabel.synthesis.contrast.pockets import fill_pockets, sample_pockets
from strokelabel.synthesis.contrast.signals import TOWARDS_OTHER, vary_structures, vary_surroundings
from strokelabel.synthesis.generator import Synthesizer
from strokelabel.synthesis.record import from_json, to_json
from strokelabel.synthesis.sampling import Sampler
from support.head_phantom import ball_bank, phantom_head

TABLE = default_label_table()
CORTEX, WHITE, THALAMUS, PALLIDUM = (TABLE.index(i) for i in (3, 2, 10, 13))


def contrast(family, seed=1):
    config = ContrastConfig(families={family: 1.0})
    return sample_contrast(Sampler(seed), config, LesionConfig(), TABLE)


def changed_ids(before, after):
    rows = (after.means != before.means).any(dim=1).nonzero().flatten()
    return {TABLE.labels[int(row)].id for row in rows}


def test_structures_lie_between_gray_and_white_matter_and_are_alike_on_both_sides():
    places = []
    for seed in range(60):
        drawn = vary_structures(Sampler(seed), StructureConfig(probability=1), contrast("t1", seed), TABLE)
        gray, white = drawn.means[CORTEX], drawn.means[WHITE]
        places.append(((drawn.means[[THALAMUS, PALLIDUM]] - gray) / (white - gray)).flatten())
        for label in TABLE.labels:
            assert drawn.means[TABLE.index(label.id)] == drawn.means[TABLE.index(label.mirror)]

    thalamus, pallidum = torch.stack(places).T
    assert thalamus.median() == pytest.approx(0.45, abs=0.2) and thalamus.std() > 0.2
    assert pallidum.median() == pytest.approx(0.7, abs=0.2)


def test_only_the_structures_of_the_table_change_and_only_in_clinical_contrasts():
    t2, anything = contrast("t2"), contrast("random")
    config = StructureConfig(probability=1)
    mirrors = {label.mirror for label in TABLE.labels if label.id in TOWARDS_OTHER}

    after = vary_structures(Sampler(3), config, t2, TABLE)

    assert changed_ids(t2, after) == set(TOWARDS_OTHER) | mirrors
    assert vary_structures(Sampler(3), config, anything, TABLE) is anything
    assert vary_structures(Sampler(3), StructureConfig(), t2, TABLE) is t2


def test_around_the_brain_a_third_of_the_structures_look_like_anything_and_the_brain_stays():
    config = SurroundingsConfig(probability=1, any_probability=0.35, any_mean=(5.0, 6.0))
    far = total = 0
    for seed in range(40):
        before = contrast("t1", seed)
        after = vary_surroundings(Sampler(seed), config, before, TABLE)
        changed = changed_ids(before, after)
        groups = {TABLE.labels[TABLE.index(i)].group for i in changed}
        assert not groups & {"gray", "white", "ventricle", "csf", "background"}
        far += int((after.means >= 5).sum())
        total += len(changed)

    assert far / total == pytest.approx(0.35, abs=0.08)


def test_bone_stays_bright_on_ct():
    before = contrast("ct")
    after = vary_surroundings(Sampler(1), SurroundingsConfig(probability=1, any_probability=1), before, TABLE)

    assert after.means[TABLE.index(515)] == before.means[TABLE.index(515)]
    assert after.means[TABLE.index(507)] != before.means[TABLE.index(507)]


def pocket_case(family="t1", seed=2):
    """A head of 0.5 with a brain in its middle, and air around."""
    mean, brain = torch.zeros(1, 1, 48, 56, 52), torch.zeros(1, 1, 48, 56, 52)
    mean[..., 6:42, 6:50, 6:46] = 0.5
    brain[..., 16:32, 18:38, 16:36] = 1
    pockets = sample_pockets(Sampler(seed), PocketConfig(probability=1), family)
    return mean, brain, pockets


def test_pockets_lie_in_the_head_and_outside_the_brain():
    mean, brain, pockets = pocket_case()

    filled = fill_pockets(mean, brain, torch.zeros(1, 1), [pockets], 3.0)

    assert torch.equal(filled[brain > 0], mean[brain > 0])
    within = (mean > 0) & (brain == 0)
    assert 0.05 < (filled[within] != 0.5).float().mean() < 0.9
    corner = filled[..., :4, :4, :4]
    assert corner.abs().max() < 0.2
    assert torch.equal(filled, fill_pockets(mean, brain, torch.zeros(1, 1), [pockets], 3.0))


def test_heads_of_a_batch_have_pockets_of_their_own_or_none():
    mean, brain, pockets = pocket_case()

    filled = fill_pockets(
        mean.repeat(2, 1, 1, 1, 1), brain.repeat(2, 1, 1, 1, 1), torch.zeros(2, 1), [(), pockets], 3.0
    )

    assert torch.equal(filled[:1], mean)
    assert torch.equal(filled[1:], fill_pockets(mean, brain, torch.zeros(1, 1), [pockets], 3.0))


def test_pockets_of_air_on_ct_are_as_far_below_the_window_as_air():
    drawn = [
        sample_pockets(Sampler(s), PocketConfig(probability=1, air_probability=1), "ct") for s in range(5)
    ]

    assert all(pockets[0].value == CT_AIR for pockets in drawn)
    assert sample_pockets(Sampler(1), PocketConfig(), "ct") == ()


EVERYTHING = {
    "contrast": {
        "structures": {"probability": 1},
        "surroundings": {"probability": 1},
        "pockets": {"probability": 1},
    },
    "artefacts": {"coil": {"probability": 1}, "coverage": {"probability": 1}},
}


def synthesizer(family, **changes):
    config = {"shape": (56, 72, 64), "spacing_mm": 3.0, **changes}
    config["contrast"] = {**config.get("contrast", {}), "families": {family: 1}}
    bank = ball_bank([(-35, 5, 25), (40, -30, 20)])
    return Synthesizer([phantom_head()], bank, TABLE, SynthesisConfig.model_validate(config))


@pytest.mark.parametrize("family", ["t1", "adc", "ct", "random"])
def test_images_with_all_of_it_are_finite_and_made_again_from_their_record(family):
    generator = synthesizer(family, **EVERYTHING)
    parameters = generator.sample(4)

    first, again = generator.apply([parameters]), generator.apply([from_json(to_json(parameters))])

    assert parameters.pockets and parameters.coverage
    assert (parameters.coil.strength != 0) == (family != "ct")
    assert torch.isfinite(first.image).all()
    assert torch.equal(first.image, again.image) and torch.equal(first.target, again.target)


def test_what_is_switched_on_leaves_alone_what_it_is_not_for():
    plain, real = synthesizer("t2").sample(7), synthesizer("t2", **EVERYTHING).sample(7)

    for part in ("head", "skull_strip"):
        assert getattr(plain, part) == getattr(real, part)
    assert plain.contrast.texture_seed == real.contrast.texture_seed
    assert torch.equal(plain.artefacts.bias, real.artefacts.bias)
    assert torch.equal(plain.deformation.velocity_mm, real.deformation.velocity_mm)
    assert torch.equal(plain.contrast.means[[CORTEX, WHITE]], real.contrast.means[[CORTEX, WHITE]])


def test_a_batch_of_ct_and_magnetic_resonance_equals_each_one_alone():
    ct, t2 = synthesizer("ct", **EVERYTHING), synthesizer("t2", **EVERYTHING)
    parameters = [ct.sample(1), t2.sample(2)]

    together = ct.apply(parameters)

    for item, drawn in enumerate(parameters):
        alone = ct.apply([drawn])
        assert ((together.image[item] - alone.image[0]).abs() > 1e-2).float().mean() < 1e-3
        assert (together.target[item] != alone.target[0]).float().mean() < 1e-3


def test_a_ct_has_saturated_bone_black_air_and_fluid_darker_than_white_matter():
    generator = synthesizer("ct", skull_strip={"probability": 0}, lesion={"count_weights": {0: 1}})
    batch = generator.generate([3])
    image, target = batch.image[0, 0], batch.target[0]
    gray, white = (
        image[target == tissue].mean() for tissue in (TissueClass.GRAY_MATTER, TissueClass.WHITE_MATTER)
    )

    assert gray > white > image[target == TissueClass.CSF].quantile(0.03)  # most of it lies beside bone
    assert (image == image.max()).float().mean() > 0.02  # bone
    assert (image[:3] == image.min()).all()  # air without noise
    noise = image[target == TissueClass.WHITE_MATTER].std()
    assert 0.2 < noise / (gray - white) < 3
