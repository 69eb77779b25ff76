"""The synthesis benchmark, on a label map that takes a moment."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "training" / "benchmarks" / "synthesis.py"


@pytest.fixture(scope="module", autouse=True)
def _keep_thread_count():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def benchmark_script():
    specification = importlib.util.spec_from_file_location("synthesis_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_report_gives_medians_ranges_and_how_many_times_faster(benchmark_script, capsys):
    arguments = argparse.Namespace(size=160, threads=2, repeats=3, batch=1)
    seconds = {"cornucopia": [9.0, 8.0, 16.0], "strokelabel": [2.0, 1.5, 2.5]}
    benchmark_script.report(seconds, arguments, "cpu")
    assert capsys.readouterr().out.splitlines() == [
        "one 160^3 sample, cpu, 2 threads, n=3",
        "cornucopia   median 9.00 s (range 8.00 to 16.00), 0.111 samples/s",
        "strokelabel  median 2.00 s (range 1.50 to 2.50), 0.5 samples/s",
        "ratio cornucopia / strokelabel: 4.5",
    ]


def test_crops_and_pads_are_central_on_axes_of_any_length(benchmark_script):
    volume = np.zeros((5, 8, 12), dtype=int)
    volume[2, 4, 6] = 1
    cube = benchmark_script.center_crop_or_pad(volume, 8)
    assert cube.shape == (8, 8, 8)
    assert np.argwhere(cube).tolist() == [[3, 4, 4]]


def test_time_is_taken_around_one_batch(benchmark_script):
    seen = []
    assert benchmark_script.timed(seen.append, [7, 8]) >= 0
    assert seen == [[7, 8]]


def test_both_generators_make_a_batch_and_are_compared(benchmark_script, tmp_path, capsys):
    labels = np.zeros((30, 36, 32), dtype=np.int16)
    labels[4:26, 4:32, 4:28], labels[8:22, 8:28, 8:24], labels[12:18, 14:22, 12:20] = 24, 3, 2
    nib.Nifti1Image(labels, np.eye(4)).to_filename(tmp_path / "labels.nii.gz")
    options = ["--size", "32", "--repeats", "1", "--batch", "2", "--threads", "1", "--device", "cpu"]
    benchmark_script.main([str(tmp_path / "labels.nii.gz"), *options])
    first, *paces, ratio = capsys.readouterr().out.splitlines()
    assert first == "2 32^3 samples, cpu, 1 threads, n=1"
    assert [line.split()[0] for line in paces] == ["cornucopia", "strokelabel"]
    assert float(ratio.split()[-1]) > 0
