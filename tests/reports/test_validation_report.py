"""Scores of a model on synthetic volumes: the numbers, the table and the pictures."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from strokelabel.fit.train import make_synthesizer
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.labels import TissueClass
from strokelabel.reports.contact_sheet import make_panel
from strokelabel.reports.real_validation.dataset import RealGroup
from strokelabel.reports.real_validation.scores import RealScore
from strokelabel.reports.validation import (
    CaseScore,
    Contender,
    as_scan,
    benchmark_table,
    score_cases,
    score_table,
    score_volume,
    write_pictures,
    write_table,
)
from strokelabel.synthesis.benchmark import lesion_free_cases, make_case, validation_cases, validation_config
from strokelabel.synthesis.generator import Synthesizer, SyntheticBatch
from strokelabel.synthesis.prepared.dataset import PreparedData
from support.bright_network import BrightNetwork, make_spec
from support.tiny_prepared import make_recipe, write_prepared


class GlaringLesions(Synthesizer):
    """A generator whose lesions outshine everything else by far."""

    def apply(self, parameters, **kept):
        batch = super().apply(parameters, **kept)
        image = batch.image.masked_fill((batch.target == TissueClass.LESION)[:, None], 15.0)
        return replace(batch, image=image)


def panel(value):
    return make_panel(np.where(np.arange(8) % 2, value, 0.0)[:, None, None] * np.ones((8, 8, 8)), {}, "")


def make_score(case, dice, reference_ml=10.0, predicted_ml=10.0, method="base"):
    return CaseScore(case, method, dice, 0.99, reference_ml, predicted_ml, 1.5, panel(1.0))


def rows_of(scores):
    """The rows of the table as lists of cells."""
    lines = benchmark_table(scores).markdown().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[4:]]


def test_lesions_that_anyone_would_see_score_well_on_the_grid_that_they_were_made_on(tmp_path):
    data = PreparedData.load(write_prepared(tmp_path / "prepared", voxel_mm=1.0, scale=0.36, brains=2))
    recipe = make_recipe(brains={"train": ["brain-01"], "validation": ["brain-10"]})
    unseen = make_synthesizer(data, recipe, "validation", validation_config((60, 76, 68), 1.0), "cpu")
    glaring = GlaringLesions(unseen.heads, unseen.lesions, unseen.table, unseen.config)
    spec = make_spec(spacing_mm=1.0, normalization={"lower": 0.0, "upper": 100.0})
    predictor = Predictor(spec, BrightNetwork(), torch.device("cpu"))
    cases = validation_cases(2)[4:7]
    strict = PredictionOptions(threshold=0.999)
    contenders = [
        Contender("own", predictor, PredictionOptions()),
        Contender("strict", predictor, strict),
    ]

    scores = list(score_cases(contenders, glaring, cases))

    assert [[score.method for score in found] for found in scores] == [["own", "strict"]] * 3
    assert [found[0].case for found in scores] == cases
    for score, other in scores:
        truth = (make_case(glaring, score.case).target == TissueClass.LESION).sum()
        assert score.reference_ml == pytest.approx(float(truth) / 1000)
        assert score.dice > 0.95
        assert score.predicted_ml == pytest.approx(score.reference_ml, rel=0.1)
        assert other.predicted_ml <= score.predicted_ml
        assert score.oracle == other.oracle
        assert score.seconds > 0
        assert set(score.panel.outlines) == {"lime", "red"} and score.panel.outlines["lime"].any()
        assert score.panel.title.startswith(score.case.family)
    assert [score.slices for score, _ in scores] == ["1 mm", "1 mm", "5 mm"]
    assert min(score.oracle for score, _ in scores[:2]) > 0.95 > scores[2][0].oracle > 0.2


def test_models_of_one_network_cost_one_prediction():
    asked = []

    class Counted(Predictor):
        def scores(self, image, options=None, progress=None):
            asked.append(options)
            return super().scores(image, options, progress)

    spec = make_spec(spacing_mm=4.0)
    predictor = Counted(spec, BrightNetwork(), torch.device("cpu"))
    contenders = [
        Contender(str(threshold), predictor, PredictionOptions(threshold=threshold))
        for threshold in (0.2, 0.5, None)
    ]
    batch = SyntheticBatch(
        torch.rand(1, 1, 32, 40, 36), torch.zeros(1, 32, 40, 36, dtype=torch.uint8), (), None,
        torch.zeros(1, 32, 40, 36),
    )  # fmt: skip
    scores = score_volume(contenders, batch, lesion_free_cases(1)[0])
    assert len(scores) == 3 and len(asked) == 1


def test_a_scan_is_never_negative_and_keeps_every_difference(prepared_folder):
    recipe = make_recipe()
    data = PreparedData.load(prepared_folder)
    batch = make_synthesizer(data, recipe, "train", recipe.synthesis, "cpu").generate([1])
    scan = as_scan(batch, 6.0, "case")
    assert scan.data.min() == 0 and scan.data.dtype == np.float32
    np.testing.assert_allclose(np.diff(scan.data, axis=0), np.diff(batch.image[0, 0], axis=0), atol=1e-5)
    np.testing.assert_array_equal(scan.affine, np.diag([6.0, 6.0, 6.0, 1.0]))
    assert scan.source == "case"


def test_the_table_gives_median_and_mean_per_contrast_and_slices_beside_the_oracles():
    cases = validation_cases(3)
    dice = {"t1": (0.1, 0.2, 0.9), "t2": (0.5, 0.5, 0.5), "flair": (1.0, 0.0, 0.5)}
    scores = [make_score(case, dice.get(case.family, (0, 0, 0))[case.index // 6]) for case in cases]
    scores[0] = replace(scores[0], predicted_ml=4.0)  # the first T1 case, 6 ml too few
    scores[12] = replace(scores[12], predicted_ml=12.0)  # the last T1 case, 2 ml too many
    scores += [replace(score, method="other", dice=0.25) for score in scores]

    rows = rows_of(scores)

    assert benchmark_table(scores).heading == ("Volumes", "Slices", "n", "oracle", "base", "other")
    oracle = "0.990 (0.990)"
    assert rows[0] == ["t1", "all", "3", oracle, "0.200 (0.400)", "0.250 (0.250)"]
    assert rows[1] == ["t1", "1 mm", "2", oracle, "0.500 (0.500)", "0.250 (0.250)"]
    assert rows[2] == ["t1", "5 mm", "1", oracle, "0.200 (0.200)", "0.250 (0.250)"]
    assert rows[18][:3] == ["all", "all", "18"] and rows[20][:3] == ["all", "5 mm", "6"]
    assert rows[21][:3] == ["lesion 10 to 30 ml", "all", "18"]
    assert rows[22] == ["volume error, ml", "all", "18", "–", *["0.00 (0.44, 6.00)"] * 2]
    assert len(rows) == 23


def test_the_table_breaks_lesions_down_by_their_volume():
    cases = validation_cases(1)
    volumes = (30.0, 29.9, 3.0, 2.9, 0.3, 0.29)
    scores = [make_score(c, 0.1 * i, ml, ml) for i, (c, ml) in enumerate(zip(cases, volumes, strict=True))]

    assert [row[0] + ": " + row[4] for row in rows_of(scores) if row[0].startswith("lesion")] == [
        "lesion 0 to 0.3 ml: 0.500 (0.500)",
        "lesion 0.3 to 1 ml: 0.400 (0.400)",
        "lesion 1 to 3 ml: 0.300 (0.300)",
        "lesion 3 to 10 ml: 0.200 (0.200)",
        "lesion 10 to 30 ml: 0.100 (0.100)",
        "lesion 30 ml and more: 0.000 (0.000)",
    ]


def test_lesion_free_heads_count_for_false_lesions_alone():
    found = [make_score(case, 0.5) for case in validation_cases(1)]
    free = [
        make_score(case, float(ml == 0), 0.0, ml)
        for case, ml in zip(lesion_free_cases(4), (0.0, 8.0, 1.0, 0.0), strict=True)
    ]

    assert rows_of(found + free)[:-1] == rows_of(found)
    expected = ["false lesion, ml: lesion-free heads", "all", "4", "–", "0.50 (2.25, 8.00)"]
    assert rows_of(found + free)[-1] == expected
    assert rows_of(free) == [expected]


def test_a_model_is_judged_by_the_mean_of_both_sets_and_by_reported_slices_alone():
    def slices(dice, part="validation", reference=2.0, predicted=1.0, method="base"):
        return RealScore("x", method, RealGroup(part, "axial slices"), dice, reference, predicted)

    synthetic = [make_score(case, 0.6) for case in validation_cases(1)]
    synthetic.append(make_score(lesion_free_cases(1)[0], 0.0, 0.0, 3.0))
    real = [slices(0.4), slices(0.9, "development"), slices(0.0, reference=0.0, predicted=1.25)]
    real.append(RealScore("y", "base", RealGroup("development", "lesion-free"), 0.0, 0.0, 0.5))
    real.append(slices(0.8, method="other"))

    rows = [[cell.text for cell in row] for row in score_table(synthetic, real).rows]

    assert rows == [
        ["base", "0.600", "0.400", "0.500", "3.00", "1.25", "0.50"],
        ["other", "–", "0.800", "0.800", "–", "–", "–"],
    ]
    assert score_table([], [slices(0.9, "development")]).rows[0][2].text == "0.900"


def test_the_table_has_a_row_per_volume_and_replaces_the_one_before(tmp_path):
    cases = validation_cases(2)
    path = tmp_path / "deeper" / "validation.csv"
    write_table([make_score(cases[0], 0.5)], path)
    write_table([make_score(cases[0], 0.5), make_score(cases[7], 2 / 3, 1.25, 0.5)], path)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[1] == {
        "case": "7", "lesion_free": "false", "family": "t2", "slices": "5 mm", "method": "base",
        "dice": "0.6667", "oracle": "0.9900", "reference_ml": "1.2500", "predicted_ml": "0.5000", "seconds": "1.5000",
    }  # fmt: skip
    assert len(rows) == 2


def test_best_and_worst_pictures_show_the_best_and_the_worst(tmp_path):
    cases = validation_cases(2)
    scores = [make_score(case, dice) for case, dice in zip(cases, (0.9, 0.1, 0.5), strict=False)]
    scores[0] = replace(scores[0], panel=replace(scores[0].panel, window=(0.0, 1.0)))  # stripes
    scores[1] = replace(scores[1], panel=replace(scores[1].panel, window=(2.0, 3.0)))  # all black

    write_pictures(scores, tmp_path, count=1)

    best, worst = (imread(tmp_path / f"{name}-base.png")[..., :3] for name in ("best", "worst"))
    assert best.max() > 0.9
    assert worst.max() == 0
