"""The whole generator: a seed is an image, a batch is its items, and labels lie where the anatomy is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from strokelabel.errors import DataError
from strokelabel.labels import TissueClass, default_label_table
from strokelabel.synthesis.config import SynthesisConfig
from strokelabel.synthesis.generator import Synthesizer
from strokelabel.synthesis.record import from_json, to_json
from support.head_phantom import ball_bank, phantom_head, phantom_ids

TABLE = default_label_table()
BANK = ball_bank([(-35, 5, 25), (40, -30, 20), (30, 40, 0)])
STILL = {
    "rotation_degrees": (0, 0),
    "shear": (0, 0),
    "zoom": (1, 1),
    "translation_mm": (0, 0),
    "elastic_fraction": (0, 0),
    "flip_probability": (0, 0, 0),
}
CLEAN = {
    "bias_strength": (0, 0),
    "gamma_log_deviation": 0,
    "motion_fwhm_mm": (0, 0),
    "full_resolution_probability": 1,
    "noise_deviation": (0, 0),
}


def synthesizer(heads=None, bank=BANK, **changes):
    config = SynthesisConfig.model_validate({"shape": (56, 72, 64), "spacing_mm": 3.0, **changes})
    return Synthesizer(heads or [phantom_head()], bank, TABLE, config)


def test_the_same_seed_gives_the_same_image_and_another_seed_another():
    generator = synthesizer()

    first, again, other = (generator.generate([seed]) for seed in (11, 11, 12))

    assert torch.equal(first.image, again.image) and torch.equal(first.target, again.target)
    assert not torch.allclose(first.image, other.image)


def test_an_image_does_not_depend_on_the_batch_it_is_made_in():
    generator = synthesizer([phantom_head(), phantom_head(spacing_mm=4.5)])

    together = generator.generate([1, 2, 3])

    for item, seed in enumerate((1, 2, 3)):
        alone = generator.generate([seed])
        # Voxels on the brain's very edge may fall on either side of a threshold.
        assert ((together.image[item] - alone.image[0]).abs() > 1e-2).float().mean() < 1e-4
        assert (together.target[item] != alone.target[0]).float().mean() < 1e-4


def test_parameters_survive_json_and_make_the_same_image_again():
    generator = synthesizer()
    parameters = generator.sample(5)

    read = from_json(to_json(parameters))

    assert torch.equal(generator.apply([parameters]).image, generator.apply([read]).image)


def test_a_record_of_something_else_is_refused():
    with pytest.raises(DataError, match="record of a synthetic image"):
        from_json('{"seed": 1}')


def test_images_are_normalised_and_finite_whatever_is_drawn():
    batch = synthesizer().generate(list(range(12)))

    assert torch.isfinite(batch.image).all()
    torch.testing.assert_close(batch.image.mean(dim=(1, 2, 3, 4)), torch.zeros(12), atol=1e-3, rtol=0)
    torch.testing.assert_close(batch.image.std(dim=(1, 2, 3, 4)), torch.ones(12), atol=1e-2, rtol=0)
    assert batch.target.dtype == torch.uint8 and int(batch.target.max()) <= TissueClass.LESION


def test_without_deformation_the_labels_are_those_of_the_label_map():
    generator = synthesizer(
        deformation=STILL, lesion={"count_weights": {0: 1.0}}, skull_strip={"probability": 0}, artefacts=CLEAN
    )

    target = generator.generate([3]).target[0].numpy()

    ids = phantom_ids()
    padded = np.zeros((56, 72, 64), dtype=int)
    padded[:, 2:70, 2:62] = ids
    for label_ids, tissue in (((2, 41), TissueClass.WHITE_MATTER), ((3, 42), TissueClass.GRAY_MATTER)):
        inside = np.isin(padded, label_ids)
        agreement = (target[inside] == tissue).mean()
        assert agreement > 0.75, tissue.name  # the rest is partial volume at the borders
    assert (target[np.isin(padded, (511, 515, 0))] == TissueClass.BACKGROUND).mean() > 0.98


def test_left_lesions_stay_on_the_left_without_flips_and_on_the_right_with_one():
    changes = {
        "lesion": {"count_weights": {1: 1.0}, "mirror_probability": 0, "shift_mm": (0, 0)},
        "skull_strip": {"probability": 0},
    }
    for flips, side in (((0, 0, 0), -1), ((1, 0, 0), 1)):
        generator = synthesizer(
            bank=ball_bank([(-35, 5, 25)]), deformation={**STILL, "flip_probability": flips}, **changes
        )
        x = np.argwhere(generator.generate([2]).target[0].numpy() == TissueClass.LESION)[:, 0].mean()
        assert np.sign(x - 27.5) == side


def test_lesions_look_different_from_the_tissue_they_replace():
    generator = synthesizer(
        deformation=STILL,
        artefacts=CLEAN,
        skull_strip={"probability": 0},
        contrast={"families": {"flair": 1.0}, "deviation": (0, 0.01)},
        lesion={"count_weights": {1: 1.0}, "penumbra_probability": 0},
    )
    batch = generator.generate([4])
    image, target = batch.image[0, 0], batch.target[0]

    assert image[target == TissueClass.LESION].mean() > image[target == TissueClass.WHITE_MATTER].mean() + 0.3


def test_a_bank_without_lesions_gives_lesion_free_heads():
    batch = synthesizer(bank=ball_bank([])).generate([1, 2, 3])

    assert not (batch.target == TissueClass.LESION).any()


def test_stripping_the_skull_leaves_one_value_and_background_outside_the_brain():
    generator = synthesizer(deformation=STILL, skull_strip={"probability": 1})
    batch = generator.generate([6])

    outside = torch.zeros(56, 72, 64, dtype=torch.bool)
    outside[:, 2:70, 2:62] = torch.from_numpy(np.isin(phantom_ids(), (511, 0)))
    values = batch.image[0, 0][outside]
    assert (values == values[0]).float().mean() > 0.95
    assert (batch.target[0][outside] == TissueClass.BACKGROUND).all()


def test_air_goes_on_where_the_label_map_ends():
    generator = synthesizer(
        deformation=STILL,
        artefacts=CLEAN,
        skull_strip={"probability": 0},
        contrast={"background_zero_probability": 0, "background_mean": (0.1, 0.1), "deviation": (0, 0)},
    )

    image = generator.generate([1]).image[0, 0]

    within, beyond = image[0, 4, 4], image[0, 0, 0]
    assert within == pytest.approx(float(beyond), abs=1e-3)


def test_no_heads_is_an_error_that_says_what_to_do():
    with pytest.raises(DataError, match="strokelabel prepare"):
        Synthesizer([], BANK, TABLE, SynthesisConfig())


@pytest.mark.parametrize("weights", [{}, {"random": 0.0}, {"t1": -1.0, "t2": 2.0}])
def test_frequencies_that_nothing_can_be_drawn_with_are_refused(weights):
    with pytest.raises(ValueError, match="expected frequencies"):
        SynthesisConfig.model_validate({"contrast": {"families": weights}})


def test_clean_images_have_the_anatomy_and_no_artefacts():
    artefacts = {"noise_deviation": (0.1, 0.1), "bias_strength": (0.4, 0.4), "full_resolution_probability": 1}
    disturbed, clean = (
        synthesizer(deformation=STILL, artefacts=changes, skull_strip={"probability": 0})
        for changes in (artefacts, CLEAN)
    )
    made, plain = (one.apply([one.sample(4)], keep_clean=True) for one in (disturbed, clean))

    assert disturbed.generate([4]).clean is None
    torch.testing.assert_close(made.clean, plain.clean, rtol=0, atol=1e-5)
    assert np.corrcoef(made.image.flatten(), made.clean.flatten())[0, 1] < 0.98
    assert np.corrcoef(plain.image.flatten(), plain.clean.flatten())[0, 1] > 0.999
