import pytest
import torch

from strokelabel.errors import OptionError, TrainingError
from strokelabel.fit.fine_tuning.options import FineTuneOptions
from strokelabel.fit.loop.devices import fastest_precision, gpu_arithmetic, make_fabric, training_device


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cpu:1", "", "cuda:99"])
def test_devices_that_do_not_exist_are_refused(name):
    with pytest.raises(OptionError, match="device"):
        training_device(name)


def test_half_precision_with_a_scaler_is_refused_on_a_cpu():
    with pytest.raises(TrainingError, match="bf16-mixed"):
        make_fabric("cpu", "16-mixed")


def test_the_cpu_is_always_there():
    assert training_device("cpu") == torch.device("cpu")
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


@pytest.mark.parametrize(
    ("avx512", "amx", "expected"),
    [(True, False, "bf16-mixed"), (False, True, "bf16-mixed"), (False, False, "32-true")],
)
def test_a_cpu_computes_in_bfloat16_only_where_it_has_instructions_for_it(monkeypatch, avx512, amx, expected):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)

    assert fastest_precision(torch.device("cpu")) == expected


def test_fine_tuning_takes_the_fastest_arithmetic_unless_one_is_chosen():
    cpu = torch.device("cpu")

    assert FineTuneOptions().training(4, 1.0, cpu).precision == fastest_precision(cpu)
    assert FineTuneOptions(precision="32-true").training(4, 1.0, cpu).precision == "32-true"
