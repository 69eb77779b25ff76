"""Device of a computation, its threads, and the size of an image that fits there at once.

Torch is imported for GPUs alone.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from strokelabel.errors import OptionError

if TYPE_CHECKING:
    import torch

BYTES_PER_VOXEL = 300
"""Peak memory of a pass per input voxel. Measured with eager torch on a CPU, 96³ to 192 x 224 x 192 voxels:
145 to 285 bytes for the default network, 160 to 255 for that of the released weights."""

_MEMORY_FRACTION = 0.5
_FALLBACK_BYTES = 4 * 2**30
_NAME = re.compile(r"cpu|cuda(:\d{1,3})?")


def device_name(name: str = "auto") -> str:
    """Return the name of a device; "auto" is the first CUDA device, or the CPU where there is none.

    Torch is imported only where there may be a GPU: that takes longer than a prediction.

    Raises:
        OptionError: unknown, or not on this machine.
    """
    if name == "cpu" or (name == "auto" and not has_cuda_driver()):
        return "cpu"
    if name != "auto" and not _NAME.fullmatch(name):
        raise OptionError(f"Expected the device 'auto', 'cpu', 'cuda' or 'cuda:<index>', got {name!r}.")
    try:
        return str(resolve_device(name))
    except ModuleNotFoundError:
        if name == "auto":
            return "cpu"
        raise


def has_cuda_driver() -> bool:
    """Return whether NVIDIA's driver finds a GPU; quick, and true wherever torch could use one."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        count = ctypes.c_int(0)
        return bool(
            driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
        )
    except (OSError, AttributeError):
        return False


def resolve_device(name: str = "auto") -> torch.device:
    """Return the device of that name; "auto" is the first CUDA device, or the CPU where there is none.

    Raises:
        OptionError: unknown, or not on this machine.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not _NAME.fullmatch(name):
        raise OptionError(f"Expected the device 'auto', 'cpu', 'cuda' or 'cuda:<index>', got {name!r}.")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise OptionError(
            f"The device {name!r} was requested, but torch sees {torch.cuda.device_count()} CUDA devices; "
            "use 'cpu' or 'auto', or install a torch built for this machine's driver."
        )
    return device


_THREADS = "OMP_NUM_THREADS"
"""Environment variable by which torch, NumPy's matrix products and many others take their number of threads."""


def set_threads(threads: int | None) -> None:
    """Limit the processor threads of predictions; None leaves the choice as it is.

    Best called before NumPy and torch are imported, since these take theirs from the environment then.
    """
    if threads is None:
        return
    os.environ[_THREADS] = str(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def cpu_threads() -> int:
    """Return the number of threads of a computation on the CPU: the limit that is set, or all cores of this process."""
    given = os.environ.get(_THREADS, "").partition(",")[0]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(given) if given.isdecimal() and int(given) > 0 else cores


def voxels_that_fit(device: torch.device | str) -> int:
    """Return the number of voxels that one pass may have on a device: half of its free memory is used at most."""
    free = _free_gpu_bytes(device) if str(device).startswith("cuda") else available_bytes()
    return int(free * _MEMORY_FRACTION / BYTES_PER_VOXEL)


def _free_gpu_bytes(device: torch.device | str) -> int:
    import torch

    return torch.cuda.mem_get_info(device)[0]


def available_bytes() -> int:
    """Return the main memory that can be used without swapping; a low guess if the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return _FALLBACK_BYTES
