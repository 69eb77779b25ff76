"""Our metrics agree with MONAI's and panoptica's on the same masks."""

from __future__ import annotations

import numpy as np
import panoptica
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai.metrics import (
    DiceMetric,
    HausdorffDistanceMetric,
    compute_confusion_matrix_metric,
    get_confusion_matrix,
)

from strokelabel.metrics import dice, hd95_mm
from strokelabel.metrics.case import compare_masks

panoptica.disable_citation_reminder()

SHAPE = (5, 7, 6)
masks = arrays(bool, SHAPE, elements=st.booleans(), fill=st.just(False))
spacings = st.tuples(*[st.sampled_from([0.8, 1.0, 2.5, 5.0])] * 3)

CELL = 5
CELLS = (2, 3, 2)
cells = arrays(np.int8, CELLS, elements=st.integers(0, 3))


def for_monai(mask: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(mask)[None, None].float()


def panoptica_evaluator() -> panoptica.Panoptica_Evaluator:
    return panoptica.Panoptica_Evaluator(
        expected_input=panoptica.InputType.SEMANTIC,
        instance_approximator=panoptica.ConnectedComponentsInstanceApproximator(
            cca_backend=panoptica.CCABackend.cc3d
        ),
        instance_matcher=panoptica.NaiveThresholdMatching(
            matching_metric=panoptica.Metric.IOU, matching_threshold=0.0, strict_threshold=True
        ),
        instance_metrics=[panoptica.Metric.DSC],
        global_metrics=[panoptica.Metric.DSC],
    )


def lesions_in_cells(kinds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most one lesion per cell and mask: 0 none, 1 in the reference, 2 predicted, 3 in both, one voxel apart."""
    reference, prediction = (np.zeros(np.array(CELLS) * CELL, dtype=bool) for _ in range(2))
    for cell, kind in np.ndenumerate(kinds):
        x, y, z = np.array(cell) * CELL + 1
        if kind in (1, 3):
            reference[x : x + 2, y : y + 3, z : z + 2] = True
        if kind in (2, 3):
            prediction[x + 1 : x + 3, y : y + 2, z : z + 2] = True
    return reference, prediction


@settings(max_examples=40, deadline=None)
@given(masks, masks, spacings)
def test_dice_and_hd95_are_those_of_monai(
    reference: np.ndarray, prediction: np.ndarray, spacing: tuple[float, float, float]
) -> None:
    assume(reference.any() and prediction.any())
    found, truth = for_monai(prediction), for_monai(reference)
    assert dice(reference, prediction) == pytest.approx(float(DiceMetric()(found, truth)), abs=1e-6)
    expected = HausdorffDistanceMetric(percentile=95)(found, truth, spacing=spacing)
    assert hd95_mm(reference, prediction, spacing) == pytest.approx(float(expected), rel=1e-5)


@settings(max_examples=20, deadline=None)
@given(masks, masks)
def test_rates_are_monais_sensitivity_and_fall_out(reference: np.ndarray, prediction: np.ndarray) -> None:
    assume(reference.any() and not reference.all())
    confusion = get_confusion_matrix(for_monai(prediction), for_monai(reference))
    metrics = compare_masks(reference, prediction)
    for name, value in (("sensitivity", metrics.tpr), ("fall out", metrics.fpr)):
        assert value == pytest.approx(float(compute_confusion_matrix_metric(name, confusion)), abs=1e-6)


@settings(max_examples=15, deadline=None)
@given(cells)
def test_lesion_counts_f1_and_dice_are_those_of_panoptica(kinds: np.ndarray) -> None:
    # Its HD95 pools the distances of both directions, so that one is compared with MONAI's alone.
    reference, prediction = lesions_in_cells(kinds)
    assume(reference.any() and prediction.any())
    ours = compare_masks(reference, prediction)
    theirs = panoptica_evaluator().evaluate(
        prediction.astype(np.uint8), reference.astype(np.uint8), verbose=False
    )["ungrouped"]
    assert ours.reference_lesions == theirs.n_ref_instances
    assert ours.prediction_lesions == theirs.n_pred_instances
    assert ours.lesion_f1 == pytest.approx(theirs.rq)
    assert ours.dice == pytest.approx(theirs.global_bin_dsc)
