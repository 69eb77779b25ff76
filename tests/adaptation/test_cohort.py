"""A model is trained on its own pseudo-labels of a cohort: on the reliable ones, resumably, and reversibly."""

from __future__ import annotations

import json
from copy import deepcopy
from itertools import pairwise
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from strokelabel.adaptation.cohort.pseudo_labels import (
    IGNORED,
    DecoderFeatures,
    LabelledScan,
    PseudoLabeler,
    class_prototypes,
    nearest_class,
)
from strokelabel.adaptation.cohort.report import ScanChange, objections
from strokelabel.adaptation.cohort.run import MODEL, RECORD, CohortAdaptation, adapt_to_cohort
from strokelabel.adaptation.cohort.training import PseudoBatch, PseudoObjective, PseudoStream, class_weights
from strokelabel.adaptation.options import UNCERTAINTY, CohortOptions
from strokelabel.adaptation.safety import OutputSummary
from strokelabel.errors import DataError, OptionError, OutputError
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.io import read_image
from strokelabel.networks.unet import UNetConfig, build_network
from strokelabel.networks.weights import load_weights, save_weights
from support.bright_network import centred_affine, make_spec, phantom, rotation

SHAPE = (24, 30, 20)
METHODS = ("pl", "upl", "dpl")


def options(method: str = "pl", **changes: object) -> CohortOptions:
    """A few steps; with dropout where the method needs it."""
    known: dict[str, object] = {"steps": 4, "window_voxels": 12_000}
    if method != "pl":
        known["dropout"] = 0.1
    return CohortOptions(method, **(known | changes))  # type: ignore[arg-type]


@pytest.fixture
def predictor(bright_model: Path) -> Predictor:
    return Predictor.from_model(bright_model, "cpu")


@pytest.fixture
def cohort(tmp_path: Path) -> list[Path]:
    """Two oblique scans with lesions in different places."""
    paths = []
    for number, place in enumerate([(6.0, -9.0, 3.0), (-7.0, 4.0, -5.0)]):
        affine = centred_affine(rotation((7, 0, 5)) @ np.diag([-2.5, 2.5, 3.0]), SHAPE)
        image, _ = phantom(SHAPE, affine, place, radius_mm=10)
        paths.append(tmp_path / "scans" / f"scan{number}.nii.gz")
        paths[-1].parent.mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(image.data, affine), paths[-1])
    return paths


@pytest.mark.parametrize("architecture", ["residual", "plain", "subpixel"])
def test_the_features_are_what_the_last_layer_of_each_architecture_makes_its_logits_of(
    architecture: str,
) -> None:
    config = UNetConfig(architecture=architecture, channels=(4, 6, 8), strides=(2, 2), dropout=0.0)
    network = build_network(config).eval()
    images = torch.randn(1, 1, 16, 24, 32)
    with torch.no_grad():
        before = network(images)
        features = DecoderFeatures(network)(images)
        assert torch.equal(network(images), before)
    assert features.shape == (1, 8 if architecture == "residual" else 4, 16, 24, 32)
    assert float(features.std()) > 0


def test_a_prototype_is_the_mean_feature_weighted_by_probability_and_the_nearest_one_wins() -> None:
    features = torch.tensor([[0.0, 2.0, 10.0, 9.0], [0.0, 0.0, 1.0, 1.0]]).reshape(2, 4, 1, 1)
    probabilities = torch.tensor([[0.9, 0.3, 0.1, 0.8], [0.1, 0.7, 0.9, 0.2], [0.0] * 4]).reshape(3, 4, 1, 1)
    labels = torch.tensor([0, 0, 1, 0]).reshape(4, 1, 1)
    confident = torch.tensor([True, True, True, False]).reshape(4, 1, 1)
    prototypes = class_prototypes(features, probabilities, labels, confident)
    torch.testing.assert_close(prototypes[:2], torch.tensor([[0.5, 0.0], [10.0, 1.0]]))
    assert torch.isinf(prototypes[2]).all()  # a class that no voxel shows attracts none
    assert nearest_class(features, prototypes).flatten().tolist() == [0, 0, 1, 1]


def test_each_condition_keeps_fewer_voxels_and_all_keep_what_the_model_says(
    predictor: Predictor, cohort: list[Path]
) -> None:
    image = read_image(cohort[0])
    scans = [PseudoLabeler(predictor, options(method)).label(image, lambda _: None) for method in METHODS]
    with torch.no_grad():
        probabilities = torch.softmax(predictor.network(scans[0].item[None]), dim=1)[0]
    top, labels = probabilities.max(dim=0)
    assert torch.equal(scans[0].target != IGNORED, top > 5.5 / 6)
    for scan in scans:
        kept = scan.target != IGNORED
        assert torch.equal(scan.target[kept].long(), labels[kept])
        assert int(kept.sum()) == scan.kept.kept > 0
        assert scan.kept.lesion_kept == int((scan.target == 5).sum())
    for before, after in pairwise(scans):
        assert not ((after.target != IGNORED) & (before.target == IGNORED)).any()
    assert scans[1].kept.certain is not None and scans[1].kept.certain < scans[1].kept.confident
    assert scans[0].kept.certain is None and scans[1].kept.agreeing is None


def test_a_certain_voxel_hardly_differs_between_passes(predictor: Predictor, cohort: list[Path]) -> None:
    """Dropout of a tenth changes the answer of this network nearly everywhere, dropout of a ten-thousandth nowhere."""
    image = read_image(cohort[0])
    counts = [
        PseudoLabeler(predictor, options("upl", dropout=rate)).label(image, lambda _: None).kept.certain
        for rate in (0.4, 0.1, 1e-7)
    ]
    assert counts[0] < counts[1] < counts[2]  # type: ignore[operator]
    assert UNCERTAINTY == 0.05


def test_a_network_without_dropout_is_refused_with_the_way_out(predictor: Predictor, tmp_path: Path) -> None:
    for method in ("upl", "dpl"):
        with pytest.raises(OptionError, match="--dropout"):
            CohortAdaptation(predictor, [], tmp_path, options(method, dropout=None))
    config = UNetConfig(channels=(2, 2), strides=(2,), dropout=0.3)
    spec = make_spec(path=tmp_path / "own.safetensors", network=config.model_dump(mode="json"))
    save_weights(spec.path, build_network(config), spec)
    CohortAdaptation(Predictor.from_model(spec.path, "cpu"), [], tmp_path, options("upl", dropout=None))


def test_rare_classes_weigh_more_and_absent_ones_nothing() -> None:
    target = torch.full((10, 10, 1), 0, dtype=torch.uint8)
    target[0, :4] = 5
    target[1:4] = IGNORED
    weights = class_weights(target, 6)
    assert weights[5] / weights[0] == pytest.approx(np.sqrt(66 / 4), rel=1e-5)
    assert not weights[1:5].any()


def test_ignored_voxels_do_not_count_in_the_loss() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(1, 6, 2, 3, 4), torch.randint(0, 6, (1, 2, 3, 4))
    target[0, 0] = IGNORED
    batch = PseudoBatch(torch.zeros(1, 1, 2, 3, 4), target, torch.ones(6))
    loss = PseudoObjective(1.0).loss(logits, batch, 0)
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(logits[:, :, 1], target[:, 1]))
    other = logits.clone()
    other[:, :, 0] = 50
    assert torch.equal(PseudoObjective(1.0).loss(other, batch, 0), loss)
    torch.testing.assert_close(PseudoObjective(2.0).loss(2 * logits, batch, 0), loss)
    batch.target.fill_(IGNORED)
    assert PseudoObjective(1.0).loss(logits, batch, 0) == 0


def test_windows_visit_each_scan_in_every_round_and_look_at_kept_voxels(
    predictor: Predictor, cohort: list[Path], tmp_path: Path
) -> None:
    labeler = PseudoLabeler(predictor, options())
    paths = [tmp_path / f"{number}.safetensors" for number in range(2)]
    for path, scan in zip(paths, cohort, strict=True):
        labeler.label(read_image(scan), lambda _: None).write(path)
    stream = PseudoStream(paths, 6, predictor.lesion, predictor.multiple, 3000, seed=1)
    batches = [stream.batch(step) for step in range(8)]
    items = [LabelledScan.read(path) for path in paths]
    for first in range(0, 8, 2):
        seen = {
            place
            for batch in batches[first : first + 2]
            for place, scan in enumerate(items)
            if scan is not None and torch.equal(batch.weights, class_weights(scan.target, 6))
        }
        assert seen == {0, 1}
    assert all(batch.image.numel() <= 3000 and (batch.target != IGNORED).any() for batch in batches)
    assert all((batch.target == predictor.lesion).any() for batch in [*batches[2:4], *batches[6:8]])
    again = stream.batch(5)
    assert torch.equal(again.image, batches[5].image) and torch.equal(again.target, batches[5].target)


@pytest.mark.parametrize("method", METHODS)
def test_without_steps_the_model_comes_back_bit_for_bit(
    predictor: Predictor, cohort: list[Path], tmp_path: Path, method: str
) -> None:
    report = adapt_to_cohort(predictor, cohort, tmp_path / "out", options(method, steps=0))
    assert report is not None and report.accepted
    assert (tmp_path / "out" / MODEL).read_bytes() == predictor.spec.path.read_bytes()
    for change in report.changes.values():
        assert change["entropy_before"] == change["entropy_after"]
        assert change["volume_before_ml"] == change["volume_after_ml"] > 0


@pytest.mark.parametrize("method", METHODS)
def test_an_adapted_model_is_more_certain_of_the_cohort_and_the_first_one_does_not_change(
    predictor: Predictor, cohort: list[Path], tmp_path: Path, method: str
) -> None:
    file, weights = predictor.spec.path.read_bytes(), deepcopy(predictor.network.state_dict())
    out = tmp_path / "out"
    report = adapt_to_cohort(
        predictor, cohort, out, options(method, steps=20, learning_rate=2e-3, confidence=0.5)
    )
    assert report is not None and report.accepted and not report.objections
    assert report.mean("entropy_after") < report.mean("entropy_before")
    assert predictor.spec.path.read_bytes() == file
    assert all(torch.equal(value, weights[key]) for key, value in predictor.network.state_dict().items())
    assert not predictor.network.training
    adapted = Predictor.from_model(out / MODEL, "cpu")
    assert adapted.spec.version == f"1+{method}" and adapted.spec.sha256 == report.adapted["sha256"]
    assert adapted.spec.recipe["adaptation"]["parent_sha256"] == predictor.spec.sha256
    assert adapted.predict(read_image(cohort[0])).volume_ml > 0
    written = json.loads((out / RECORD).read_text())
    assert written["threshold"] == 0.5
    assert [row["status"] for row in written["scans"]] == ["done", "done"]
    assert all(0 < row["confident"] <= row["voxels"] for row in written["scans"])
    assert not (out / "work").exists()


def test_a_stopped_adaptation_goes_on_and_ends_with_the_same_weights(
    predictor: Predictor, cohort: list[Path], tmp_path: Path
) -> None:
    asked = options(steps=6, learning_rate=2e-3)
    whole = adapt_to_cohort(predictor, cohort, tmp_path / "whole", asked, force=True)
    told = 0

    def stop() -> bool:
        nonlocal told
        told += 1
        return told > 3

    assert adapt_to_cohort(predictor, cohort, tmp_path / "parts", asked, should_stop=stop) is None
    assert not (tmp_path / "parts" / MODEL).exists()
    going_on = CohortAdaptation(predictor, cohort, tmp_path / "parts", asked)
    assert [row.status for row in going_on.label()] == ["kept", "kept"]
    result = going_on.train(lambda _: None)
    assert result is not None and result.finished
    report = going_on.finish(force=True)
    assert whole is not None and report.changes == whole.changes
    found, expected = (load_weights(tmp_path / name / MODEL)[0].state_dict() for name in ("parts", "whole"))
    assert all(torch.equal(value, expected[key]) for key, value in found.items())
    repeated = CohortAdaptation(predictor, cohort, tmp_path / "parts", asked).earlier
    assert repeated is not None and repeated.adapted == report.adapted


def test_a_wrecked_model_is_not_written_unless_forced(
    predictor: Predictor, cohort: list[Path], tmp_path: Path
) -> None:
    asked = options(steps=8, learning_rate=5.0)
    out = tmp_path / "out"
    report = adapt_to_cohort(predictor, cohort, out, asked)
    assert report is not None and not report.accepted and report.objections
    assert not (out / MODEL).exists() and (out / RECORD).exists()
    forced = adapt_to_cohort(predictor, cohort, out, asked, force=True)
    assert forced is not None and forced.accepted and forced.forced and forced.objections == report.objections
    assert load_weights(out / MODEL)[1].sha256 == forced.adapted["sha256"]


def test_other_options_do_not_replace_a_model_unless_asked_to(
    predictor: Predictor, cohort: list[Path], tmp_path: Path
) -> None:
    adapt_to_cohort(predictor, cohort, tmp_path / "out", options(steps=0))
    with pytest.raises(OutputError, match="another model, to other scans or with other options"):
        CohortAdaptation(predictor, cohort[:1], tmp_path / "out", options(steps=0))
    CohortAdaptation(predictor, cohort[:1], tmp_path / "out", options(steps=0), overwrite=True)


def test_a_scan_that_cannot_be_read_fails_alone_and_no_scans_at_all_are_an_error(
    predictor: Predictor, cohort: list[Path], tmp_path: Path
) -> None:
    cohort[0].write_bytes(b"nothing")
    report = adapt_to_cohort(predictor, cohort, tmp_path / "out", options(steps=0))
    assert report is not None and [row["status"] for row in report.scans] == ["failed", "done"]
    assert list(report.changes) == [str(cohort[1])]
    with pytest.raises(DataError, match="lower the confidence"):
        adapt_to_cohort(predictor, cohort[:1], tmp_path / "none", options())


def test_the_report_of_a_cohort_objects_to_more_than_a_tenth_of_spoiled_scans() -> None:
    plain = OutputSummary(entropy=0.2, objective=0.2, lesion_ml=8.0, brain_ml=1200.0)
    better = OutputSummary(entropy=0.1, objective=0.1, lesion_ml=9.0, brain_ml=1200.0)
    gone = OutputSummary(entropy=0.1, objective=0.1, lesion_ml=0.0, brain_ml=1200.0)
    good = [ScanChange(f"scan{number}", plain, better) for number in range(10)]
    assert objections(good) == []
    assert objections([*good[1:], ScanChange("gone", plain, gone)]) == []
    (objection,) = objections([*good[2:], *[ScanChange("gone", plain, gone)] * 2])
    assert "2 of 10 scans are spoiled (gone: the lesion collapsed (8.00 to 0.00 ml)" in objection
    (objection,) = objections([ScanChange("same", plain, plain)])
    assert "the mean entropy did not fall" in objection


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"method": "best"}, "'pl', 'upl' or 'dpl'"),
        ({"steps": -1}, "0 or more steps"),
        ({"confidence": 1.0}, "confidence from 0 to below 1"),
        ({"method": "upl", "dropout": 1.0}, "dropout rate between 0 and 1"),
        ({"dropout": 0.2}, "'upl' and 'dpl' alone"),
        ({"learning_rate": 0.0}, "learning rate above 0"),
        ({"window_voxels": 0}, "at least one voxel"),
    ],
)
def test_impossible_options_are_refused(changes: dict[str, object], expected: str) -> None:
    with pytest.raises(OptionError, match=expected):
        CohortOptions(**({"method": "pl"} | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(("classes", "threshold"), [(2, 0.75), (6, 5.5 / 6)])
def test_the_default_confidence_follows_the_number_of_classes(classes: int, threshold: float) -> None:
    assert CohortOptions("pl").threshold(classes) == pytest.approx(threshold)
