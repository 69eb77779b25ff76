"""qSynth's contrast: quantitative values by subject, a scan of them, and signals that mix as they do in a scanner."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from strokelabel.errors import DataError
from strokelabel.labels import BRAIN_GROUPS, TissueClass, default_label_table
from strokelabel.physics import CLINICAL, PAPER, Flair, QuantitativeMaps
from strokelabel.synthesis.config import ContrastConfig, PhysicsConfig, SynthesisConfig
from strokelabel.synthesis.contrast.gaussian_mixture import look_up
from strokelabel.synthesis.contrast.signals import expose, signal_contrast
from strokelabel.synthesis.contrast.tissue_properties import sample_tissue_contrast, scanned_again, with_stage
from strokelabel.synthesis.generator import Synthesizer
from strokelabel.synthesis.lesions.lesion import COMPONENTS
from strokelabel.synthesis.quantitative.scan import scan
from strokelabel.synthesis.record import from_json, to_json
from strokelabel.synthesis.sampling import Sampler
from support.head_phantom import ball_bank, phantom_head

TABLE = default_label_table()
GRAY, WHITE, CSF, AIR = (TABLE.index(i) for i in (3, 2, 24, 0))
FLAIR = {"presets": {"clinical": 1.0}, "protocols": {"t1-mprage": 0, "t1-mp2rage": 0, "t1-spgr": 0, "t1-fse": 0,
         "t2-fse": 0, "pd-fse": 0, "t2star-gre": 0}}  # fmt: skip


def draws(count=40, **physics):
    config = ContrastConfig(model="physics", physics=physics)
    return [sample_tissue_contrast(Sampler(seed), config, TABLE) for seed in range(count)]


def make_synthesizer(physics=None, lesion=None, **sections):
    config = SynthesisConfig.model_validate(
        {
            "shape": (24, 30, 26),
            "spacing_mm": 8.0,
            "contrast": {"model": "physics", "physics": physics or {}},
            "lesion": {"count_weights": {1: 1.0}} | (lesion or {}),
        }
        | sections
    )
    bank = ball_bank([(-30.0, 0.0, 25.0), (28.0, -20.0, 30.0)])
    return Synthesizer([phantom_head(spacing_mm=8.0)], bank, TABLE, config)


def test_subjects_differ_and_both_sides_of_a_subject_do_not():
    drawn = draws()
    white = torch.stack([d.means[WHITE] for d in drawn])
    assert white[:, 1].std() == pytest.approx(0.045, abs=0.02)
    for contrast in drawn:
        for label in TABLE.labels:
            row, other = TABLE.index(label.id), TABLE.index(label.mirror)
            assert torch.equal(contrast.means[row], contrast.means[other])


def test_values_are_physical_and_air_has_no_protons():
    for contrast in draws(between_subjects=3.0):
        assert bool((contrast.means >= 0).all()) and bool((contrast.deviations >= 0).all())
        assert float(contrast.means[AIR, 0]) == 0
        assert contrast.means.shape == (len(TABLE.labels), 5)
        assert contrast.lesion_means.shape == (1, len(COMPONENTS), 5)


def test_presets_protocols_and_stages_are_drawn_as_often_as_asked():
    drawn = draws(
        200, presets={"paper": 0.25, "clinical": 0.75}, protocols={"flair": 0}, stages={"cavity": 1}
    )
    paper = sum(d.scan.protocol.startswith("paper/") for d in drawn)
    assert paper == pytest.approx(50, abs=20)
    assert not any("flair" in d.scan.protocol for d in drawn)
    assert all(d.family.endswith(" cavity") and d.lesion_means[0, 0, 1] < 0.4 for d in drawn)


def test_a_stage_changes_the_lesion_proper_and_nothing_else():
    (before,) = draws(1, stages={"cavity": 1})
    after = with_stage(Sampler(3), PhysicsConfig(), before, "acute")
    assert after.lesion_means[0, 0, 1] > before.lesion_means[0, 0, 1]
    assert torch.equal(after.lesion_means[:, 1:], before.lesion_means[:, 1:])
    assert torch.equal(after.means, before.means) and after.scan is before.scan
    assert after.family == f"{before.scan.protocol} acute"
    assert with_stage(Sampler(3), PhysicsConfig(), before, "plain") is before


def test_signals_interpolated_between_transmit_fields_are_those_of_the_sequence():
    for contrast in draws(30, receive_strength=(0.3, 0.3), transmit_strength=(0.25, 0.25)):
        rows = torch.tensor([GRAY, WHITE, CSF])
        exact = scan(
            contrast.means[rows].T.reshape(1, 5, 3, 1, 1).expand(1, 5, 3, 11, 10).contiguous(),
            torch.zeros(1, 2, 3, 11, 10),
            [contrast.scan],
        )
        signals = signal_contrast(contrast).means[rows].T.reshape(1, 3, 3, 1, 1).expand(1, 3, 3, 11, 10)
        fast = expose(signals, torch.zeros(1, 1, 3, 11, 10), [contrast.scan])
        np.testing.assert_allclose(fast, exact, atol=0.06, err_msg=contrast.scan.protocol)


def test_texture_spreads_the_signal_as_varied_tissue_would():
    for contrast in draws(6, presets={"clinical": 1.0}, transmit_strength=(0, 0), receive_strength=(0, 0)):
        deviation = float(signal_contrast(contrast).deviations[GRAY])
        noise = torch.randn(20000, 5, generator=torch.Generator().manual_seed(1))
        relative = contrast.scan.texture.norm(dim=1) * contrast.deviations[GRAY]
        values = contrast.means[GRAY] * (1 + relative * noise).clamp_min(0)
        transmit = 1 + float(contrast.scan.transmit.flatten()[0])
        signal = contrast.scan.acquisition.signal(QuantitativeMaps.unstack(values, dim=1), transmit=transmit)
        assert deviation == pytest.approx(float(signal.std()) / contrast.scan.reference, rel=0.1)


def test_fluid_beside_white_matter_gives_no_bright_rim_on_flair():
    (contrast,) = draws(1, between_subjects=0.0, transmit_strength=(0, 0), receive_strength=(0, 0), **FLAIR)
    contrast = replace(contrast, scan=replace(contrast.scan, acquisition=Flair(0.12, 9.0, 2.5)))
    fraction = torch.linspace(0, 255, 11).to(torch.uint8).view(1, 11, 1, 1)
    first, second = (torch.full_like(fraction, label) for label in (WHITE, CSF))
    mixed = look_up(signal_contrast(contrast).means[None], first, second, fraction)
    profile = expose(mixed, torch.zeros(1, 1, 11, 1, 1), [contrast.scan]).flatten()
    assert float(profile.max()) == float(profile[-1]), "pure white matter is the brightest"


@pytest.mark.parametrize(("preset", "name"), [("paper", name) for name in PAPER])
def test_an_image_is_made_again_from_its_record_bit_for_bit_in_every_sequence(preset, name):
    others = dict.fromkeys({*PAPER, *CLINICAL} - {name}, 0.0)
    synthesizer = make_synthesizer({"presets": {preset: 1.0}, "protocols": others})
    first = synthesizer.generate([1])
    parameters = from_json(to_json(first.parameters[0]))
    drawn = parameters.contrast.scan
    assert drawn.protocol == f"{preset}/{name}"
    assert drawn.acquisition == first.parameters[0].contrast.scan.acquisition
    assert torch.equal(synthesizer.apply([parameters]).image, first.image)


def test_an_image_does_not_depend_on_the_batch_it_is_in():
    synthesizer = make_synthesizer()
    together = synthesizer.generate([3, 4])
    for row, seed in enumerate((3, 4)):
        alone = synthesizer.generate([seed])
        torch.testing.assert_close(together.image[row], alone.image[0], rtol=1e-3, atol=1e-3)
        assert torch.equal(together.target[row], alone.target[0])


def test_images_of_all_protocols_are_finite_and_normalised():
    batch = make_synthesizer().generate(list(range(6)))
    assert bool(torch.isfinite(batch.image).all())
    assert batch.image.std(dim=(1, 2, 3, 4)).numpy() == pytest.approx(1.0, abs=0.02)


def test_a_clinical_flair_shows_tissue_and_lesion_as_radiologists_know_them():
    quiet = {
        "bias_strength": (0, 0), "gamma_log_deviation": 0.0, "motion_fwhm_mm": (0, 0),
        "full_resolution_probability": 1.0, "noise_deviation": (0, 0.01),
    }  # fmt: skip
    synthesizer = make_synthesizer(
        FLAIR | {"stages": {"subacute": 1}, "receive_strength": (0, 0), "transmit_strength": (0, 0)},
        {"penumbra_probability": 0.0}, artefacts=quiet, skull_strip={"probability": 0.0},
    )  # fmt: skip
    for seed in range(3):
        batch = synthesizer.generate([seed])
        image, target = batch.image[0, 0], batch.target[0]
        lesion, white, csf = (
            float(image[target == c].median())
            for c in (TissueClass.LESION, TissueClass.WHITE_MATTER, TissueClass.CSF)
        )
        assert lesion > white > csf


def test_the_reference_is_the_brain_so_that_fat_does_not_darken_it():
    inside = torch.tensor([label.group in BRAIN_GROUPS for label in TABLE.labels])
    for contrast in draws(20):
        nominal = contrast.scan.acquisition.magnitude(QuantitativeMaps.unstack(contrast.means[inside], dim=1))
        assert float(nominal.max()) == pytest.approx(contrast.scan.reference, rel=1e-4)


def test_a_users_priors_are_used(tmp_path):
    table = tmp_path / "mine.tsv"
    table.write_text("tissue\tparameter\tmean\tbetween\twithin\nwhite\tr1\t3.5\t0\t0\n")
    (contrast,) = draws(1, priors=str(table))
    assert float(contrast.means[WHITE, 1]) == pytest.approx(3.5)


@pytest.mark.parametrize(
    ("physics", "message"),
    [
        ({"protocols": {"epi": 1}}, "expected frequencies of at least 0 for some of"),
        ({"protocols": {"fse": -1}}, "expected frequencies of at least 0 for some of"),
        ({"presets": {"paper": 0}}, "one of them above 0"),
        ({"presets": {"mine": 1}}, "Input should be 'paper' or 'clinical'"),
        ({"presets": {"paper": 1}, "protocols": dict.fromkeys(("fse", "gre", "spgr", "flair", "mprage", "mp2rage"), 0)},
         "protocols: expected one of preset paper"),
        ({"stages": {"old": 1}}, "Input should be 'acute'"),
    ],
)  # fmt: skip
def test_frequencies_of_nothing_are_refused(physics, message):
    with pytest.raises(ValidationError, match=message):
        PhysicsConfig.model_validate(physics)


@pytest.mark.parametrize(
    "change",
    [
        lambda scan: scan["acquisition"].pop("echo_time"),
        lambda scan: scan["acquisition"].update(echo_time=-1.0),
        lambda scan: scan["acquisition"].update(echo_time="short"),
        lambda scan: scan.update(acquisition={"echo_time": 0.1}),
        lambda scan: scan.update(receive="strong"),
    ],
)
def test_records_of_impossible_scans_are_refused(change):
    record = json.loads(to_json(make_synthesizer().sample(2)))
    change(record["contrast"]["scan"])
    with pytest.raises(DataError, match="Expected the record of a synthetic image"):
        from_json(json.dumps(record))


def test_a_subject_scanned_again_keeps_its_tissues_and_its_stage_in_another_protocol():
    config = PhysicsConfig()
    for seed, first in enumerate(draws(12)):
        again = scanned_again(Sampler(1000 + seed), config, first, TABLE)

        assert torch.equal(again.means, first.means) and torch.equal(again.lesion_means, first.lesion_means)
        assert torch.equal(again.scan.texture, first.scan.texture)
        assert again.texture_seed != first.texture_seed
        assert again.family.split()[-1] == first.family.split()[-1]
        assert again.scan.protocol.split("/")[1] != first.scan.protocol.split("/")[1]


def test_where_there_is_one_protocol_a_subject_is_scanned_again_with_its_other_parameters():
    (first,) = draws(1, **FLAIR)
    again = scanned_again(Sampler(9), PhysicsConfig.model_validate(FLAIR), first, TABLE)

    assert again.scan.protocol == first.scan.protocol == "clinical/flair"
    assert again.scan.acquisition != first.scan.acquisition
