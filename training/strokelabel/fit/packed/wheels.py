"""Packages that training needs beside PyTorch, numpy and scipy, as wheels for another machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from strokelabel.errors import OutputError

PACKAGES = {
    "annotated-types": "annotated_types",
    "fsspec": "fsspec",
    "jaxtyping": "jaxtyping",
    "lightning-fabric": "lightning_fabric",
    "lightning-utilities": "lightning_utilities",
    "monai": "monai",
    "nibabel": "nibabel",
    "packaging": "packaging",
    "pydantic": "pydantic",
    "pydantic-core": "pydantic_core",
    "pyyaml": "yaml",
    "safetensors": "safetensors",
    "typing-extensions": "typing_extensions",
    "typing-inspection": "typing_inspection",
    "wadler-lindig": "wadler_lindig",
}
"""Distributions that are packed, and what they are imported as. Together 10 MB."""

EXPECTED = {"numpy": "numpy", "scipy": "scipy", "torch": "torch"}
"""Those that the other machine is expected to have; scipy alone has 35 MB."""

_PLATFORMS = (
    "manylinux_2_28_x86_64",
    "manylinux_2_27_x86_64",
    "manylinux_2_17_x86_64",
    "manylinux2014_x86_64",
)


def download_wheels(names: Sequence[str], folder: Path, python: str = "3.12") -> None:
    """Fetch the wheels of packages in the versions that are installed here, for Linux on x86-64.

    Args:
        names: distributions; nothing that they depend on is fetched with them.
        folder: receives the wheels.
        python: version of the other machine's Python.

    Raises:
        OutputError: one of them is not installed here, or has no such wheel.
    """
    try:
        wanted = [f"{name}=={version(name)}" for name in names]
    except PackageNotFoundError as error:
        raise OutputError(f"{error.name}: expected this package here, to pack the same version") from error
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", python, "--implementation", "cp", "--dest", str(folder)]
    for platform in _PLATFORMS:
        command += ["--platform", platform]
    done = subprocess.run([*command, *wanted], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OutputError(f"Expected wheels of {', '.join(wanted)}: {done.stderr.strip()[-500:]}")
