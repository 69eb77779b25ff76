"""Training steps per second with images generated on the way, against one batch that is always the same.

    python training/benchmarks/training.py [--recipe base] [--device cpu] [--steps 20] [--size 96] [--repeats 3]

The ratio tells how much of the training time the generator costs: 1 is nothing. Both train the recipe's network with
the recipe's precision and objective, by the code that `strokelabel train` runs; both are warmed up first, in turn.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from strokelabel.fit.data.recipe_streams import make_streams
from strokelabel.fit.loop.devices import gpu_arithmetic, make_fabric, training_device
from strokelabel.fit.loop.objective import TrainingStream
from strokelabel.fit.loop.prefetch import PrefetchStream
from strokelabel.fit.loop.record import DeferredRows
from strokelabel.fit.loop.training_run import TrainingRun
from strokelabel.fit.recipe import Recipe, load_recipe, with_generators
from strokelabel.fit.train import make_objective
from strokelabel.networks.weights import make_network
from strokelabel.synthesis.prepared.dataset import PreparedData

_WARM_UP_STEPS = 3
"""Steps before the clock starts; more than the batches that are prefetched."""


class CachedBatch:
    """A stream that gives its first batch again and again."""

    def __init__(self, stream: TrainingStream[Any], device: torch.device) -> None:
        self._batch = stream.batch(0).to(device)

    def batch(self, step: int) -> Any:  # noqa: ANN401 - whatever the stream gives
        """Return the cached batch."""
        return self._batch


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    recipe = with_generators(load_recipe(options.recipe), options.generators, options.gpu_generators)
    recipe = resized(recipe, options.size, graphs=options.graphs)
    device = training_device(options.device)
    options.device = str(device)
    with tempfile.TemporaryDirectory() as folder:
        data = PreparedData.load(options.prepared)
        with closing(make_streams(recipe, data, device, Path(folder))) as streams:
            seconds = measure(recipe, streams.training, device, options)
    report(recipe, seconds, options)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--recipe", default="base", help="name of a shipped recipe, or a YAML file")
    parser.add_argument(
        "--prepared", type=Path, default=Path("prepared"), help="as `strokelabel prepare` wrote it"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=20, help="steps of each measurement")
    parser.add_argument(
        "--size", type=int, help="side of the images in voxels; the recipe's shape if not given"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--generators", type=int, help="processes that make images on CPU cores (the recipe's)"
    )
    parser.add_argument("--gpu-generators", type=int, help="and on the GPU")
    parser.add_argument("--graphs", action="store_true", help="CUDA graphs")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args(arguments)


def resized(recipe: Recipe, size: int | None, *, graphs: bool = False) -> Recipe:
    """Return the recipe with cubes of this side, its own shape for None, and with CUDA graphs on request."""
    content = recipe.model_dump(mode="json")
    if size is not None:
        content["synthesis"]["shape"] = [size] * 3
    content["training"]["cuda_graphs"] |= graphs
    return Recipe.model_validate(content)


def measure(
    recipe: Recipe, stream: TrainingStream[Any], device: torch.device, options: argparse.Namespace
) -> dict[str, list[float]]:
    """Measure the wall seconds of a step, by repeat, for each kind of stream."""
    fabric = make_fabric(str(device), recipe.training.precision)
    cached = CachedBatch(stream, fabric.device)
    seconds: dict[str, list[float]] = {"cached": [], "generated": []}
    config = recipe.training
    with gpu_arithmetic(fabric.device, tf32=config.tf32, benchmark=not config.cuda_graphs):
        run = TrainingRun(make_network(recipe.network), recipe.training, fabric, make_objective(recipe))
        for _ in range(options.repeats):
            seconds["cached"].append(time_steps(run, cached, options.steps))
            with closing(PrefetchStream(stream)) as ahead:
                ahead.feed(fabric.device)
                seconds["generated"].append(time_steps(run, ahead, options.steps))
    return seconds


def time_steps(run: TrainingRun, stream: TrainingStream[Any], steps: int) -> float:
    """Measure the wall seconds of a step once the stream is running."""
    rows = DeferredRows(run.fabric.device)
    for _ in range(_WARM_UP_STEPS):
        rows.add(run.advance(stream))
    rows.flush()
    start = time.perf_counter()
    for _ in range(steps):
        rows.add(run.advance(stream))
    rows.flush()
    return (time.perf_counter() - start) / steps


def report(recipe: Recipe, seconds: dict[str, list[float]], options: argparse.Namespace) -> None:
    """Print medians and their ratio."""
    shape = "x".join(map(str, recipe.synthesis.shape))
    print(
        f"recipe {recipe.name}, {shape}, batch {recipe.training.batch_size} x {recipe.training.accumulate}, "
        f"{recipe.training.precision}, {options.device}, {options.threads} threads, {options.steps} steps, "
        f"n={options.repeats}"
    )
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, median in medians.items():
        low, high = 1 / max(seconds[name]), 1 / min(seconds[name])
        print(f"{name:10s} {1 / median:.3f} steps/s (range {low:.3f} to {high:.3f})")
    print(f"ratio generated / cached: {medians['cached'] / medians['generated']:.2f}")


if __name__ == "__main__":
    main()
