"""The built wheel, installed by itself, is small, brings no torch, and gives a mask within seconds."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import pytest

LARGEST_MB = 500
LARGEST_MEMORY_MB = 1000
MOST_CPU_SECONDS = 10.0
"""Of the first mask. It is 4 s where nothing else runs, 3 s of time with two cores; tests share their machine."""

START_CPU_SECONDS = 0.8
"""Of the program until it says something; measured: 0.2 to 0.35 s."""

_UNREACHABLE = ("No matching distribution", "Could not find a version", "connection", "Temporary failure")
SCAN = "sample-data/sub-01/anat/sub-01_T1w.nii.gz"


_MEASURE = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(done.stdout)
print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, end="")
sys.exit(done.returncode)
"""
"""Runs a program from a small process: a new one counts the memory of the one that it was copied from."""


class Done(NamedTuple):
    """A program that has ended."""

    code: int
    output: str
    cpu_seconds: float
    peak_mb: float


class Installation(NamedTuple):
    """An environment with the wheel and what it brings."""

    folder: Path

    @property
    def packages(self) -> Path:
        return next(self.folder.glob("lib/python3*/site-packages"))

    def run(self, program: str, *args: str | Path) -> Done:
        """Run a program of the environment; measured by itself."""
        words = [self.folder / "bin" / program, *args]
        done = subprocess.run(
            [sys.executable, "-c", _MEASURE, *map(str, words)],
            capture_output=True,
            text=True,
            check=False,
            env=_plain(),
        )
        output, _, usage = done.stdout.rpartition("\n")
        seconds, megabytes = map(float, usage.split())
        return Done(done.returncode, output, seconds, megabytes)


def _plain() -> dict[str, str]:
    """The environment without this checkout."""
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}


def _pip(python: str | Path, *args: str | Path) -> None:
    """Run pip; skip, saying so, where it cannot reach an index."""
    done = subprocess.run(
        [python, "-m", "pip", "--disable-pip-version-check", *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
        env=_plain(),
    )
    if done.returncode and any(words in done.stderr for words in _UNREACHABLE):
        pytest.skip(f"pip cannot reach a package index here: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def installation(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("light")
    _pip(sys.executable, "wheel", "--no-deps", "-w", folder / "dist", repository)
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True, env=_plain())
    (wheel,) = (folder / "dist").glob("strokelabel-*.whl")
    _pip(folder / "venv/bin/python", "install", "-c", repository / "constraints.txt", wheel)
    yield Installation(folder / "venv")


def test_it_is_small_and_brings_no_torch(installation: Installation) -> None:
    packages = {
        path.name for path in installation.packages.iterdir() if path.name not in ("pip", "setuptools")
    }
    files = (path for name in packages for path in (installation.packages / name).rglob("*"))
    megabytes = sum(path.stat().st_blocks * 512 for path in files if path.is_file()) / 1e6
    heavy = {"torch", "monai", "pandas", "matplotlib", "tensorboard", "nilearn", "sklearn", "SimpleITK"}
    assert not packages & heavy
    assert 100 < megabytes <= LARGEST_MB


def test_the_first_mask_comes_within_seconds(
    installation: Installation, repository: Path, tmp_path: Path
) -> None:
    done = installation.run("strokelabel", "predict", repository / SCAN, "-o", tmp_path)
    assert done.code == 0, done.output
    mask = nib.load(next(tmp_path.rglob("*lesion_mask.nii.gz")))
    assert mask.shape == nib.load(repository / SCAN).shape
    assert np.count_nonzero(np.asanyarray(mask.dataobj)) > 1000
    assert done.peak_mb <= LARGEST_MEMORY_MB and done.cpu_seconds <= MOST_CPU_SECONDS


def test_structures_uncertainty_and_the_api_need_no_more(
    installation: Installation, repository: Path, tmp_path: Path
) -> None:
    scan = repository / "sample-data/sub-03/anat/sub-03_FLAIR.nii.gz"
    done = installation.run(
        "strokelabel", "predict", scan, "-o", tmp_path, "--structures", "synthseg", "--uncertainty", "entropy",
        "--passes", "2",
    )  # fmt: skip
    assert done.code == 0, done.output
    assert (tmp_path / "lesion_structures.csv").exists()
    script = "import strokelabel, sys; m = strokelabel.load_model('base'); assert 'torch' not in sys.modules"
    done = installation.run("python", "-c", script)
    assert done.code == 0, done.output


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["train", "base", "-o", "run"], "train"),
        (["export", "run", "-o", "m.safetensors", "--recipe", "base", "--version", "1"], "train"),
        (["predict", SCAN, "-o", "out", "--adapt", "tent"], "train"),
        (["predict", SCAN, "-o", "out", "--engine", "torch"], "train"),
        (["predict", SCAN, "-o", "out", "--dicom-seg"], "dicom"),
        (["serve", "sample-data"], "server"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value[::4]),
)
def test_what_needs_an_extra_says_which_in_one_line(
    arguments: list[str], extra: str, installation: Installation, repository: Path, tmp_path: Path
) -> None:
    shown = [str(repository / SCAN) if word == SCAN else word for word in arguments]
    shown = [str(tmp_path / word) if word in ("out", "run", "report") else word for word in shown]
    shown = [str(repository / word) if word == "sample-data" else word for word in shown]
    done = installation.run("strokelabel", *shown)
    assert done.code == 1
    (line,) = done.output.splitlines()
    assert line.startswith("error: ") and f'pip install "strokelabel[{extra}]"' in line


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["info"], ["predict", "--wrong"], ["wrong"]]
)
def test_the_program_starts_at_once(arguments: list[str], installation: Installation) -> None:
    fastest = min(installation.run("strokelabel", *arguments).cpu_seconds for _ in range(3))
    assert fastest <= START_CPU_SECONDS
