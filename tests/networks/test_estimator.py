from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from strokelabel.errors import WeightsError
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.networks.estimator import EstimatorConfig, activate, build_estimator
from strokelabel.networks.weights import load_weights, save_weights
from strokelabel.registry import SEGMENTATION, find_model
from support.tiny_estimator import TINY, estimator_spec


def test_the_default_estimator_has_as_many_parameters_as_the_papers():
    network = build_estimator(EstimatorConfig())
    assert sum(value.numel() for value in network.parameters()) == 9_399_084


def test_outputs_become_maps_that_are_physically_possible():
    raw = torch.linspace(-200, 200, 81).expand(1, 4, 81).reshape(1, 4, 1, 1, 81)
    density, longitudinal, transverse, transfer = activate(raw)[0, :, 0, 0]
    at_zero = 40
    assert density[at_zero] == 1
    assert longitudinal[at_zero] == transverse[at_zero] == pytest.approx(0.1)
    assert transfer[at_zero] == 50
    assert density.max() == pytest.approx(torch.e**12, rel=1e-5)
    assert density.min() == pytest.approx(torch.e**-10, rel=1e-5)
    assert transfer.min() >= 0
    assert transfer.max() <= 100
    assert activate(raw).isfinite().all()


def test_maps_have_the_shape_of_the_scan_and_start_near_tissue():
    torch.manual_seed(1)
    network = build_estimator(TINY).eval()
    maps = network(torch.randn(2, 1, 8, 12, 10))
    assert maps.shape == (2, 4, 8, 12, 10)
    assert maps.dtype == torch.float32
    density, longitudinal, transverse, transfer = maps.median(dim=0).values.flatten(1).median(dim=1).values
    assert 20 < density < 250
    assert 0.2 < longitudinal < 3
    assert 5 < transverse < 80
    assert 0.2 < transfer < 5


def test_a_level_may_keep_the_grid_so_that_coarse_voxels_lose_nothing():
    config = EstimatorConfig(channels=(4, 6, 8), strides=(1, 2))
    assert config.multiple == 2
    assert build_estimator(config)(torch.randn(1, 1, 4, 6, 8)).shape == (1, 4, 4, 6, 8)


@pytest.mark.parametrize("wrong", [{"channels": (4, 8)}, {"strides": (0, 2, 2, 2)}, {"dropout": 1.0}])
def test_impossible_estimators_are_refused(wrong):
    with pytest.raises(ValidationError):
        EstimatorConfig(**wrong)


def test_a_saved_estimator_gives_the_same_maps_when_loaded_and_is_known_as_one(tmp_path):
    torch.manual_seed(2)
    network = build_estimator(TINY)
    saved = save_weights(tmp_path / "e.safetensors", network, estimator_spec(), dtype="float32")
    loaded, spec = load_weights(saved.path)
    assert spec == replace(estimator_spec(), path=tmp_path / "e.safetensors")
    image = torch.randn(1, 1, 6, 8, 10)
    assert torch.equal(loaded(image), network.eval()(image))


def test_predicting_lesions_with_an_estimator_is_refused_with_the_command_to_use(tmp_path):
    path = save_weights(tmp_path / "e.safetensors", build_estimator(TINY), estimator_spec()).path
    with pytest.raises(WeightsError, match="use `strokelabel estimate`"):
        Predictor.from_model(path, "cpu")


def test_models_described_before_there_were_tasks_segment():
    assert find_model("base").task == SEGMENTATION
