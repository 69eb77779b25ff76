"""Training from a pack within a given time, at the speed that the machine turns out to have."""

from __future__ import annotations

import argparse
import csv
import io
import logging
import os
import platform
import shutil
import sys
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch

from strokelabel.errors import StrokeLabelError
from strokelabel.fit.config import TrainingConfig
from strokelabel.fit.data.generation.replay import ReplayConfig
from strokelabel.fit.data.generation.stream import ReplayStream
from strokelabel.fit.data.recipe_streams import Streams, part_brains
from strokelabel.fit.export import export_weights
from strokelabel.fit.loop.checkpoint import list_checkpoints, load_newest_checkpoint
from strokelabel.fit.loop.devices import resolve_device
from strokelabel.fit.loop.progress import TrainingProgress
from strokelabel.fit.loop.training_loop import TrainingResult
from strokelabel.fit.recipe import Recipe, load_recipe
from strokelabel.fit.train import describe_model, train_recipe
from strokelabel.io.atomic import atomic_write_json, atomic_write_text
from strokelabel.synthesis.anatomy.head import load_heads
from strokelabel.synthesis.prepared.dataset import PreparedData


@dataclass(frozen=True)
class Speed:
    """One interval.

    Attributes:
        seconds: since training began.
        step: optimiser steps done.
        ms_per_step: wall milliseconds of a step.
        images_per_second: synthetic images made.
        fresh_share: of the synthetic images that were trained on, those that were new.
        waiting_share: of the time, spent waiting for synthetic images.
    """

    seconds: float
    step: int
    ms_per_step: float
    images_per_second: float
    fresh_share: float
    waiting_share: float


class SpeedTable:
    """Measures intervals; the table is rewritten after each.

    Args:
        path: CSV file.
        step: steps done before.
        images: counts the synthetic images; None where the stream has no such counter.

    Attributes:
        step: at the end of the last interval.
        rows: all intervals.
    """

    def __init__(self, path: Path, step: int, images: ReplayStream | None) -> None:
        self._path = path
        self._images = images
        self._began = time.monotonic()
        self.step = step
        self._last = self._read(step)
        self.rows: list[Speed] = []
        self._write()

    def add(self, step: int) -> Speed:
        """End an interval, at least one step after the last one."""
        seconds, steps, made, delivered, waited = (
            now - then for now, then in zip(self._read(step), self._last, strict=True)
        )
        self._last, self.step = self._read(step), step
        row = Speed(
            seconds=round(time.monotonic() - self._began, 1),
            step=step,
            ms_per_step=round(1000 * seconds / steps, 1),
            images_per_second=round(made / seconds, 2),
            fresh_share=round(made / max(delivered, 1), 3),
            waiting_share=round(min(1.0, waited / seconds), 3),
        )
        self.rows.append(row)
        self._write()
        return row

    def _read(self, step: int) -> tuple[float, float, float, float, float]:
        images = self._images
        counted = (images.made, images.delivered, images.waited_seconds) if images else (0, 0, 0.0)
        return (time.monotonic(), step, *counted)

    def _write(self) -> None:
        table = io.StringIO()
        writer = csv.DictWriter(table, [field.name for field in fields(Speed)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in self.rows)
        atomic_write_text(self._path, table.getvalue())


_ENDLESS = 10**9
_FINISHING_SECONDS = 5.0
"""Kept for the last checkpoint and the last weights."""

_LOG = logging.getLogger("strokelabel.packed")


def main(arguments: list[str] | None = None) -> int:
    """Train; return the process's exit status."""
    options = _parse(arguments)
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO, stream=sys.stderr)
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        _train(options)
    except StrokeLabelError as error:
        _LOG.error("%s", error)
        return 1
    return 0


def _train(options: argparse.Namespace) -> None:
    recipe = load_recipe(options.work / "recipe.yaml")
    data = PreparedData.load(options.work / "prepared")
    device = resolve_device(options.device)
    _LOG.info("torch %s on %s, %d cores", torch.__version__, _name(device), _cores())
    for part in ("train", "validation"):
        load_heads(data, part_brains(data, recipe, part), recipe.synthesis.spacing_mm)
    recipe = adapted(recipe, options, device)
    _LOG.info("heads are ready")
    packed = options.work / "weights.safetensors"
    weights = options.weights or (str(packed) if packed.exists() else None)
    watcher = _Watcher(recipe, options)
    result = train_recipe(
        recipe,
        data,
        options.work / "run",
        device=str(device),
        weights=weights,
        on_progress=watcher.step,
        on_open=watcher.open,
    )
    watcher.finish(result, device)


def adapted(recipe: Recipe, options: argparse.Namespace, device: torch.device) -> Recipe:
    """Return the recipe with the settings of the machine: generators, replay, graphs, no validation.

    Args:
        recipe: as packed.
        options: of the command line.
        device: where the network is trained.
    """
    gpu = device.type == "cuda"
    generators = max(0, _cores() - 2) if options.generators is None else options.generators
    training = {
        "steps": _ENDLESS,
        "generators": generators,
        "gpu_generators": options.gpu_generators if gpu else 0,
        "cuda_graphs": gpu and options.graphs,
        "compile": False,
        "validate_every": 0,
        "checkpoint_every": 0,
        "checkpoint_minutes": options.save_seconds / 60,
        "threads": 2 if gpu else recipe.training.threads,
    }
    if options.learning_rate is not None:
        training["learning_rate"] = options.learning_rate
    content = recipe.model_dump(mode="json")
    content["training"] |= training
    asked = {"reuse": options.reuse, "pool": options.pool, "together": options.together}
    replay = recipe.replay or ReplayConfig(reuse=8 if gpu else 3)
    content["replay"] = replay.model_dump() | {
        name: value for name, value in asked.items() if value is not None
    }
    return Recipe.model_validate(content)


class _Watcher:
    """Callback that writes weights and tables into the output folder during training."""

    def __init__(self, recipe: Recipe, options: argparse.Namespace) -> None:
        self._recipe = recipe
        self._out: Path = options.out
        self._run: Path = options.work / "run"
        self._every: float = options.save_seconds
        self._end: float = options.started + options.seconds - _FINISHING_SECONDS
        self._table: SpeedTable | None = None
        self._images: ReplayStream | None = None
        self._saved: Path | None = None
        self._last = time.monotonic()

    def open(self, streams: Streams, config: TrainingConfig) -> TrainingConfig:
        """Take the counters of the images, and let the schedule end when the time is up."""
        self._images = streams.generators
        left = max(self._end - time.time(), 1.0)
        checkpoint = load_newest_checkpoint(self._run)
        before = checkpoint.seconds if checkpoint is not None else 0.0
        _LOG.info("the streams are open; %.0f s are left for training", left)
        return config.model_copy(update={"schedule_minutes": (before + left) / 60})

    def step(self, progress: TrainingProgress) -> None:
        """Note a step: the first starts the clock, and each interval ends with a line, a row and new weights."""
        if self._table is None:
            self._table = SpeedTable(self._out / "speed.csv", progress.step, self._images)
            _LOG.info("step %d is done, the clock of speed.csv starts", progress.step)
        elif time.monotonic() - self._last >= self._every:
            self._last = time.monotonic()
            speed = self._table.add(progress.step)
            _LOG.info("step %d, loss %.4f, %s", progress.step, progress.loss, asdict(speed))
            self.save()

    def save(self) -> None:
        """Write the weights of the newest checkpoint, unless they are there, and the table of losses."""
        checkpoints = list_checkpoints(self._run)
        if not checkpoints or checkpoints[-1] == self._saved:
            return
        path = self._out / "weights.safetensors"
        spec = describe_model(self._recipe, path, "0.0.0", "Apache-2.0")
        export_weights(self._run, spec, path, which="newest")
        self._saved = checkpoints[-1]
        for name in ("metrics.csv", "recipe.yaml"):
            shutil.copyfile(self._run / name, self._out / name)

    def finish(self, result: TrainingResult, device: torch.device) -> None:
        """Write the last weights and the summary."""
        if self._table is not None and result.steps > self._table.step:
            self._table.add(result.steps)
        self.save()
        rows = self._table.rows if self._table else []
        summary = {
            "device": _name(device),
            "torch": torch.__version__,
            "cores": _cores(),
            "steps": result.steps,
            "skipped_steps": result.skipped,
            "stopped_by": result.stopped_by,
            "training_seconds": round(result.seconds, 1),
            "images_made": self._images.made if self._images else 0,
            "items_delivered": self._images.delivered if self._images else 0,
            "speed": [asdict(row) for row in rows],
        }
        if device.type == "cuda":
            summary["gpu_memory_gb"] = round(torch.cuda.max_memory_allocated(device) / 1e9, 2)
        atomic_write_json(self._out / "summary.json", summary)
        _LOG.info("%d steps in %.0f s; weights and tables are in %s", result.steps, result.seconds, self._out)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu"


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, required=True, help="where the pack was unpacked")
    parser.add_argument("--out", type=Path, required=True, help="receives weights and tables")
    parser.add_argument(
        "--seconds", type=float, required=True, help="for everything, from the start of run.sh"
    )
    parser.add_argument("--started", type=float, default=time.time(), help="seconds since 1970 of that start")
    parser.add_argument("--weights", help="file to start from, in place of the packed weights")
    parser.add_argument("--save-seconds", type=float, default=100.0)
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--generators", type=int, help="processes that make images on CPU cores (all but two)"
    )
    parser.add_argument("--gpu-generators", type=int, default=2, help="and on the GPU, if there is one")
    parser.add_argument(
        "--reuse", type=int, help="items for each image (the recipe's, or 8 on a GPU and 3 on a CPU)"
    )
    parser.add_argument("--pool", type=int, help="images that a replay is chosen from")
    parser.add_argument("--together", type=int, help="images made in one go")
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--no-graphs", dest="graphs", action="store_false", help="no CUDA graphs on a GPU")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
