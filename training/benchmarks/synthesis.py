"""Time of one synthetic sample against cornucopia's SynthFromLabelTransform, on the same label map, in one run.

    python training/benchmarks/synthesis.py LABEL_MAP [--size 160] [--batch 1] [--repeats 5] [--threads 2]
                                                      [--device cpu cuda]

Both make size³ images at 1 mm with deformation, Gaussian-mixture contrast, bias, gamma, blur, low resolution and
noise. Ours also places and blends lesions and returns tissue and lesion labels. Samples alternate, so that whatever
else the machine does falls on both; medians and their ratio are printed, on the CPU and on a GPU where there is one.
Loading is left out on both sides. Of a batch, ours makes all images at once, and cornucopia one after another, as it
has to.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import nibabel as nib
import numpy as np
import torch

from strokelabel.labels import default_label_table
from strokelabel.synthesis.anatomy.head import make_head
from strokelabel.synthesis.config import SynthesisConfig
from strokelabel.synthesis.generator import Synthesizer
from strokelabel.synthesis.lesions.bank import Lesion, LesionBank
from strokelabel.synthesis.prepared.dataset import PreparedBrain
from strokelabel.synthesis.prepared.icbm import icbm_template
from strokelabel.synthesis.prepared.source_files import read_label_map


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("label_map", type=Path, help="FreeSurfer-style label map, 1 mm")
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", nargs="+", default=["cpu"] + ["cuda"] * torch.cuda.is_available())
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    for device in options.device:
        report(measure(options, device), options, device)


def measure(options: argparse.Namespace, device: str) -> dict[str, list[float]]:
    """Measure the wall seconds of a batch, by repeat, for each generator."""
    makers = {
        "cornucopia": cornucopia_sampler(options.label_map, options.size, device),
        "strokelabel": our_sampler(options.label_map, options.size, device),
    }
    seconds: dict[str, list[float]] = {name: [] for name in makers}
    for repeat in range(options.repeats + 1):
        seeds = [repeat * options.batch + item for item in range(options.batch)]
        for name, make in makers.items():
            elapsed = timed(make, seeds)
            if repeat:  # the first round warms both up
                seconds[name].append(elapsed)
    return seconds


def timed(make: Callable[[list[int]], None], seeds: list[int]) -> float:
    """Measure the wall seconds of one batch."""
    start = time.perf_counter()
    make(seeds)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def our_sampler(path: Path, size: int, device: str) -> Callable[[list[int]], None]:
    """Return StrokeLabel's generator with the paper's settings and always one lesion."""
    table = default_label_table()
    labels, affine = read_label_map(path, table)
    head = make_head(PreparedBrain("benchmark", labels, affine, np.eye(4), 1.0), table, 1.0)
    template = icbm_template()
    x, y, z = np.ogrid[:40, :50, :30]
    ball = ((x - 20) / 20) ** 2 + ((y - 25) / 25) ** 2 + ((z - 15) / 15) ** 2 < 1
    bank = LesionBank.from_lesions(
        [Lesion("ball", "", "", (40, 90, 80), ball)], template.shape, template.affine
    )
    config = SynthesisConfig.model_validate(
        {"shape": (size, size, size), "spacing_mm": 1.0, "lesion": {"count_weights": {1: 1.0}}}
    )
    synthesizer = Synthesizer([head], bank, table, config, device)

    def make(seeds: list[int]) -> None:
        synthesizer.generate(seeds)

    return make


def cornucopia_sampler(path: Path, size: int, device: str) -> Callable[[list[int]], None]:
    """Return cornucopia's SynthSeg on a crop of the same label map, with its own defaults."""
    from cornucopia.synth import SynthFromLabelTransform

    image = cast(nib.Nifti1Image, nib.load(path))
    shape = image.shape
    # Consecutive labels, in its favour: it makes one channel for every integer up to the largest.
    labels = np.unique(np.asarray(image.dataobj), return_inverse=True)[1]
    volume = torch.from_numpy(center_crop_or_pad(labels.reshape(shape), size))[None].to(device)
    synth = SynthFromLabelTransform()

    def make(seeds: list[int]) -> None:
        for seed in seeds:
            torch.manual_seed(seed)
            synth(volume)

    return make


def center_crop_or_pad(volume: np.ndarray, size: int) -> np.ndarray:
    """Return the central size³ of a volume, zeros where it is smaller."""
    for axis, n in enumerate(volume.shape):
        missing = max(size - n, 0)
        before = missing // 2
        widths = [(before, missing - before) if i == axis else (0, 0) for i in range(3)]
        start = max(n - size, 0) // 2
        volume = np.pad(np.take(volume, range(start, start + min(n, size)), axis=axis), widths)
    return volume


def report(seconds: dict[str, list[float]], options: argparse.Namespace, device: str) -> None:
    """Print medians and the ratio."""
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    count = "one" if options.batch == 1 else str(options.batch)
    print(f"{count} {options.size}^3 sample{'s' * (options.batch > 1)}, {device}, ", end="")
    print(f"{options.threads} threads, n={options.repeats}")
    for name, median in medians.items():
        low, high = min(seconds[name]), max(seconds[name])
        pace = options.batch / median
        print(f"{name:12s} median {median:.2f} s (range {low:.2f} to {high:.2f}), {pace:.3g} samples/s")
    print(f"ratio cornucopia / strokelabel: {medians['cornucopia'] / medians['strokelabel']:.1f}")


if __name__ == "__main__":
    main()
