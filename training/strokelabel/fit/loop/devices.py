"""Device of a training: one, or one per process under `torchrun`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning_fabric import Fabric

from strokelabel.errors import TrainingError
from strokelabel.fit.config import Precision
from strokelabel.inference.device import resolve_device


def make_fabric(device: str, precision: Precision) -> Fabric:
    """Return the Lightning Fabric for a device and an arithmetic.

    Args:
        device: "auto" (a GPU if there is one), "cpu", "cuda", or "cuda:" and an index. Under `torchrun` the
            processes of a node share its GPUs out among them.
        precision: "32-true", "bf16-mixed" or "16-mixed".

    Raises:
        OptionError: no such device.
        TrainingError: one that cannot compute like that.
    """
    place = training_device(device)
    kind, index = place.type, place.index
    if kind == "cpu" and precision == "16-mixed":
        raise TrainingError("16-mixed needs a GPU; on a CPU use the precision bf16-mixed or 32-true")
    processes = process_count()
    if processes > 1:
        local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        fabric = Fabric(
            accelerator=kind, precision=precision, strategy="ddp", devices=local, num_nodes=processes // local
        )
    else:
        fabric = Fabric(accelerator=kind, precision=precision, devices=1 if index is None else [index])
    fabric.launch()
    return fabric


def fastest_precision(device: torch.device) -> Precision:
    """Return "bf16-mixed" where the device computes in bfloat16 by instructions of its own, else "32-true".

    Args:
        device: a CPU or a GPU.
    """
    if device.type == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    # Without these, oneDNN emulates bfloat16, which is slower than float32.
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16-mixed" if native else "32-true"


@contextmanager
def gpu_arithmetic(device: torch.device, *, tf32: bool, benchmark: bool = True) -> Iterator[None]:
    """Set the arithmetic of convolutions on NVIDIA GPUs within the block.

    Args:
        device: nothing changes unless it is a GPU.
        benchmark: measure the algorithms for each shape of images, which takes seconds, and use the fastest.
        tf32: let float32 products round their inputs to 10 bits of mantissa, as tensor cores do.
    """
    if device.type != "cuda":
        yield
        return
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = tf32
    try:
        with torch.backends.cudnn.flags(
            benchmark=benchmark, allow_tf32=tf32, deterministic=False, enabled=True
        ):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def process_count() -> int:
    """Return the number of processes that share the training: more than one only under `torchrun`."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def gpus_of(device: str) -> int:
    """Return the number of GPUs of a device's name: all visible ones for "auto" and "cuda", one for "cuda:1", 0 for
    "cpu".

    Raises:
        OptionError: no such device.
    """
    place = training_device(device)
    if place.type != "cuda":
        return 0
    return torch.cuda.device_count() if place.index is None else 1


def training_device(device: str) -> torch.device:
    """Return the device of that name, as `inference.device.resolve_device` does.

    Under `torchrun`, "auto" and "cuda" mean the process's own GPU.

    Raises:
        OptionError: no such device.
    """
    is_any_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    return resolve_device(
        f"cuda:{os.environ['LOCAL_RANK']}" if is_any_gpu and "LOCAL_RANK" in os.environ else device
    )
