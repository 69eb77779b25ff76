"""Ask for many segmentations at once, and look whether all are answered, right, and in bounded memory.

    PYTHONPATH=tests python -m support.parallel_infers --requests 16 --edge 160 --model base

Each request uploads a scan of its own, never seen before. Every answer must be 200 or 503, and every mask equal to the
one that the same scan gets alone. Meanwhile /info/ and /health are asked, and the memory of the server and its children
is read.
"""

from __future__ import annotations

import argparse
import gzip
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil
import requests

from support import app_server
from support.app_scans import head, save
from support.app_server import Server, multipart


@dataclass
class Watch:
    """What is seen while the server works.

    Attributes:
        info_ms: how long each GET /info/ took.
        health_ms: how long each GET /health took.
        memory: bytes of the server and its children, sampled.
    """

    info_ms: list[float] = field(default_factory=list)
    health_ms: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)

    def look(self, server: Server, done: threading.Event) -> None:
        """Sample until told that it is over."""
        process = psutil.Process(server.process.pid)
        while not done.wait(0.05):
            for path, times in (("/info/", self.info_ms), ("/health", self.health_ms)):
                started = time.perf_counter()
                assert server.get(path).status_code == 200
                times.append((time.perf_counter() - started) * 1000)
            family = [process, *process.children(recursive=True)]
            self.memory.append(sum(member.memory_info().rss for member in family))


@dataclass
class Result:
    """What came of it.

    Attributes:
        statuses: of the answers, in the order of the scans.
        wrong: scans whose mask is not the one that they get alone.
        watch: what was seen meanwhile.
        memory_before: bytes, after the same scans one after another.
    """

    statuses: list[int]
    wrong: list[int]
    watch: Watch
    memory_before: int


def ask_all_at_once(server: Server, scans: list[Path]) -> Result:
    """Segment scans one after another, and then all at once under other names of the same content.

    The files differ in a remark of their headers, so that no result is remembered.
    """
    alone = [mask_of(server.infer("segment", file=scan)) for scan in scans]
    others = [_with_remark(scan) for scan in scans]
    before = psutil.Process(server.process.pid).memory_info().rss
    watch, done = Watch(), threading.Event()
    watching = threading.Thread(target=watch.look, args=(server, done))
    watching.start()
    try:
        with ThreadPoolExecutor(len(others)) as pool:
            answers = list(pool.map(lambda scan: server.infer("segment", file=scan), others))
    finally:
        done.set()
        watching.join()
    wrong = [
        index
        for index, answer in enumerate(answers)
        if answer.status_code == 200 and not np.array_equal(mask_of(answer), alone[index])
    ]
    return Result([answer.status_code for answer in answers], wrong, watch, before)


def _with_remark(scan: Path) -> Path:
    image = nib.load(scan)
    image.header["descrip"] = b"the same once more"
    other = scan.with_name(f"again-{scan.name}")
    nib.save(image, other)
    return other


def mask_of(answer: requests.Response) -> np.ndarray:
    """The mask of an answer, (i, j, k)."""
    assert answer.status_code == 200, answer.text
    return np.asanyarray(nib.Nifti1Image.from_bytes(gzip.decompress(multipart(answer)[2])).dataobj)


def write_heads(folder: Path, count: int, edge: int | None = None) -> list[Path]:
    """Phantoms with the lesion in different places.

    Args:
        folder: where to write them.
        count: how many.
        edge: voxels of 1 mm along each axis; small anisotropic ones without it.
    """
    if edge is None:
        return [save(folder / f"{index}.nii.gz", head(index)) for index in range(count)]
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = -edge / 2
    shape = (edge, edge, edge)
    return [save(folder / f"{i}.nii.gz", head(i, shape, affine), affine) for i in range(count)]


def main() -> int:
    """Ask, and say what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=16)
    parser.add_argument("--edge", type=int, default=160)
    parser.add_argument("--model", default="base")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        scans = write_heads(root / "scans", options.requests, options.edge)
        (root / "studies").mkdir()
        (root / "server").mkdir()
        server = app_server.start(root / "server", root / "studies", "model", options.model)
        try:
            result = ask_all_at_once(server, scans)
        finally:
            app_server.stop(server)
    watch = result.watch
    lines = [
        f"answers: { ({status: result.statuses.count(status) for status in sorted(set(result.statuses))}) }",
        f"wrong masks: {len(result.wrong)}",
        f"memory: {result.memory_before / 2**20:.0f} MB before, {max(watch.memory) / 2**20:.0f} MB at most",
        *(
            f"{name}: median {statistics.median(times):.0f} ms, at most {max(times):.0f} ms, n={len(times)}"
            for name, times in (("/info/", watch.info_ms), ("/health", watch.health_ms))
        ),
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return int(bool(result.wrong) or not set(result.statuses) <= {200, 503})


if __name__ == "__main__":
    sys.exit(main())
