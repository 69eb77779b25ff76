"""A lesion comes to ICBM space on its own side, and its estimate names the regions; what cannot be trusted has none."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

from strokelabel.errors import OptionError, RegistrationError, UnknownModelError
from strokelabel.geometry import Grid
from strokelabel.labels import CLASS_NAMES, TissueClass
from strokelabel.outcome.estimate import Estimate, OutcomeEstimator, StrokeStage, region_title
from strokelabel.outcome.loads import lesion_loads
from strokelabel.outcome.model_file import OutcomeModel, fit_outcome_model, load_outcome_model
from strokelabel.outcome.patients import OUTCOMES
from strokelabel.outcome.placement import Placement, place_lesion
from strokelabel.outcome.predictors import Cohort
from strokelabel.registry import find_outcome_model, list_models
from strokelabel.synthesis.prepared.icbm import icbm_template
from support.bright_network import centred_affine, rotation
from support.outcome_patients import LOW, PLANTED, region_fractions
from support.template_brain import seen

SHAPE = (80, 100, 44)
SPACING = np.diag([-2.4, 2.1, 4.0])
LEFT_INSULA = (-38.0, 2.0, 4.0)

HEAD = np.eye(4)
HEAD[:3, :3] = rotation((9, -5, 12)) @ np.diag([1.06, 0.94, 1.09])
HEAD[:3, 3] = (3.0, -14.0, 9.0)
"""RAS mm of a head that lies obliquely in its scanner to ICBM mm."""

GRID = Grid(SHAPE, centred_affine(rotation((4, 6, -8)) @ SPACING, SHAPE))


def mirrored(matrix: np.ndarray) -> np.ndarray:
    """Return a map of RAS mm as seen in a mirror between left and right."""
    flip = np.diag([-1.0, 1, 1, 1])
    return flip @ matrix @ flip


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return seen(GRID.shape, GRID.affine, HEAD, LEFT_INSULA)


@pytest.fixture(scope="module")
def estimator() -> OutcomeEstimator:
    return OutcomeEstimator.from_model("nihss")


@pytest.fixture(scope="module")
def acute_left(labels: np.ndarray, estimator: OutcomeEstimator) -> Estimate:
    return estimator.estimate(labels, CLASS_NAMES, GRID, StrokeStage.ACUTE)


def centre(placement: Placement) -> np.ndarray:
    """Return the middle of a placed lesion, ICBM mm."""
    index = np.argwhere(placement.mask).mean(axis=0) + placement.offset
    return icbm_template().affine[:3, :3] @ index + icbm_template().affine[:3, 3]


def test_a_lesion_of_an_oblique_scan_lies_where_it_is_in_icbm_space(acute_left: Estimate) -> None:
    placement = acute_left.placement
    assert placement is not None
    np.testing.assert_allclose(centre(placement), LEFT_INSULA, atol=2.0)
    found = placement.to_icbm @ np.array([*(np.linalg.inv(HEAD) @ [*LEFT_INSULA, 1])[:3], 1])
    np.testing.assert_allclose(found[:3], LEFT_INSULA, atol=1.5)
    assert placement.similarity > 0.95 and placement.overlap > 0.95
    assert placement.scales == pytest.approx((0.94, 1.09), abs=0.03)


def test_the_estimate_has_an_interval_and_three_regions_of_the_lesion_s_own_side(
    acute_left: Estimate,
) -> None:
    found = acute_left.prediction
    assert found is not None and found.low < found.value < found.high
    assert acute_left.drivers[0].region == "left middle cerebral, insular"
    assert 1 <= len(acute_left.drivers) <= 3
    assert all(one.region.startswith("left ") and one.points > 0 for one in acute_left.drivers)
    first, second = acute_left.describe()[:2]
    assert first.startswith(f"estimated NIHSS {found.value:.0f} (90 % interval ")
    assert first.endswith("research use only")
    assert second.startswith("driven by (points of NIHSS): left middle cerebral, insular (")
    told = acute_left.as_json()
    assert told["use"] == "research" and told["reason"] is None and told["regions"][0]["points"] > 0


def test_the_same_lesion_on_the_right_has_the_mirrored_regions(
    acute_left: Estimate, estimator: OutcomeEstimator
) -> None:
    x, y, z = LEFT_INSULA
    grid = Grid(SHAPE, np.diag([-1.0, 1, 1, 1]) @ GRID.affine)
    right = estimator.estimate(
        seen(grid.shape, grid.affine, mirrored(HEAD), (-x, y, z)), CLASS_NAMES, grid, StrokeStage.ACUTE
    )
    assert right.placement is not None
    np.testing.assert_allclose(centre(right.placement), (-x, y, z), atol=2.0)
    assert all(one.region.startswith("right ") for one in right.drivers)
    assert right.drivers[0].region == "right" + acute_left.drivers[0].region.removeprefix("left")


def test_a_copy_whose_voxels_are_stored_in_another_order_is_placed_alike(
    labels: np.ndarray, acute_left: Estimate
) -> None:
    turn = ornt_transform(io_orientation(GRID.affine), axcodes2ornt("PSR"))
    turned = apply_orientation(labels, turn)
    copy = Grid(turned.shape, GRID.affine @ inv_ornt_aff(turn, labels.shape))
    placed = place_lesion(turned, copy)
    assert acute_left.placement is not None
    np.testing.assert_allclose(placed.to_icbm, acute_left.placement.to_icbm, atol=0.02)


def test_the_lesion_does_not_move_the_brain_that_it_lies_in(acute_left: Estimate) -> None:
    """A shrunken hemisphere within the lesion is not compared with the template."""
    changed = seen(GRID.shape, GRID.affine, HEAD, LEFT_INSULA, radius=34.0)
    placed = place_lesion(changed, GRID)
    assert acute_left.placement is not None
    np.testing.assert_allclose(placed.to_icbm, acute_left.placement.to_icbm, atol=0.6)


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        (StrokeStage.UNKNOWN, "is of acute strokes alone, and the stage of this one was not said"),
        (StrokeStage.CHRONIC, "is of acute strokes alone, and this one was said to be chronic"),
    ],
)
def test_a_stroke_that_is_not_said_to_be_acute_has_a_sentence_and_no_number(
    stage: StrokeStage, said: str, labels: np.ndarray, estimator: OutcomeEstimator
) -> None:
    found = estimator.estimate(labels, CLASS_NAMES, GRID, stage)
    (line,) = found.describe()
    assert line.startswith("no NIHSS is estimated: ") and said in line
    told = found.as_json()
    assert told["value"] is told["low"] is told["high"] is None and told["regions"] == []


def test_a_model_without_tissues_places_nothing(labels: np.ndarray, estimator: OutcomeEstimator) -> None:
    found = estimator.estimate(labels, ("background", "lesion"), GRID, StrokeStage.ACUTE)
    assert "predicts no tissues" in found.reason and found.prediction is None


def test_no_lesion_is_no_estimate(labels: np.ndarray) -> None:
    without = np.where(labels == TissueClass.LESION, TissueClass.GRAY_MATTER, labels).astype(np.uint8)
    with pytest.raises(RegistrationError, match="no lesion was found"):
        place_lesion(without, GRID)


def test_a_registration_that_cannot_be_trusted_is_a_sentence(estimator: OutcomeEstimator) -> None:
    small = Grid((60, 70, 60), centred_affine(np.diag([3.0, 3.0, 3.0]), (60, 70, 60)))
    whole = seen(small.shape, small.affine, np.eye(4), LEFT_INSULA)
    upside_down = np.ascontiguousarray(whole[:, :, ::-1])
    slab = whole[:, :, 26:36]
    tiny = Grid(small.shape, small.affine @ np.diag([0.6, 0.6, 0.6, 1]))
    slab_grid = Grid(
        slab.shape, small.affine @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 26], [0, 0, 0, 1.0]])
    )
    for classes, grid, said in (
        (upside_down, small, "tissues correlate"),
        (np.ascontiguousarray(whole[::-1, ::-1]), small, "tissues correlate|brain overlaps"),
        (slab, slab_grid, "the scan shows|scale the head|turn the head|correlate"),
        (whole, tiny, "scale the head"),
    ):
        found = estimator.estimate(classes, CLASS_NAMES, grid, StrokeStage.ACUTE)
        assert found.prediction is None and found.describe() == (f"no NIHSS is estimated: {found.reason}",)
        assert re.search(said, found.reason)


def test_the_shipped_model_is_found_by_its_name_needs_no_age_and_is_no_model_of_images() -> None:
    model = load_outcome_model(find_outcome_model("nihss"))
    assert model.age_range is None and model.n == 639
    assert "nihss" not in [spec.name for spec in list_models()]
    with pytest.raises(UnknownModelError, match="outcome model"):
        find_outcome_model("mood")


def test_a_model_that_needs_an_age_is_refused_for_reports(acute: Cohort) -> None:
    model = fit_outcome_model(OUTCOMES["nihss"], "+ 31 arterial regions", acute)
    with pytest.raises(OptionError, match="without age"):
        OutcomeEstimator(model, "old", "")


@pytest.fixture(scope="module")
def planted(acute: Cohort) -> OutcomeModel:
    return fit_outcome_model(OUTCOMES["nihss"], "support vectors without age", acute)


def test_the_region_that_decides_the_outcome_drives_the_estimate(
    planted: OutcomeModel, acute: Cohort
) -> None:
    offset, sides = tuple(int(one) for one in (LOW[0] + 4, LOW[1] + 25, LOW[2] + 40)), (20, 30, 40)
    mask = np.ones(sides, dtype=bool)
    fractions = region_fractions(offset, mask)
    assert fractions[PLANTED] > 0.1 and (fractions > 0).sum() > 2
    estimator = OutcomeEstimator(replace(planted, age_range=None), "planted", "")
    placement = Placement(offset, mask, np.eye(4), 1.0, 1.0, (1.0, 1.0))
    value = planted.predict(lesion_loads(offset, mask)).value
    drivers = estimator._drivers(placement, value)
    assert drivers[0].region == region_title(PLANTED)
