"""Maps show the region that decides, and nothing where nothing does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from strokelabel.errors import DataError, OptionError
from strokelabel.outcome.explanation.explain import (
    Map,
    Target,
    distance_mm,
    outcome_target,
    planted_target,
    region_mask,
    share_near,
)
from strokelabel.outcome.explanation.saliency import Painted, integrated_gradients, network_saliency
from strokelabel.outcome.explanation.symptom_map import SymptomMap, cells_to_icbm, symptom_map
from strokelabel.outcome.loads import FINE_MM
from strokelabel.outcome.networks.canvas import Canvas, stitched_canvas
from strokelabel.outcome.networks.specs import STITCHED_CNN
from strokelabel.outcome.networks.training import Schedule, fit_network
from strokelabel.outcome.patients import OUTCOMES
from strokelabel.outcome.predictors import Cohort
from strokelabel.synthesis.prepared.icbm import icbm_template
from support.outcome_patients import PLANTED, planted_region, random_box, region_fractions

NIHSS, LANGUAGE = OUTCOMES["nihss"], OUTCOMES["language"]
SMALL = replace(STITCHED_CNN, schedule=Schedule(epochs=8))
PIXEL_MM = 12


def symptom_volume(found: SymptomMap) -> Map:
    values = cells_to_icbm(found.cells, found.z)
    return Map("symptom-map", "planted", "z", values, found.threshold, found.p, FINE_MM)


def test_the_symptom_map_of_a_planted_outcome_lies_in_its_region(acute: Cohort) -> None:
    found = symptom_map(acute, acute.values, permutations=99)

    shown = symptom_volume(found)
    assert found.p == 0.01
    assert share_near(shown, distance_mm(planted_region()), FINE_MM, significant=True) > 0.8
    assert planted_region()[np.unravel_index(shown.values.argmax(), shown.values.shape)]
    assert found.injured.min() >= 5


def test_the_symptom_map_of_shuffled_outcomes_is_empty(acute: Cohort) -> None:
    found = symptom_map(acute, np.random.default_rng(5).permutation(acute.values), permutations=99)

    assert not found.significant.any()
    assert found.p > 0.05
    assert np.isnan(share_near(symptom_volume(found), distance_mm(planted_region()), 0, significant=True))


def test_outcomes_that_are_better_when_greater_are_turned(chronic: Cohort) -> None:
    target = outcome_target(LANGUAGE, chronic)

    shown = symptom_volume(symptom_map(chronic, target.worse, permutations=99))

    assert np.array_equal(target.worse, -chronic.values)
    assert planted_region()[np.unravel_index(shown.values.argmax(), shown.values.shape)]


def test_symptom_maps_need_patients_and_permutations(acute: Cohort) -> None:
    with pytest.raises(DataError, match="at least 99 permutations, got 3"):
        symptom_map(acute, acute.values, permutations=3)
    with pytest.raises(DataError, match="at least 20 patients"):
        symptom_map(acute.take(np.arange(9)), acute.values[:9])
    with pytest.raises(DataError, match="with 1"):
        symptom_map(acute, np.ones(len(acute.values)))


@pytest.fixture(scope="module")
def planted() -> tuple[Canvas, Painted, np.ndarray]:
    canvas, rng = stitched_canvas(PIXEL_MM, sections=16, across=4), np.random.default_rng(0)
    boxes = [random_box(rng) for _ in range(300)]
    pictures = np.stack([canvas.paint(*box) for box in boxes])
    facts = np.array([[np.log(mask.sum())] for _, mask in boxes], dtype=np.float32)
    worse = np.array([region_fractions(*box)[PLANTED] > 0.02 for box in boxes])
    return canvas, Painted(tuple(f"sub-{i}" for i in range(300)), pictures, facts, canvas.template), worse


def test_the_saliency_of_a_planted_class_lies_in_its_region(
    planted: tuple[Canvas, Painted, np.ndarray],
) -> None:
    canvas, painted, worse = planted

    found = network_saliency(SMALL, painted, worse, permutations=0)

    # The first convolution has a stride of two pixels, so that the network cannot place anything better.
    shown = Map("saliency", "planted", "log odds", canvas.to_icbm(found.mean), np.nan, np.nan, 2 * PIXEL_MM)
    assert found.auc > 0.9
    assert share_near(shown, distance_mm(planted_region()), 2 * PIXEL_MM, significant=False) > 0.8
    assert np.isnan(found.threshold)


def test_the_saliency_of_shuffled_classes_is_not_significant(
    planted: tuple[Canvas, Painted, np.ndarray],
) -> None:
    _, painted, worse = planted
    few = Painted(painted.ids[:48], painted.pictures[:48], painted.facts[:48], painted.template)
    quick = replace(SMALL, schedule=Schedule(epochs=1))

    found = network_saliency(quick, few, np.random.default_rng(3).permutation(worse[:48]), permutations=19)

    assert found.permutations == 19
    assert found.p > 0.05
    assert not (found.mean > found.threshold).any()


def test_integrated_gradients_add_up_to_what_the_lesion_changes(
    planted: tuple[Canvas, Painted, np.ndarray],
) -> None:
    _, painted, worse = planted
    seen, known = painted.pictures[:100], painted.facts[:100]
    fitted = fit_network(SMALL.build, seen, known, worse[:100], SMALL.schedule, 0)
    some, facts = painted.pictures[100:120], painted.facts[100:120]

    found = integrated_gradients(fitted, some, painted.template, facts)

    logit = lambda p: np.log(p / (1 - p))  # noqa: E731
    empty = np.repeat(painted.template[None], len(some), axis=0)
    change = logit(fitted.predict(some, facts)) - logit(fitted.predict(empty, facts))
    assert np.corrcoef(found.sum(axis=(1, 2)), change)[0, 1] > 0.98
    assert not found[some == painted.template].any()


def test_planted_damage_is_the_share_of_the_region_that_is_lesion(acute: Cohort) -> None:
    target = planted_target(acute, "insula, left")

    assert target.worse.min() == 0
    assert 0 < target.worse.max() <= 1
    assert 0 < target.classes.mean() < 0.6
    inside = region_mask("insula, left")
    assert np.argwhere(inside)[:, 0].max() + icbm_template().affine[0, 3] < 0
    with pytest.raises(OptionError, match=r"insula, left.*got 'Broca'"):
        planted_target(acute, "Broca")


def test_classes_split_at_the_median_or_above_the_least_value() -> None:
    assert Target("", np.array([1.0, 2, 3, 4])).classes.tolist() == [False, False, True, True]
    assert Target("", np.array([0.0, 0, 0, 4])).classes.tolist() == [False, False, False, True]
