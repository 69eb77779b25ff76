"""Device of a computation, and the size of an image that fits there at once."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from strokelabel.errors import OptionError

BYTES_PER_VOXEL = 300
"""Peak memory of a pass per input voxel. Measured with eager torch on a CPU, 96³ to 192 x 224 x 192 voxels:
145 to 285 bytes for the default network, 160 to 255 for that of the released weights."""

_MEMORY_FRACTION = 0.5
_FALLBACK_BYTES = 4 * 2**30
_NAME = re.compile(r"cpu|cuda(:\d{1,3})?")


def resolve_device(name: str = "auto") -> torch.device:
    """Return the device of that name; "auto" is the first CUDA device, or the CPU where there is none.

    Raises:
        OptionError: unknown, or not on this machine.
    """
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


def voxels_that_fit(device: torch.device) -> int:
    """Return the number of voxels that one pass may have on a device: half of its free memory is used at most."""
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_bytes()
    return int(free * _MEMORY_FRACTION / BYTES_PER_VOXEL)


def available_bytes() -> int:
    """Return the main memory that can be used without swapping; a low guess if the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return _FALLBACK_BYTES
