import json

import pytest
import torch

from strokelabel.errors import DataError
from strokelabel.labels import TissueClass, default_label_table
from strokelabel.physics.mprage import Mprage
from strokelabel.synthesis.config import SynthesisConfig
from strokelabel.synthesis.generator import Synthesizer
from strokelabel.synthesis.quantitative.heads import QuantitativeHead, simulate_quantitative_head
from strokelabel.synthesis.quantitative.samples import TARGET_LIMITS, EstimationSynthesizer, target_maps
from strokelabel.synthesis.quantitative.scan import MprageConfig
from support.head_phantom import ball_bank, phantom_head

TABLE = default_label_table()
STILL = {
    "rotation_degrees": (0, 0),
    "shear": (0, 0),
    "zoom": (1, 1),
    "translation_mm": (0, 0),
    "elastic_fraction": (0, 0),
    "flip_probability": (0, 0, 0),
}
CLEAN = {
    "bias_strength": (0, 0),
    "gamma_log_deviation": 0,
    "motion_fwhm_mm": (0, 0),
    "full_resolution_probability": 1,
    "noise_deviation": (0, 0),
}


def config(**changes):
    known = {
        "shape": (40, 48, 44),
        "spacing_mm": 4.5,
        "deformation": STILL,
        "contrast": {"model": "physics", "physics": {"between_subjects": 0}},
        "artefacts": CLEAN,
        "skull_strip": {"probability": 0},
        "lesion": {"count_weights": {0: 1}},
    }
    return SynthesisConfig.model_validate(known | changes)


@pytest.fixture(scope="module")
def head():
    return phantom_head()


def estimation(head, mprage=None, **changes):
    synthesizer = Synthesizer([head], ball_bank([(40, -18, 22)], radius_mm=18), TABLE, config(**changes))
    return EstimationSynthesizer(synthesizer, MprageConfig.model_validate(mprage or {}))


@pytest.fixture(scope="module")
def sample(head):
    return estimation(head, {"gibbs_probability": 0}).generate([5])


def tissue(sample, low, high):
    """Voxels with R1 in a range."""
    return (sample.maps[:, 1] > low) & (sample.maps[:, 1] < high) & (sample.maps[:, 0] > 50)


def test_maps_hold_tissue_values_in_their_units_and_nothing_in_the_air(sample):
    white = tissue(sample, 0.9, 1.05)
    density, longitudinal, transverse, transfer = (sample.maps[:, i][white].median() for i in range(4))
    assert density == pytest.approx(69.8, abs=3)
    assert longitudinal == pytest.approx(0.968, abs=0.05)
    assert transverse == pytest.approx(22.2, abs=3)
    assert transfer == pytest.approx(1.5, abs=0.15)
    assert not sample.maps[..., :1, :, :].any()
    for values, limit in zip(sample.maps[0], TARGET_LIMITS.values(), strict=True):
        assert 0 <= values.min() < values.max() <= limit


def test_the_scan_is_t1_weighted_and_lies_where_the_maps_do(sample):
    white, gray, fluid = (tissue(sample, *bounds) for bounds in ((0.9, 1.05), (0.6, 0.72), (0.15, 0.3)))
    image = sample.image[:, 0]
    assert image[white].median() > image[gray].median() > image[fluid].median()
    assert image.mean() == pytest.approx(0, abs=1e-4)


def test_acquisitions_vary_within_the_papers_ranges_and_are_always_possible(head):
    synthesizer = estimation(head)
    scans = [synthesizer.sample(seed).sample.contrast.scan for seed in range(30)]
    assert all(isinstance(scan.acquisition, Mprage) for scan in scans)
    for name in ("repetition_time", "inversion_time", "echo_time", "flip_angle", "inversion_efficiency"):
        low, high = getattr(MprageConfig(), name)
        values = [getattr(scan.acquisition, name) for scan in scans]
        assert low <= min(values) < max(values) <= high


def test_the_same_seed_gives_the_same_scan_alone_and_in_a_batch(head):
    moving = estimation(head, deformation={}, artefacts={}, lesion={})
    together = moving.generate([3, 4])
    alone = moving.generate([4])
    torch.testing.assert_close(together.maps[1:], alone.maps)
    torch.testing.assert_close(together.image[1:], alone.image, atol=1e-4, rtol=1e-4)
    record = json.loads(moving.sample(4).to_json())
    assert record["sample"]["contrast"]["scan"]["acquisition"]["inversion_time"] > 0


def test_lesions_are_in_the_maps(head):
    with_lesion = estimation(head, lesion={"count_weights": {1: 1}, "penumbra_probability": 0})
    parameters = with_lesion.sample(8)
    found = with_lesion.apply([parameters]).maps
    healthy = estimation(head).apply([estimation(head).sample(8)]).maps
    changed = (found[:, 1] - healthy[:, 1]).abs() > 0.1
    volume_ml = float(changed.sum()) * 4.5**3 / 1000
    assert 4 < volume_ml < 40


def test_a_stripped_skull_is_missing_in_scan_and_maps(head):
    stripped = estimation(head, {"gibbs_probability": 0}, skull_strip={"probability": 1}).generate([2])
    outside = stripped.maps[0].sum(dim=0) == 0
    assert stripped.image[0, 0][outside].std() < 1e-4
    assert not (stripped.maps[0, 2] > 90).any(), "bone"


def test_ringing_takes_detail_but_no_anatomy(head):
    clean = estimation(head, {"gibbs_probability": 0}).generate([6])
    ringing = estimation(head, {"gibbs_probability": 1, "gibbs": (0.5, 0.5)}).generate([6])
    assert torch.equal(clean.maps, ringing.maps)
    difference = (clean.image - ringing.image).std()
    assert 0.02 < difference < 0.5
    assert type(ringing.image) is torch.Tensor


def test_limits_do_not_touch_the_brain_and_hide_what_cannot_be_seen():
    features = torch.tensor([[70.0, 0.9, 14, 22, 1.5], [20.0, 4.5, 300, 500, 0.5], [2.0, 0.9, 20, 40, 0.5]])
    maps = target_maps(features.T[None, :, :, None, None])[0, :, :, 0, 0].T
    torch.testing.assert_close(maps[0], torch.tensor([70, 0.9, 22, 1.5]))
    torch.testing.assert_close(maps[1], torch.tensor([20.0, 2, 100, 0.5]))
    assert not maps[2].any()


def test_intensities_cannot_be_estimated_from(head):
    synthesizer = Synthesizer([head], ball_bank([]), TABLE, config(contrast={"model": "mixture"}))
    with pytest.raises(DataError, match="quantitative contrast"):
        EstimationSynthesizer(synthesizer, MprageConfig())


@pytest.fixture(scope="module")
def simulated(head):
    return simulate_quantitative_head(head, TABLE, config().contrast, seed=1)


def test_simulated_maps_are_one_subject_whatever_is_drawn_later(simulated):
    synthesizer = Synthesizer([simulated], ball_bank([]), TABLE, config())
    first, second = (
        synthesizer.apply([synthesizer.sample(seed)], keep_features=True).features for seed in (1, 2)
    )
    torch.testing.assert_close(first, second)


def test_quantitative_heads_give_the_maps_and_classes_of_the_head_they_were_made_from(head, simulated):
    labels, volumes = (
        Synthesizer([one], ball_bank([]), TABLE, config()).apply(
            [Synthesizer([one], ball_bank([]), TABLE, config()).sample(3)], keep_features=True
        )
        for one in (head, simulated)
    )
    assert torch.equal(labels.target, volumes.target)
    seen = labels.features[:, 0] > 50
    ratio = volumes.features[:, 1][seen] / labels.features[:, 1][seen]
    assert ratio.median() == pytest.approx(1, abs=0.05)


def test_a_heads_own_lesion_is_labelled_and_pasted_ones_are_too(head, simulated):
    tissues = torch.zeros_like(simulated.tissues)
    tissues[4, 20:26, 30:36, 28:34] = 255
    own = QuantitativeHead(**(vars(simulated) | {"tissues": tissues, "labelled": torch.tensor([False])}))
    lesions = {"count_weights": {1: 1}}
    synthesizer = Synthesizer([own], ball_bank([(40, -18, 22)], radius_mm=18), TABLE, config(lesion=lesions))
    target = synthesizer.generate([1]).target
    assert set(target.unique().tolist()) == {int(TissueClass.BACKGROUND), int(TissueClass.LESION)}
    pasted_only = Synthesizer([simulated], ball_bank([]), TABLE, config()).generate([1]).target
    assert not (pasted_only == TissueClass.LESION).any()
    volume_ml = float((target == TissueClass.LESION).sum()) * 4.5**3 / 1000
    assert volume_ml > 6**3 * 3.0**3 / 1000 + 3


def test_heads_of_unequal_extent_go_into_one_batch(simulated):
    short = QuantitativeHead(
        **(vars(simulated) | {"maps": simulated.maps[:, :50], "tissues": simulated.tissues[:, :50]})
        | {
            name: getattr(simulated, name)[:50]
            for name in ("first", "second", "fraction", "brain", "lesion_allowed")
        }
    )
    batch = Synthesizer([simulated, short], ball_bank([]), TABLE, config()).generate([1, 2, 3, 4])
    assert {p.head for p in batch.parameters} == {0, 1}
    assert batch.image.isfinite().all()
