"""Cases are scored one by one: nothing that is done is lost or done twice, and nothing that fails is hidden."""

from __future__ import annotations

import csv
import os
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from strokelabel.errors import OutputError
from strokelabel.inference.options import PredictionOptions
from strokelabel.registry import find_model
from strokelabel.reports.evaluation.cases import EvaluationCase, find_cases
from strokelabel.reports.evaluation.methods import FolderMethod, Method, TableMethod
from strokelabel.reports.evaluation.models import ModelMethod, ScoringModel
from strokelabel.reports.evaluation.results import CaseResult, ResultTable, evaluate_cases, read_results
from support.evaluation_data import write_dataset, write_mask, write_predictions


@pytest.fixture
def cases(tmp_path: Path) -> list[EvaluationCase]:
    return list(find_cases(write_dataset(tmp_path)).cases)


@pytest.fixture
def method(tmp_path: Path) -> FolderMethod:
    return FolderMethod("masks", write_predictions(tmp_path / "masks"))


def silent(stage: str, fraction: float) -> None:
    pass


def run(cases: list[EvaluationCase], methods: list[Method], table: ResultTable) -> list[CaseResult]:
    return list(evaluate_cases(cases, methods, table, silent))


def test_every_case_is_on_the_disk_as_soon_as_it_is_scored(
    cases: list[EvaluationCase], method: Method, tmp_path: Path
) -> None:
    running = evaluate_cases(cases, [method], ResultTable(tmp_path / "out"), silent)
    for count in (1, 2):
        next(running)
        assert len(read_results(tmp_path / "out/cases.csv")) == count
    running.close()  # as when the process ends here
    rows = run(cases, [method], ResultTable(tmp_path / "out"))
    assert [row.kept for row in rows] == [True, True, False, False]
    assert all(row.metrics is not None and 0.5 < row.metrics.dice < 1 for row in rows)


def test_a_reference_that_another_program_wrote_scores_one(
    cases: list[EvaluationCase], tmp_path: Path
) -> None:
    reference = nib.load(cases[0].reference)
    rounded = nib.as_closest_canonical(reference).affine.round(4)
    rounded[:3, 3] += 0.01
    path = tmp_path / "again.nii.gz"
    nib.save(nib.Nifti1Image(np.asarray(nib.as_closest_canonical(reference).dataobj), rounded), path)
    case = replace(cases[0], predictions={"again": path})
    (row,) = run([case], [TableMethod("again")], ResultTable(tmp_path / "out"))
    assert row.metrics is not None and (row.metrics.dice, row.metrics.hd95_mm, row.reason) == (1, 0, "")


def test_scores_are_read_back_as_they_were(
    cases: list[EvaluationCase], method: Method, tmp_path: Path
) -> None:
    first = run(cases, [method], ResultTable(tmp_path / "out"))
    again = run(cases, [method], ResultTable(tmp_path / "out"))
    for one, other in zip(first, again, strict=True):
        assert one.metrics is not None and other.metrics is not None
        assert other.kept
        assert (one.case, one.reference, one.prediction) == (other.case, other.reference, other.prediction)
        assert other.metrics.dice == pytest.approx(one.metrics.dice, rel=1e-8)
        assert isinstance(other.metrics.reference_lesions, int)


def test_a_changed_prediction_or_reference_is_scored_again(
    cases: list[EvaluationCase], method: FolderMethod, tmp_path: Path
) -> None:
    run(cases, [method], ResultTable(tmp_path / "out"))
    write_mask(method.find(cases[0]), radius_mm=5)
    os.utime(cases[2].reference, ns=(1, 1))
    rows = run(cases, [method], ResultTable(tmp_path / "out"))
    assert [row.kept for row in rows] == [False, True, False, True]


def test_bad_data_fail_by_themselves_with_one_sentence_and_are_tried_again(
    cases: list[EvaluationCase], method: FolderMethod, tmp_path: Path
) -> None:
    truncated, missing, labels = (method.find(case) for case in cases[:3])
    truncated.write_bytes(truncated.read_bytes()[:300])
    missing.unlink()
    method = FolderMethod("masks", method.folder)
    write_mask(labels, value=2)
    mixed = np.arange(24 * 30 * 20).reshape(24, 30, 20) % 3
    from support.evaluation_data import save

    save(labels, mixed.astype(np.uint8))
    rows = run(cases, [method], ResultTable(tmp_path / "out"))
    assert [row.status for row in rows] == ["failed"] * 3 + ["done"]
    assert "truncated" in rows[0].reason
    assert "expected one prediction by masks" in rows[1].reason
    assert "one value beside 0, found 1, 2" in rows[2].reason
    assert all("\n" not in row.reason for row in rows)
    with (tmp_path / "out/cases.csv").open(newline="") as file:
        assert [row["dice"] == "" for row in csv.DictReader(file)] == [True, True, True, False]

    write_mask(truncated)
    write_mask(missing)
    method = FolderMethod("masks", method.folder, label=2)
    rows = run(cases, [method], ResultTable(tmp_path / "out"))
    assert rows[2].status == "done"
    assert rows[2].metrics is not None and rows[2].metrics.prediction_ml == pytest.approx(
        4800 * 0.01875, rel=0.02
    )


def test_parts_are_merged_by_a_run_of_the_whole(
    cases: list[EvaluationCase], method: Method, tmp_path: Path
) -> None:
    for part in (1, 2):
        table = ResultTable(tmp_path / "out", (part, 2))
        table.finish(run(cases[part - 1 :: 2], [method], table))
    table = ResultTable(tmp_path / "out")
    rows = run(cases, [method], table)
    assert all(row.kept for row in rows)
    table.finish(rows)
    assert [row.case for row in read_results(tmp_path / "out/cases.csv")] == [case.name for case in cases]
    assert len(read_results(tmp_path / "out/cases-part-1-of-2.csv")) == 2


def test_a_finished_run_leaves_only_what_it_was_asked_for(
    cases: list[EvaluationCase], method: Method, tmp_path: Path
) -> None:
    run(cases, [method], ResultTable(tmp_path / "out"))
    table = ResultTable(tmp_path / "out")
    table.finish(run(cases[:1], [method], table))
    assert [row.case for row in read_results(tmp_path / "out/cases.csv")] == [cases[0].name]


def test_a_strange_file_of_the_tables_name_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_text("patient,age\n1,60\n")
    with pytest.raises(OutputError, match="patient, age"):
        ResultTable(tmp_path)


def test_a_models_masks_are_made_once_and_again_when_its_options_change(
    cases: list[EvaluationCase], bright_model: Path, tmp_path: Path
) -> None:
    spec = find_model(bright_model)

    def model(**options: float) -> ModelMethod:
        options_ = PredictionOptions(**options)
        return ModelMethod("bright", ScoringModel(spec, "cpu"), options_, tmp_path / "out/predictions")

    first = run(cases[:1], [model()], ResultTable(tmp_path / "out"))[0]
    assert first.status == "done", first.reason
    assert first.metrics is not None and first.metrics.dice > 0.8
    mask = Path(first.prediction)
    written = mask.stat().st_mtime_ns
    os.utime(cases[0].reference, ns=(1, 1))
    second = run(cases[:1], [model()], ResultTable(tmp_path / "out"))[0]
    assert not second.kept
    assert mask.stat().st_mtime_ns == written
    third = run(cases[:1], [model(min_size_ml=50.0)], ResultTable(tmp_path / "out"))[0]
    assert third.metrics is not None and third.metrics.prediction_ml == 0
    assert third.metrics.hd95_mm == 256


def test_a_case_without_a_scan_cannot_be_predicted(bright_model: Path, tmp_path: Path) -> None:
    case = EvaluationCase("x", "scan", write_mask(tmp_path / "mask.nii.gz"))
    model = ModelMethod(
        "bright", ScoringModel(find_model(bright_model), "cpu"), PredictionOptions(), tmp_path / "out"
    )
    (row,) = run([case], [model], ResultTable(tmp_path / "out"))
    assert row.status == "failed"
    assert "fill the column image" in row.reason
