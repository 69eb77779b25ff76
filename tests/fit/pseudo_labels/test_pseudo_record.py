"""The quality gate names every objection, and a record is read back as it was written."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from strokelabel.errors import DataError, OptionError
from strokelabel.fit.pseudo_labels.record import (
    KEY,
    PseudoLabel,
    PseudoMeasures,
    QualityGate,
    read_pseudo_labels,
    write_review,
)

GOOD = PseudoMeasures(volume_ml=12.0, mean_confidence=0.9, similarity=0.95, inside=0.99)
EYE = tuple(tuple(float(row == column) for column in range(4)) for row in range(4))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"volume_ml": 0.0, "mean_confidence": 0.0, "similarity": None, "inside": None}, ["no lesion was found"]),
        ({"volume_ml": 0.5}, ["0.50 ml"]),
        ({"mean_confidence": 0.5}, ["confidence is 0.50"]),
        ({"similarity": None, "inside": None}, ["no brain was recognised"]),
        ({"similarity": 0.4}, ["correlation with the ICBM template is 0.40"]),
        ({"inside": 0.3}, ["30% of the lesion"]),
        ({"volume_ml": 0.2, "mean_confidence": 0.1, "similarity": 0.1}, ["0.20 ml", "is 0.10", "template is 0.10"]),
    ],
)  # fmt: skip
def test_the_gate_says_all_that_is_wrong_with_a_mask(changes, expected):
    objections = QualityGate().objections(replace(GOOD, **changes))
    assert len(objections) == len(expected)
    assert all(part in text for part, text in zip(expected, objections, strict=True))


def test_what_a_gate_asks_for_is_what_its_thresholds_say():
    measures = replace(GOOD, volume_ml=2.0, mean_confidence=0.6)
    assert not QualityGate(minimum_confidence=0.6, minimum_ml=2.0).objections(measures)
    assert len(QualityGate(minimum_confidence=0.61, minimum_ml=2.01).objections(measures)) == 2


@pytest.mark.parametrize(
    "thresholds", [{"minimum_confidence": 1.2}, {"minimum_ml": -1}, {"minimum_similarity": -0.1}]
)
def test_impossible_thresholds_are_refused(thresholds):
    with pytest.raises(OptionError, match=next(iter(thresholds))):
        QualityGate(**thresholds)


def write(folder, name, label) -> None:
    path = folder / f"{name}_mask.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"Sources": [label.source], KEY: label.to_json()}))


def test_records_are_read_back_from_any_depth_and_other_files_passed_over(tmp_path):
    labels = [
        PseudoLabel("sub-1/anat/sub-1_mask.nii.gz", "/a", GOOD, EYE, QualityGate()),
        PseudoLabel("sub-2_mask.nii.gz", "/b", replace(GOOD, similarity=None, inside=None), None, QualityGate(0.5)),
    ]  # fmt: skip
    write(tmp_path, "sub-1/anat/sub-1", labels[0])
    write(tmp_path, "sub-2", labels[1])
    (tmp_path / "other_mask.json").write_text('{"weights_sha256": "x"}')
    (tmp_path / "broken_mask.json").write_text("{")
    assert list(read_pseudo_labels(tmp_path)) == labels
    assert [label.accepted for label in labels] == [True, False]
    assert [label.is_mapped for label in labels] == [True, False]


def test_an_alignment_below_the_gate_is_no_map():
    label = PseudoLabel("m", "s", replace(GOOD, similarity=0.7), EYE, QualityGate())
    assert not label.is_mapped
    assert replace(label, gate=QualityGate(minimum_similarity=0.6)).is_mapped


def test_a_folder_without_records_and_a_damaged_record_are_errors_with_advice(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataError, match="label a cohort first"):
            read_pseudo_labels(folder)
    write(tmp_path, "sub-1", PseudoLabel("x", "/a", GOOD, EYE, QualityGate()))
    content = json.loads((tmp_path / "sub-1_mask.json").read_text())
    content[KEY]["to_icbm"] = [[1, 0, 0]]
    (tmp_path / "sub-1_mask.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"damaged .*label the scan again"):
        read_pseudo_labels(tmp_path)


@pytest.mark.parametrize(
    ("status", "confidence", "with_gate", "without"),
    [
        ("pseudo", 0.9, True, True),
        ("pseudo", 0.1, False, True),
        ("accepted", 0.1, True, True),
        ("corrected", 0.1, True, True),
        ("rejected", 0.9, False, False),
    ],
)
def test_an_annotator_s_word_comes_before_the_gate(status, confidence, with_gate, without):
    label = PseudoLabel("m", "s", replace(GOOD, mean_confidence=confidence), EYE, QualityGate(), status)
    assert (label.trains(), label.trains(gate=False)) == (with_gate, without)


def test_a_decision_is_written_into_the_record_and_nothing_else_changes(tmp_path):
    write(tmp_path, "sub-1", PseudoLabel("sub-1_mask.nii.gz", "/a", GOOD, EYE, QualityGate()))
    (before,) = read_pseudo_labels(tmp_path)
    write_review(tmp_path / "sub-1_mask.nii.gz", tmp_path, "rejected")
    assert read_pseudo_labels(tmp_path) == (replace(before, status="rejected"),)
    with pytest.raises(OptionError, match="expected a status of pseudo, accepted"):
        write_review(tmp_path / "sub-1_mask.nii.gz", tmp_path, "perhaps")
    with pytest.raises(DataError, match="found no record"):
        write_review(tmp_path / "sub-2_mask.nii.gz", tmp_path, "accepted")


def test_a_record_of_before_there_were_reviews_is_one_that_nobody_looked_at(tmp_path):
    write(tmp_path, "sub-1", PseudoLabel("x", "/a", GOOD, EYE, QualityGate()))
    content = json.loads((tmp_path / "sub-1_mask.json").read_text())
    del content[KEY]["status"]
    (tmp_path / "sub-1_mask.json").write_text(json.dumps(content))
    assert read_pseudo_labels(tmp_path)[0].status == "pseudo"
