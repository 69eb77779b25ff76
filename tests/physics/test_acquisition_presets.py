"""Drawn acquisitions are possible, repeatable, and distributed as their preset says."""

from __future__ import annotations

import numpy as np
import pytest

from strokelabel.errors import OptionError
from strokelabel.physics import CLINICAL, PAPER, PRESETS, Protocol, draw_acquisition, find_protocol
from strokelabel.physics.distributions import Fixed, LogUniform
from strokelabel.synthesis.sampling import Sampler
from support.tissue_phantoms import maps_of

EVERY = [(preset, name) for preset, protocols in PRESETS.items() for name in protocols]


def draws(protocol, count=200):
    sampler = Sampler(11)
    return [draw_acquisition(sampler, protocol) for _ in range(count)]


@pytest.mark.parametrize(("preset", "name"), EVERY)
def test_every_draw_is_possible_and_made_again_from_its_seed(preset, name):
    protocol = find_protocol(preset, name)
    drawn = draws(protocol, 60)
    assert drawn == draws(protocol, 60)
    assert len(set(drawn)) == 60, "the preset varies"
    assert {d.name for d in drawn} == {protocol.sequence}
    assert all((d.magnitude(maps_of("gray", "white", "csf")) >= 0).all() for d in drawn)


def test_impossible_draws_are_drawn_again():
    assert all(d.echo_time < d.repetition_time for d in draws(PAPER["fse"]))
    late = draws(Protocol("fse", {"echo_time": LogUniform(0.001, 10), "repetition_time": Fixed(0.01)}))
    assert max(d.echo_time for d in late) < 0.01


def test_a_protocol_that_is_never_possible_is_refused_with_the_reason():
    with pytest.raises(OptionError, match=r"got none in .* the echo time"):
        draw_acquisition(
            Sampler(0), Protocol("fse", {"echo_time": Fixed(2.0), "repetition_time": Fixed(1.0)})
        )


def test_unknown_presets_are_refused_with_what_there_is():
    with pytest.raises(OptionError, match="clinical: t1-mprage"):
        find_protocol("clinical", "t3")


def test_the_papers_distributions_are_those_of_its_section_2_3_with_its_slips_corrected():
    flair = [np.log10(d.echo_time) for d in draws(PAPER["flair"])]
    assert np.mean(flair) == pytest.approx(np.log10(0.02), abs=0.03) and np.std(flair) == pytest.approx(
        0.1, abs=0.02
    )
    mprage = draws(PAPER["mprage"])
    assert np.mean([d.repetition_time for d in mprage]) == pytest.approx(2.3, abs=0.06)
    assert all(0.6 <= d.inversion_time <= 0.9 and 5 <= d.flip_angle <= 12 for d in mprage)
    assert all(isinstance(d.excitations, int) and d.inversion_efficiency <= 1 for d in mprage)
    gre = draws(PAPER["gre"])
    assert all(0.002 <= d.echo_time <= 0.08 and 5 <= d.flip_angle <= 50 for d in gre)


def test_clinical_contrasts_look_like_their_names():
    maps = maps_of("white", "gray", "csf", "lesion-subacute")
    for name in ("t1-mprage", "t1-mp2rage", "t1-spgr", "t1-fse"):
        for acquisition in draws(CLINICAL[name], 40):
            white, gray, csf, _ = acquisition.magnitude(maps)
            assert white > gray > csf, (name, acquisition)
    for acquisition in draws(CLINICAL["t2-fse"], 40):
        white, gray, csf, lesion = acquisition.magnitude(maps)
        assert csf > lesion > gray > white, acquisition
    signals = np.stack([d.magnitude(maps).numpy() for d in draws(CLINICAL["flair"], 40)])
    white, gray, csf, lesion = signals.T
    assert (lesion > gray).all() and (gray > white).all() and (white > csf).all()
    assert np.median(csf / gray) < 0.15
    for acquisition in draws(CLINICAL["t2star-gre"], 40):
        blood, tissue = acquisition.magnitude(maps_of("haemorrhage-acute", "white"))
        assert blood < 0.6 * tissue
