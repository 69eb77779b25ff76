"""Processor seconds and peak memory of a prediction, on both engines and by the public SynthStroke network.

    python training/benchmarks/inference.py [SCAN] [--weights model.safetensors] [--threads 1] [--repeats 2]

Without a scan, a head of 256 x 256 x 256 voxels of 1 mm is made from the sample data. Each contender runs in a separate
process. Ours is a whole prediction from the scan in memory to the mask on its grid; of the public network only the
passes are counted, over windows of 128 voxels that overlap by half, as its library makes them (without flips). Without
its weights it has random ones, which take the same time. Seconds are those of the processor, so that other processes of
a busy machine count little.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import nibabel as nib
import numpy as np
from scipy import ndimage

_SAMPLE = Path(__file__).parents[2] / "sample-data/sub-01/anat/sub-01_T1w.nii.gz"
_SIDE = 256
_WINDOW, _OVERLAP = 128, 0.5

PEER = "public network, its windows"
OURS = {"StrokeLabel, ONNX Runtime": "onnx", "StrokeLabel, torch": "torch"}


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("scan", nargs="?", type=Path)
    parser.add_argument("--weights", type=Path, help="the public network's weights")
    parser.add_argument("--model", default="base")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.only:
        print(json.dumps(measure(options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        scan = options.scan or write_head(Path(folder) / "head.nii.gz")
        results = {name: _in_process(name, scan, options) for name in (*OURS, PEER)}
    peer = results[PEER]["seconds"]
    print(f"{options.scan or 'head of 256³'}, {options.threads} thread(s)")
    for name, found in results.items():
        print(
            f"{name:28} start {found['start']:5.1f} s, scan {found['seconds']:6.2f} s of the processor "
            f"({peer / found['seconds']:.1f} times less), peak {found['peak_mb']:.0f} MB"
        )


def write_head(path: Path) -> Path:
    """Write the sample T1w within a cube of 1 mm voxels, with noise, as scanners give a whole head."""
    scan = nib.as_closest_canonical(nib.load(_SAMPLE))
    affine = np.eye(4)
    affine[:3, 3] = (scan.affine @ [*(np.array(scan.shape) - 1) / 2, 1])[:3] - (_SIDE - 1) / 2
    to_voxel = np.linalg.inv(scan.affine) @ affine
    data = ndimage.affine_transform(
        scan.get_fdata(dtype=np.float32), to_voxel[:3, :3], to_voxel[:3, 3], (_SIDE,) * 3, order=1
    )
    noise = np.random.default_rng(0).normal(0, 0.01 * np.percentile(data, 99), (2, *data.shape))
    nib.save(nib.Nifti1Image(np.hypot(data + noise[0], noise[1]).astype(np.float32), affine), path)
    return path


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Measure one contender in this process."""
    run = _peer(options) if options.only == PEER else _ours(options, OURS[options.only])
    start = time.process_time()
    seconds = []
    for _ in range(1 if options.only == PEER else options.repeats):
        before = time.process_time()
        run()
        seconds.append(time.process_time() - before)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"start": start, "seconds": min(seconds), "peak_mb": peak}


def _ours(options: argparse.Namespace, engine: str) -> Callable[[], object]:
    from strokelabel.inference.device import set_threads
    from strokelabel.inference.options import PredictionOptions
    from strokelabel.inference.segment.predictor import Predictor
    from strokelabel.io import read_image

    set_threads(options.threads)
    chosen = PredictionOptions(keep_probabilities=False)
    predictor = Predictor.from_model(options.model, "cpu", chosen, "onnx" if engine == "onnx" else "torch")
    image = read_image(options.scan)
    return lambda: predictor.predict(image)


def _peer(options: argparse.Namespace) -> Callable[[], object]:
    import torch
    from monai.inferers import SlidingWindowInferer

    from strokelabel.io import read_image
    from strokelabel.networks.unet import PRESETS, build_network
    from strokelabel.networks.volume_normalization import normalize_volume
    from strokelabel.networks.weights import load_released_weights

    torch.set_num_threads(options.threads)
    if options.weights:
        network, _ = load_released_weights(options.weights)
    else:
        network = build_network(PRESETS["synthstroke"]).eval()
    item = torch.from_numpy(normalize_volume(read_image(options.scan).data.astype(np.float32))[None, None])
    inferer = SlidingWindowInferer(_WINDOW, overlap=_OVERLAP, mode="gaussian")

    @torch.inference_mode()
    def run() -> object:
        return cast(torch.Tensor, inferer(item, network)).argmax(dim=1)

    return run


def _in_process(name: str, scan: Path, options: argparse.Namespace) -> dict[str, float]:
    arguments = [str(scan), "--only", name, "--threads", options.threads, "--repeats", options.repeats]
    arguments += ["--model", options.model, *(["--weights", options.weights] if options.weights else [])]
    limits = {key: str(options.threads) for key in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, __file__, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, **limits},
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
