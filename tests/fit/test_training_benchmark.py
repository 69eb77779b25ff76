"""The training benchmark, on a recipe that takes a moment."""

import importlib.util
import re
from pathlib import Path

import yaml

from support.tiny_prepared import tiny_recipe

SCRIPT = Path(__file__).parents[2] / "training" / "benchmarks" / "training.py"


def test_steps_with_generated_and_with_cached_images_are_compared(prepared_folder, tmp_path, capsys):
    specification = importlib.util.spec_from_file_location("training_benchmark", SCRIPT)
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(tiny_recipe()))

    options = ["--recipe", str(recipe), "--prepared", str(prepared_folder), "--device", "cpu"]
    script.main([*options, "--size", "16", "--steps", "2", "--repeats", "1", "--threads", "1"])

    first, cached, generated, ratio = capsys.readouterr().out.splitlines()
    assert first == "recipe tiny, 16x16x16, batch 2 x 1, 32-true, cpu, 1 threads, 2 steps, n=1"
    pace = {line.split()[0]: float(line.split()[1]) for line in (cached, generated)}
    assert set(pace) == {"cached", "generated"}
    stated = float(re.fullmatch(r"ratio generated / cached: (\d+\.\d\d)", ratio).group(1))
    assert abs(stated - pace["generated"] / pace["cached"]) < 0.02
