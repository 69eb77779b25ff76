"""The realism switches: off they change nothing at all, and on they change nothing but what they are for."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch

from strokelabel.labels import TissueClass, default_label_table
from strokelabel.synthesis.config import SynthesisConfig
from strokelabel.synthesis.generator import Synthesizer
from strokelabel.synthesis.record import from_json, to_json
from support.head_phantom import ball_bank, phantom_head

TABLE = default_label_table()
BANK = ball_bank([(-35, 5, 25), (40, -30, 20), (30, 40, 0)], radius_mm=18)
HEADS = [phantom_head()]
STAGES = {"probability": 1}
DISTRACTORS = {
    "hyperintensity_probability": 1,
    "basal_ganglia_probability": 1,
    "susceptibility_probability": 1,
    "cortex_probability": 1,
}
EVERYTHING = {
    "volume_balance": 1,
    "spatial_prior": {"probability": 1, "maximum_volume_ml": 30},
    "embolic": {"probability": 0.5},
    "stages": STAGES,
    "mass_effect": {"probability": 1},
    "distractors": DISTRACTORS,
}


def synthesizer(lesion=None, **changes):
    config = {"shape": (56, 72, 64), "spacing_mm": 3.0, "lesion": lesion or {}, **changes}
    return Synthesizer(HEADS, BANK, TABLE, SynthesisConfig.model_validate(config))


def drawn(generator, seed):
    return json.loads(to_json(generator.sample(seed)))


def test_with_all_switches_off_the_same_numbers_are_drawn_as_ever():
    records = [drawn(synthesizer(), seed) for seed in range(6)]

    known = [
        [
            *(r["deformation"], r["lesions"]["draws"], r["lesions"]["shift_mm"]),
            *(r["contrast"]["means"][:50], r["contrast"]["lesion_means"], r["artefacts"]["noise_seed"]),
        ]
        for r in records
    ]
    text = json.dumps(json.loads(json.dumps(known), parse_float=lambda number: round(float(number), 5)))
    assert all(record["realism"] is None for record in records)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "0c5b54230399d762"


@pytest.mark.parametrize("lesion", [{"stages": STAGES}, {"distractors": DISTRACTORS}, EVERYTHING])
def test_switches_leave_alone_what_they_are_not_for(lesion):
    plain, real = drawn(synthesizer(), 3), drawn(synthesizer(lesion), 3)

    for part in ("head", "deformation", "skull_strip", "artefacts"):
        assert plain[part] == real[part]
    assert plain["contrast"]["texture_seed"] == real["contrast"]["texture_seed"]
    assert (plain["lesions"] == real["lesions"]) == (lesion is not EVERYTHING)


def test_an_image_with_everything_is_made_again_from_its_record():
    generator = synthesizer(EVERYTHING)
    parameters = generator.sample(5)

    again = from_json(to_json(parameters))

    assert torch.equal(generator.apply([parameters]).image, generator.apply([again]).image)


def test_images_with_everything_are_finite_and_do_not_depend_on_their_batch():
    generator = synthesizer(EVERYTHING)

    together = generator.generate([1, 2])

    assert torch.isfinite(together.image).all()
    assert int(together.target.max()) <= TissueClass.LESION
    for item, seed in enumerate((1, 2)):
        alone = generator.generate([seed])
        assert ((together.image[item] - alone.image[0]).abs() > 1e-2).float().mean() < 1e-3
        assert (together.target[item] != alone.target[0]).float().mean() < 1e-3


def test_heads_without_lesions_have_distractors_and_no_lesion():
    lesion = {**EVERYTHING, "count_weights": {0: 1}}
    generator, plain = synthesizer(lesion), synthesizer({"count_weights": {0: 1}})

    for seed in range(2):
        batch = generator.generate([seed])
        assert not (batch.target == TissueClass.LESION).any()
        assert not torch.allclose(batch.image, plain.generate([seed]).image, atol=0.05)


def test_stages_and_distractors_do_not_change_the_label():
    lesion = {"count_weights": {2: 1}}
    plain = synthesizer(lesion)
    dressed = synthesizer({**lesion, "stages": STAGES, "distractors": DISTRACTORS})

    for seed in range(2):
        assert torch.equal(plain.generate([seed]).target, dressed.generate([seed]).target)


def test_a_chronic_lesion_shows_its_cavity_on_flair():
    generator = synthesizer(
        {
            "count_weights": {1: 1},
            "stages": {"probability": 1, "weights": {"chronic": 1}},
            "penumbra_probability": 0,
        },
        contrast={"families": {"flair": 1}, "deviation": (0, 0.01)},
        artefacts={"full_resolution_probability": 1, "bias_strength": (0, 0), "gamma_log_deviation": 0},
        skull_strip={"probability": 0},
    )
    batch = generator.generate([8])
    image, lesion = batch.image[0, 0], batch.target[0] == TissueClass.LESION
    white = image[batch.target[0] == TissueClass.WHITE_MATTER].mean()

    assert image[lesion].quantile(0.1) < white - 0.3
    assert image[lesion].quantile(0.97) > white
