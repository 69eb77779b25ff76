"""The parts of the synthesis benchmark that do not synthesise."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "training" / "benchmarks" / "synthesis.py"


@pytest.fixture(scope="module")
def benchmark_script():
    specification = importlib.util.spec_from_file_location("synthesis_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_report_gives_medians_ranges_and_how_many_times_faster(benchmark_script, capsys):
    arguments = argparse.Namespace(size=160, device="cpu", threads=2, repeats=3)
    seconds = {"cornucopia": [9.0, 8.0, 16.0], "strokelabel": [2.0, 1.5, 2.5]}
    benchmark_script.report(seconds, arguments)
    assert capsys.readouterr().out.splitlines() == [
        "one 160^3 sample, cpu, 2 threads, n=3",
        "cornucopia   median 9.00 s (range 8.00 to 16.00)",
        "strokelabel  median 2.00 s (range 1.50 to 2.50)",
        "ratio cornucopia / strokelabel: 4.5",
    ]


def test_crops_and_pads_are_central_on_axes_of_any_length(benchmark_script):
    volume = np.zeros((5, 8, 12), dtype=int)
    volume[2, 4, 6] = 1
    cube = benchmark_script.center_crop_or_pad(volume, 8)
    assert cube.shape == (8, 8, 8)
    assert np.argwhere(cube).tolist() == [[3, 4, 4]]


def test_time_is_taken_around_one_sample(benchmark_script):
    seen = []
    assert benchmark_script.timed(seen.append, 7) >= 0
    assert seen == [7]
