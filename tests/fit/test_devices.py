import pytest
import torch

from strokelabel.errors import TrainingError
from strokelabel.fit.devices import gpu_arithmetic, make_fabric, resolve_device


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cpu:1", "", "cuda:99"])
def test_devices_that_do_not_exist_are_refused(name):
    with pytest.raises(TrainingError, match="expected the"):
        resolve_device(name)


def test_half_precision_with_a_scaler_is_refused_on_a_cpu():
    with pytest.raises(TrainingError, match="bf16-mixed"):
        make_fabric("cpu", "16-mixed")


def test_the_cpu_is_always_there():
    assert resolve_device("cpu") == torch.device("cpu")
    assert make_fabric("cpu", "32-true").device == torch.device("cpu")


@pytest.mark.parametrize("tf32", [True, False])
def test_the_arithmetic_of_gpus_is_set_for_training_and_put_back(tf32):
    def flags() -> tuple[bool, bool, bool]:
        cudnn = torch.backends.cudnn
        return torch.backends.cuda.matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark

    before = flags()
    with gpu_arithmetic(torch.device("cuda"), tf32=tf32):
        assert flags() == (tf32, tf32, True)
    assert flags() == before
    with gpu_arithmetic(torch.device("cpu"), tf32=tf32):
        assert flags() == before
