"""The benchmark of the generator counts samples per second, on any recipe."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from strokelabel.labels import default_label_table
from strokelabel.synthesis.config import SynthesisConfig
from strokelabel.synthesis.generator import Synthesizer
from support.head_phantom import ball_bank, phantom_head

SCRIPT = Path(__file__).parents[2] / "training" / "benchmarks" / "generator.py"


@pytest.fixture(scope="module")
def script():
    specification = importlib.util.spec_from_file_location("generator_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_report_counts_samples_per_second_of_the_processor(script):
    config = SynthesisConfig(shape=(16, 20, 18), spacing_mm=8.0)
    synthesizer = Synthesizer([phantom_head()], ball_bank([(-35, 5, 25)]), default_label_table(), config)

    seconds = script.measure(synthesizer, 3, 2)
    line = script.report("tiny", synthesizer, [0.5, 0.25, 0.75], torch.get_num_threads())

    assert len(seconds) == 2 and min(seconds) >= 0
    assert line.startswith("tiny: 16 x 20 x 18 voxels of 8 mm")
    assert "n=3: 2.00 samples/s; mean 0.500 s, median 0.500 s" in line
