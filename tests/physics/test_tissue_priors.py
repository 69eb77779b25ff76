"""Priors: every label has one, every number a source, a user's table replaces them, draws are physical."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from strokelabel.errors import DataError, LabelMapError
from strokelabel.labels import TISSUE_GROUPS, default_label_table
from strokelabel.physics import (
    MAP_NAMES,
    default_priors,
    draw_tissues,
    insert_tissue,
    label_tissues,
    maps_from_labels,
    read_priors,
)
from strokelabel.synthesis.sampling import Sampler

PRIORS = default_priors()
TABLE = default_label_table()
HEADER = "tissue\tparameter\tmean\tbetween\twithin\tsource\n"


def test_every_group_and_every_label_has_a_prior_with_sources():
    for group in TISSUE_GROUPS:
        assert set(PRIORS[group]) == set(MAP_NAMES)
    for label in TABLE.labels:
        assert PRIORS[PRIORS.tissue_of(label)]
    for tissue, rows in PRIORS.tissues.items():
        assert all(prior.source for prior in rows.values()), tissue


def test_the_published_numbers_are_the_shipped_ones():
    assert PRIORS.means("gray")[:2] == (76.84, 0.652) and PRIORS.means("gray")[3:] == (19.84, 0.779)
    assert PRIORS.means("white")[:2] == (69.79, 0.968) and PRIORS.means("white")[3:] == (22.23, 1.5)
    assert PRIORS.means("gray-white")[1] == 0.788 and PRIORS.means("multibrain-5")[1] == 1.34
    assert PRIORS.means("csf-published")[1] == 0.514


def test_free_fluid_relaxes_slowly_and_iron_fast():
    for fluid in ("csf", "ventricle", "eye"):
        pd, r1, r2, _, mt = PRIORS.means(fluid)
        assert pd > 95 and 0.2 < r1 < 0.3 and r2 <= 1 and mt < 0.1
    order = [PRIORS.means(tissue)[3] for tissue in ("gray", "caudate", "putamen", "pallidum")]
    assert order == sorted(order)


def test_lesion_stages_differ_as_they_do_in_patients():
    r1 = {t: PRIORS.means(t)[1] for t in PRIORS.tissues}
    r2 = {t: PRIORS.means(t)[2] for t in PRIORS.tissues}
    assert r1["white"] > r1["lesion-acute"] > r1["lesion-subacute"] > r1["lesion-cavity"] > r1["csf"]
    assert (
        r2["white"] > r2["lesion-acute"] > r2["lesion-gliosis"] > r2["lesion-subacute"] > r2["lesion-cavity"]
    )
    assert r2["haemorrhage-acute"] > r2["white"] > r2["haemorrhage-late-subacute"]
    assert r1["haemorrhage-late-subacute"] > 1.5 > r1["haemorrhage-acute"]
    assert PRIORS.means("haemorrhage-chronic")[3] > 100


def test_draws_spread_about_their_mean_and_are_physical():
    drawn = [PRIORS.draw(Sampler(seed), "white") for seed in range(400)]
    r1 = np.array([d.means[1] for d in drawn])
    assert r1.mean() == pytest.approx(0.968, abs=0.01) and r1.std() == pytest.approx(0.045, abs=0.008)
    for tissue in PRIORS.tissues:
        for seed in range(30):
            draw = PRIORS.draw(Sampler(seed), tissue, between=3.0)
            assert min(draw.means) >= 0 and min(draw.deviations) >= 0 and draw.means[3] >= draw.means[2]
    assert PRIORS.draw(Sampler(0), "gray", between=0.0).means == PRIORS.means("gray")


def test_a_label_map_becomes_maps_of_its_tissues():
    ids = np.zeros((4, 5, 3), dtype=np.int32)
    ids[1:3, 1:4] = 3
    ids[2, 2, 1] = 13
    tissues = label_tissues(ids, TABLE, PRIORS)
    maps = maps_from_labels(ids, tissues, draw_tissues(set(tissues.values()), PRIORS))
    assert maps.stack().shape == (5, 4, 5, 3)
    assert float(maps.r2_star[2, 2, 1]) == pytest.approx(37.8) and float(maps.pd[0, 0, 0]) == 0
    assert maps.stack()[:, 1, 1, 0].tolist() == pytest.approx(PRIORS.means("gray"))


def test_spread_within_tissues_is_seeded_and_as_wide_as_drawn():
    ids = np.full((20, 21, 22), 2, dtype=np.int16)
    tissues = label_tissues(ids, TABLE, PRIORS)
    drawn = draw_tissues({"white"}, PRIORS, Sampler(4))
    first, again = (
        maps_from_labels(ids, tissues, drawn, torch.Generator().manual_seed(1)).stack() for _ in range(2)
    )
    assert torch.equal(first, again)
    deviations = first.flatten(1).std(dim=1).tolist()
    assert deviations == pytest.approx(list(drawn["white"].deviations), rel=0.05)


def test_a_lesion_is_blended_into_the_maps():
    ids = np.full((2, 3, 4), 2, dtype=np.int16)
    tissues = label_tissues(ids, TABLE, PRIORS)
    maps = maps_from_labels(ids, tissues, draw_tissues({"white"}, PRIORS))
    mask = torch.zeros(2, 3, 4)
    mask[0, 0], mask[1, 1] = 1.0, 0.5
    cavity = draw_tissues({"lesion-cavity"}, PRIORS)["lesion-cavity"]
    r1 = insert_tissue(maps, mask, cavity).r1
    assert float(r1[0, 0, 0]) == pytest.approx(0.26)
    assert float(r1[1, 1, 0]) == pytest.approx((0.26 + 0.968) / 2)
    assert float(r1[1, 2, 0]) == pytest.approx(0.968)


def test_labels_that_no_table_knows_are_refused():
    with pytest.raises(LabelMapError, match="unknown \\[9999\\]"):
        label_tissues(np.array([[[0, 9999]]]), TABLE, PRIORS)


def test_a_users_table_replaces_single_numbers_and_adds_tissues(tmp_path):
    table = tmp_path / "mine.tsv"
    rows = "".join(f"calcification\t{name}\t10\t1\t0.5\tmine\n" for name in MAP_NAMES)
    table.write_text("# my scanner\n" + HEADER + "white\tr1\t0.8\t0.01\t0.02\tmy scanner\n" + rows)
    priors = read_priors(table)
    assert priors.means("white") == (69.79, 0.8, 14.0, 22.23, 1.5)
    assert priors["white"]["r1"].source == "my scanner" and priors.means("calcification") == (10,) * 5
    assert default_priors().means("white")[1] == 0.968, "the shipped ones stay as they are"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tissue\tparameter\nwhite\tr1\n", "missing mean, between, within"),
        (HEADER + "white\tT1\t1\t0\t0\t\n", "expected a parameter of pd, r1"),
        (HEADER + "white\tr1\tslow\t0\t0\t\n", "expected numbers"),
        (HEADER + "white\tr1\t-1\t0\t0\t\n", "at least 0"),
        (HEADER + "white\tr1\tnan\t0\t0\t\n", "at least 0"),
        (HEADER + "stone\tr1\t1\t0\t0\t\n", "stone: expected all of"),
    ],
)
def test_malformed_tables_are_refused_with_the_place(tmp_path, text, message):
    path = tmp_path / "mine.tsv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_priors(path)


def test_missing_tables_and_tissues_are_refused(tmp_path):
    with pytest.raises(DataError, match="expected a readable table"):
        read_priors(tmp_path / "none.tsv")
    with pytest.raises(DataError, match="expected a tissue of background, gray"):
        PRIORS["cheese"]
