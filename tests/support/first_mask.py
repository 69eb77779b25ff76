"""Seconds from the click on *Segment* to the answer, for a whole-head T1w of 1 mm.

`PYTHONPATH=tests python -m support.first_mask` starts a real server with the base model on a simulated head
(a scan of sample-data on a grid of 256 x 256 x 256 voxels of 1 mm, with noise, as gzipped int16), and asks over
HTTP. The first answer includes loading the model.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy import ndimage

from support import app_server

SAMPLE = app_server.REPOSITORY / "sample-data"


def write_head(path: Path, size: int, seed: int) -> None:
    """A sample T1w on a cube of 1 mm voxels, with noise everywhere, as scanners give it."""
    scan = nib.as_closest_canonical(nib.load(next(SAMPLE.rglob("*T1w.nii.gz"))))
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    center = scan.affine @ [*(np.array(scan.shape) - 1) / 2, 1]
    affine[:3, 3] = center[:3] - (size - 1) / 2
    to_voxel = np.linalg.inv(scan.affine) @ affine
    data = ndimage.affine_transform(
        scan.get_fdata(dtype=np.float32), to_voxel[:3, :3], to_voxel[:3, 3], (size,) * 3, order=1
    )
    data *= 1000 / np.percentile(data[data > 0], 99)
    noise = np.random.default_rng(seed).normal(0, 15, (2, *data.shape)).astype(np.float32)
    nib.save(nib.Nifti1Image(np.hypot(data + noise[0], noise[1]).astype(np.int16), affine), path)


def ask(server: app_server.Server, image: str, **params: Any) -> dict[str, Any]:
    began = time.perf_counter()
    answer = server.infer("segment", image, **params)
    seconds = time.perf_counter() - began
    answer.raise_for_status()
    about, _, _ = app_server.multipart(answer)
    return {"seconds": round(seconds, 2), "ml": about["volume_ml"], "latencies": about["latencies"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        studies, work = Path(folder) / "studies", Path(folder) / "work"
        studies.mkdir()
        work.mkdir()
        for seed, name in enumerate(("first", "second", "third")):
            write_head(studies / f"{name}.nii.gz", arguments.size, seed)
        server = app_server.start(work, studies, threads=arguments.threads)
        try:
            results = {
                "first click after the start": ask(server, "first"),
                "first click on another scan": ask(server, "second"),
                "first click on a third scan, as raw NRRD": ask(server, "third", result_extension=".nrrd"),
                "the same scan again": ask(server, "second"),
                "the same scan, another threshold": ask(server, "second", threshold=0.3),
            }
        finally:
            app_server.stop(server)
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    report = {"size": arguments.size, "threads": arguments.threads, **machine, **results}
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
