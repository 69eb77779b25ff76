"""The plain prediction is kept where the adapted one is suspicious, and the reason is given."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from strokelabel.adaptation.safety import OutputSummary, OutputWatch, PlainLesions, choose
from support.bright_network import make_spec

PLAIN = OutputSummary(entropy=0.2, objective=0.2, lesion_ml=8.0, brain_ml=1200.0)
THREE_CLASSES = make_spec(class_names=("background", "brain", "lesion"))
BETTER = replace(PLAIN, entropy=0.1, objective=0.1)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"lesion_ml": 1.9}, "the lesion collapsed \\(8.00 to 1.90 ml\\)"),
        ({"lesion_ml": 0.0}, "the lesion collapsed"),
        ({"lesion_ml": 33.0}, "the lesion exploded \\(8.00 to 33.00 ml\\)"),
        ({"vanished_ml": 2.1}, "lesions vanished \\(2.10 of 8.00 ml\\)"),
        ({"objective": 0.2}, "the entropy did not fall"),
        ({"objective": float("nan")}, "not finite"),
        ({"brain_ml": 890.0}, "the brain collapsed \\(1200 to 890 ml\\)"),
        ({"brain_ml": 2500.0}, "the brain spread"),
    ],
)
def test_a_suspicious_result_is_not_kept(changes: dict[str, float], reason: str) -> None:
    choice = choose(PLAIN, replace(BETTER, **changes), "entropy", 100)
    assert choice.kept == "plain"
    assert re.search(reason, choice.reason)


@pytest.mark.parametrize("lesion_ml", [2.0, 8.0, 32.0])
def test_a_lesion_may_change_to_a_quarter_or_to_four_times_its_volume(lesion_ml: float) -> None:
    choice = choose(PLAIN, replace(BETTER, lesion_ml=lesion_ml), "entropy", 100)
    assert choice.kept == "adapted" and "fell from 0.2000 to 0.1000" in choice.reason


def test_a_few_millilitres_are_no_explosion() -> None:
    small = replace(PLAIN, lesion_ml=0.0)
    assert choose(small, replace(BETTER, lesion_ml=4.9), "entropy", 100).kept == "adapted"
    assert choose(small, replace(BETTER, lesion_ml=5.1), "entropy", 100).kept == "plain"


def test_a_speck_may_go() -> None:
    speck = replace(PLAIN, lesion_ml=0.04)
    assert choose(speck, replace(BETTER, lesion_ml=0.0, vanished_ml=0.04), "entropy", 100).kept == "adapted"
    lacune = replace(PLAIN, lesion_ml=0.1)
    assert choose(lacune, replace(BETTER, lesion_ml=0.0), "entropy", 100).kept == "plain"
    assert choose(lacune, replace(BETTER, lesion_ml=0.1, vanished_ml=0.1), "entropy", 100).kept == "plain"


def test_lesions_that_are_gone_count_even_where_others_grow() -> None:
    plain, adapted = (np.zeros((12, 9, 10), np.uint8) for _ in range(2))
    plain[1:4, 1:4, 1:4] = 1  # 27 voxels, of which 2 are left
    plain[6:10, 4:8, 4:8] = 1  # 64 voxels, all of them left
    adapted[1, 1, 1:3] = 1
    adapted[5:11, 3:9, 3:9] = 1
    assert adapted.sum() > plain.sum()
    lesions = PlainLesions(plain, 0.5)
    assert lesions.vanished_ml(adapted) == 13.5
    adapted[1, 2, 1] = 1  # more than a tenth
    assert lesions.vanished_ml(adapted) == 0
    assert PlainLesions(np.zeros_like(plain), 0.5).vanished_ml(adapted) == 0


def test_without_iterations_the_plain_prediction_is_kept() -> None:
    choice = choose(PLAIN, BETTER, "entropy", 0)
    assert (choice.kept, choice.reason) == ("plain", "no iterations were done")


def output(lesion: int, brain: int, speck: int = 0) -> torch.Tensor:
    """Logits of background, brain and lesion, 1 mm, each so many voxels long; a speck lies outside the brain."""
    classes = torch.zeros(24, 20, 20, dtype=torch.long)
    classes[1 : 1 + brain, 1:19, 1:19] = 1
    classes[2 : 2 + lesion, 3:9, 4:9] = 2
    classes[20 : 20 + speck, 2:9, 2:9] = 2
    return torch.nn.functional.one_hot(classes, 3).permute(3, 0, 1, 2).bfloat16() * 4 - 1


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (output(6, 18, 2), ""),
        (output(6, 18, 0), ""),
        (output(1, 18, 2), "the lesion collapsed"),
        (output(0, 18, 3), "lesions vanished"),
        (output(6, 8, 2), "the brain collapsed"),
    ],
)
def test_an_output_is_watched_for_what_disappears(changed: torch.Tensor, expected: str) -> None:
    mask = output(6, 18).argmax(dim=0).numpy() == 2
    watch = OutputWatch(output(6, 18, 2), mask, THREE_CLASSES)
    assert watch.objection(changed).startswith(expected)
    assert bool(watch.objection(changed)) == bool(expected)


def test_a_prediction_that_differs_from_the_plain_output_is_not_watched() -> None:
    everything = np.ones((24, 20, 20), np.uint8)
    watch = OutputWatch(output(2, 18), everything, THREE_CLASSES)
    assert watch.objection(output(0, 8)) == ""


def test_the_reason_says_when_and_why_the_iterations_ended() -> None:
    ended = choose(PLAIN, BETTER, "entropy", 12, "the brain collapsed (1200 to 500 ml)")
    assert ended.kept == "adapted" and ended.reason.endswith(
        "after 12 iterations, the brain collapsed (1200 to 500 ml)"
    )
    assert choose(PLAIN, PLAIN, "entropy", 6, "the brain spread").reason == "the brain spread"
