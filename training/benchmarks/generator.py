"""Samples per second that the generator of a recipe makes from prepared data, with one thread.

    python training/benchmarks/generator.py [RECIPE] [--prepared prepared] [--count 40] [--threads 1] [--first-seed 0]

Seconds are those of the processor, not of the wall clock, so that other processes of a busy machine count little. The
first few images are left out: they load what later ones share. To compare two versions of the code, run both in turn.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch

from strokelabel.fit.recipe import load_recipe
from strokelabel.fit.train import make_synthesizer
from strokelabel.synthesis.generator import Synthesizer
from strokelabel.synthesis.prepared.dataset import PreparedData

_WARM_UP = 4
"""Images before the density of the lesions, say, has been counted for sure."""


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("recipe", nargs="?", default="base", help="name of a shipped recipe, or a YAML file")
    parser.add_argument("--prepared", type=Path, default=Path("prepared"))
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=0)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    recipe = load_recipe(options.recipe)
    data = PreparedData.load(options.prepared)
    synthesizer = make_synthesizer(data, recipe, "train", recipe.synthesis, torch.device("cpu"))
    seconds = measure(synthesizer, options.first_seed, options.count)
    print(report(recipe.name, synthesizer, seconds, options.threads))


def measure(synthesizer: Synthesizer, first_seed: int, count: int) -> list[float]:
    """Measure the processor seconds of each of so many images, after a few that do not count."""
    seconds = []
    for seed in range(first_seed, first_seed + _WARM_UP + count):
        start = time.process_time()
        synthesizer.generate([seed])
        seconds.append(time.process_time() - start)
    return seconds[_WARM_UP:]


def report(name: str, synthesizer: Synthesizer, seconds: list[float], threads: int) -> str:
    """Return one line for users."""
    shape = " x ".join(str(n) for n in synthesizer.config.shape)
    mean, median = statistics.mean(seconds), statistics.median(seconds)
    return (
        f"{name}: {shape} voxels of {synthesizer.config.spacing_mm:g} mm, {threads} threads, n={len(seconds)}: "
        f"{1 / mean:.2f} samples/s; mean {mean:.3f} s, median {median:.3f} s of the processor"
    )


if __name__ == "__main__":
    main()
