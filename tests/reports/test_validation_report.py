"""Scores of a model on synthetic volumes: the numbers, the table and the pictures."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from bright_network import BrightNetwork, make_spec
from strokelabel.fit.session import make_synthesizer
from strokelabel.inference.predictor import Predictor
from strokelabel.labels import TissueClass
from strokelabel.reports.contact_sheet import make_panel
from strokelabel.reports.validation import (
    CaseScore,
    as_scan,
    score_cases,
    summary,
    write_pictures,
    write_table,
)
from strokelabel.synthesis.generator import Synthesizer
from strokelabel.synthesis.prepared import PreparedData
from strokelabel.synthesis.validation import lesion_free_cases, make_case, validation_cases, validation_config
from tiny_prepared import make_recipe, write_prepared


class GlaringLesions(Synthesizer):
    """A generator whose lesions outshine everything else by far."""

    def apply(self, parameters):
        batch = super().apply(parameters)
        image = batch.image.masked_fill((batch.target == TissueClass.LESION)[:, None], 15.0)
        return replace(batch, image=image)


def panel(value):
    return make_panel(np.where(np.arange(8) % 2, value, 0.0)[:, None, None] * np.ones((8, 8, 8)), {}, "")


def make_score(case, dice, reference_ml=10.0, predicted_ml=10.0):
    return CaseScore(case, dice, reference_ml, predicted_ml, 1.5, panel(1.0))


def test_lesions_that_anyone_would_see_score_well_on_the_grid_that_they_were_made_on(tmp_path):
    data = PreparedData.load(write_prepared(tmp_path / "prepared", voxel_mm=1.0, scale=0.36, brains=2))
    recipe = make_recipe(brains={"train": ["brain-01"], "validation": ["brain-10"]})
    unseen = make_synthesizer(data, recipe, "validation", validation_config((60, 76, 68), 1.0), "cpu")
    glaring = GlaringLesions(unseen.heads, unseen.lesions, unseen.table, unseen.config)
    spec = make_spec(spacing_mm=1.0, normalization={"lower": 0.0, "upper": 100.0})
    predictor = Predictor(spec, BrightNetwork(), torch.device("cpu"))
    cases = validation_cases(2)[2:5]

    scores = list(score_cases(predictor, glaring, cases))

    assert [score.case for score in scores] == cases
    for score in scores:
        truth = (make_case(glaring, score.case).target == TissueClass.LESION).sum()
        assert score.reference_ml == pytest.approx(float(truth) / 1000) and score.reference_ml > 0.1
        assert score.dice > 0.95
        assert score.predicted_ml == pytest.approx(score.reference_ml, rel=0.1)
        assert score.seconds > 0
        assert set(score.panel.outlines) == {"lime", "red"} and score.panel.outlines["lime"].any()
        assert score.panel.title.startswith(score.case.family)
    assert [score.slices for score in scores] == ["1 mm", "1 mm", "5 mm"]


def test_a_scan_is_never_negative_and_keeps_every_difference(prepared_folder):
    recipe = make_recipe()
    data = PreparedData.load(prepared_folder)
    batch = make_synthesizer(data, recipe, "train", recipe.synthesis, "cpu").generate([1])
    scan = as_scan(batch, 6.0, "case")
    assert scan.data.min() == 0 and scan.data.dtype == np.float32
    np.testing.assert_allclose(np.diff(scan.data, axis=0), np.diff(batch.image[0, 0], axis=0), atol=1e-5)
    np.testing.assert_array_equal(scan.affine, np.diag([6.0, 6.0, 6.0, 1.0]))
    assert scan.source == "case"


def test_the_summary_gives_median_mean_and_volume_error_per_contrast_and_slices():
    cases = validation_cases(3)
    dice = {"t1": (0.1, 0.2, 0.9), "t2": (0.5, 0.5, 0.5), "flair": (1.0, 0.0, 0.5), "random": (0.0, 0.0, 0.0)}
    scores = [make_score(case, dice[case.family][case.index // 4]) for case in cases]
    scores[0] = replace(scores[0], predicted_ml=4.0)  # the first T1 case, 6 ml too few
    scores[8] = replace(scores[8], predicted_ml=12.0)  # the last T1 case, 2 ml too many

    lines = summary(scores).splitlines()

    assert lines[0].count("|") == lines[1].count("|") == lines[2].count("|")
    assert lines[2] == "| t1 | all | 3 | 0.200 | 0.400 | 2.0 |"
    assert lines[3] == "| t1 | 1 mm | 2 | 0.500 | 0.500 | 4.0 |"
    assert lines[4] == "| t1 | 5 mm | 1 | 0.200 | 0.200 | 0.0 |"
    assert lines[5] == "| t2 | all | 3 | 0.500 | 0.500 | 0.0 |"
    assert lines[14:] == [
        "| all | all | 12 | 0.350 | 0.350 | 0.0 |",
        "| lesion 10 to 30 ml | all | 12 | 0.350 | 0.350 | 0.0 |",
    ]


def test_the_summary_breaks_lesions_down_by_their_volume():
    cases = validation_cases(1)
    volumes = (30.0, 29.9, 3.0, 2.9)
    scores = [make_score(c, 0.1 * i, ml, ml) for i, (c, ml) in enumerate(zip(cases, volumes, strict=True))]

    assert summary(scores).splitlines()[-4:] == [
        "| lesion 30 ml and more | all | 1 | 0.000 | 0.000 | 0.0 |",
        "| lesion 10 to 30 ml | all | 1 | 0.100 | 0.100 | 0.0 |",
        "| lesion 3 to 10 ml | all | 1 | 0.200 | 0.200 | 0.0 |",
        "| lesion 0 to 3 ml | all | 1 | 0.300 | 0.300 | 0.0 |",
    ]


def test_lesion_free_heads_count_for_false_lesions_alone():
    found = [make_score(case, 0.5) for case in validation_cases(1)]
    free = [
        make_score(case, float(ml == 0), 0.0, ml)
        for case, ml in zip(lesion_free_cases(4), (0.0, 8.0, 1.0, 0.0), strict=True)
    ]

    assert summary(found + free).splitlines()[:-2] == summary(found).splitlines()
    assert summary(found + free).splitlines()[-1] == (
        "False lesion in 4 lesion-free heads: median 0.50 ml, mean 2.25 ml, largest 8.00 ml, none at all in 2."
    )
    assert summary(free).startswith("False lesion")


def test_a_summary_of_the_first_case_alone_is_possible():
    lines = summary([make_score(validation_cases(1)[0], 0.25)]).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["t1", "t1", "all", "lesion 10 to 30 ml"]


def test_the_table_has_a_row_per_volume_and_replaces_the_one_before(tmp_path):
    cases = validation_cases(2)
    path = tmp_path / "deeper" / "validation.csv"
    write_table([make_score(cases[0], 0.5)], path)
    write_table([make_score(cases[0], 0.5), make_score(cases[5], 2 / 3, 1.25, 0.5)], path)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[1] == {
        "case": "5", "lesion_free": "false", "family": "t2", "slices": "5 mm", "dice": "0.6667",
        "reference_ml": "1.2500", "predicted_ml": "0.5000", "seconds": "1.5000",
    }  # fmt: skip
    assert len(rows) == 2


def test_best_and_worst_pictures_show_the_best_and_the_worst(tmp_path):
    cases = validation_cases(2)
    scores = [make_score(case, dice) for case, dice in zip(cases, (0.9, 0.1, 0.5), strict=False)]
    scores[0] = replace(scores[0], panel=replace(scores[0].panel, window=(0.0, 1.0)))  # stripes
    scores[1] = replace(scores[1], panel=replace(scores[1].panel, window=(2.0, 3.0)))  # all black

    write_pictures(scores, tmp_path, count=1)

    best, worst = (imread(tmp_path / f"{name}.png")[..., :3] for name in ("best", "worst"))
    assert best.max() > 0.9
    assert worst.max() == 0
