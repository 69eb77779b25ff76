"""Predictions on ONNX Runtime are those of torch, and end when they are interrupted."""

from __future__ import annotations

import pickle
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from strokelabel.errors import OptionError
from strokelabel.inference.device import cpu_threads, device_name, set_threads
from strokelabel.inference.onnx_export import compare_engines, export_onnx
from strokelabel.inference.onnx_network import OnnxNetwork
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.parcellate import Parcellator
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.io import Image, read_image
from strokelabel.metrics import dice
from strokelabel.registry import find_model
from support.bright_network import save_bright_model

SCAN = Path(__file__).parents[2] / "sample-data/sub-03/anat/sub-03_FLAIR.nii.gz"


@pytest.fixture(scope="module")
def scan() -> Image:
    return read_image(SCAN)


@pytest.fixture(scope="module")
def on_onnx() -> Predictor:
    return Predictor.from_model("base", "cpu")


def test_the_mask_and_the_probabilities_are_those_of_torch(scan: Image, on_onnx: Predictor) -> None:
    on_torch = Predictor.from_model("base", "cpu", engine="torch")
    assert not on_onnx.is_on_torch and on_torch.is_on_torch
    found, expected = on_onnx.predict(scan), on_torch.predict(scan)
    assert expected.lesion_mask.sum() > 1000
    assert dice(found.lesion_mask > 0, expected.lesion_mask > 0) >= 0.999
    assert np.abs(found.lesion_probability - expected.lesion_probability).max() <= 1e-3
    assert np.abs(found.probabilities - expected.probabilities).max() <= 1e-3


def test_structures_are_those_of_torch(scan: Image) -> None:
    spec = find_model("synthseg")
    found, expected = (
        Parcellator.from_spec(spec, "cpu", engine=engine).parcellate(scan) for engine in ("onnx", "torch")
    )
    assert np.mean(found.labels == expected.labels) >= 0.999
    for name, ml in expected.volumes_ml.items():
        assert found.volumes_ml[name] == pytest.approx(ml, abs=0.01, rel=1e-3)


def test_flips_and_windows_are_those_of_torch(scan: Image, on_onnx: Predictor) -> None:
    shown = on_onnx.show(scan, on_onnx.options)
    part = shown.item()[:, :, :48, :64, :32]
    few = PredictionOptions(max_voxels=32 * 48 * 32)
    engines = [one.engine(few) for one in (on_onnx, Predictor.from_model("base", "cpu", engine="torch"))]
    found, expected = (engine.probabilities(part, (0,)) for engine in engines)
    assert np.abs(found - expected).max() <= 1e-3


def test_onnx_runtime_is_for_models_that_have_the_form_on_cpus(tmp_path: Path) -> None:
    residual = save_bright_model(tmp_path / "model.safetensors")
    assert Predictor.from_model(residual, "cpu").is_on_torch
    with pytest.raises(OptionError, match="use the engine torch"):
        Predictor.from_model(residual, "cpu", engine="onnx")


def test_the_module_of_torch_is_loaded_when_it_is_asked_for_and_used_from_then_on() -> None:
    predictor = Predictor.from_model("base", "cpu")
    other = predictor.on_torch()
    assert other.is_on_torch and not predictor.is_on_torch and other.on_torch() is other
    assert isinstance(predictor.network, nn.Module)
    assert predictor.is_on_torch and predictor.device == torch.device("cpu")


class LeftError(Exception):
    pass


def test_a_pass_ends_soon_after_its_check_raises(on_onnx: Predictor) -> None:
    engine = on_onnx.engine(on_onnx.options)
    item = np.random.default_rng(4).normal(size=(1, 1, 112, 144, 112)).astype(np.float32)
    calls: list[float] = []

    def check() -> None:
        calls.append(time.monotonic())
        if len(calls) == 3:
            raise LeftError

    before = threading.active_count()
    with pytest.raises(LeftError), on_onnx.interruptible(check):
        engine.output(item)
    assert len(calls) == 3 and threading.active_count() == before
    with on_onnx.interruptible(lambda: None):  # and the next one is whole
        small = engine.output(item[:, :, :32, :32, :32])
    np.testing.assert_array_equal(small, engine.output(item[:, :, :32, :32, :32]))


def test_what_goes_wrong_in_an_interruptible_pass_is_raised(on_onnx: Predictor) -> None:
    wrong = np.zeros((1, 3, 32, 32, 32), np.float32)
    with pytest.raises(Exception, match=r"[Dd]imension"), on_onnx.interruptible(lambda: None):
        on_onnx.engine(on_onnx.options).output(wrong)


def test_threads_are_those_that_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert cpu_threads() >= 1
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    set_threads(None)
    assert cpu_threads() == 1
    try:
        set_threads(3)
        assert cpu_threads() == torch.get_num_threads() == 3
        network = OnnxNetwork(find_model("synthseg"))
        assert network.threads == 3
    finally:
        torch.set_num_threads(threads)


def test_another_process_makes_the_same_predictor_from_the_file() -> None:
    predictor = Predictor.from_model("base", "cpu")
    item = np.random.default_rng(7).normal(size=(1, 1, 32, 32, 32)).astype(np.float32)
    sent = pickle.loads(pickle.dumps(predictor))
    found, expected = (one.engine(one.options).output(item) for one in (sent, predictor))
    np.testing.assert_array_equal(found, expected)
    assert len(pickle.dumps(predictor)) < 100_000  # the weights stay in their file


def test_devices_are_named_without_torch() -> None:
    assert device_name("cpu") == "cpu"
    with pytest.raises(OptionError, match="Expected the device"):
        device_name("gpu")


def test_an_exported_file_is_what_was_compared(tmp_path: Path) -> None:
    agreement = export_onnx(find_model("synthseg"), tmp_path / "synthseg.onnx")
    assert agreement.is_close and (tmp_path / "synthseg.onnx").stat().st_size > 1_000_000


def test_engines_that_disagree_are_found() -> None:
    class Shifted:
        device = "cpu"

        def __init__(self, by: float) -> None:
            self.by = by

        def run(self, volume: np.ndarray) -> np.ndarray:
            return np.concatenate([volume, np.full_like(volume, self.by)], axis=1)

    item = np.random.default_rng(6).normal(size=(1, 1, 9, 8, 7)).astype(np.float32)
    assert compare_engines(Shifted(0.0), Shifted(0.0), item).is_close
    assert not compare_engines(Shifted(0.0), Shifted(0.1), item).is_close
