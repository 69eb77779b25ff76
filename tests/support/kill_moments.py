"""Kill a server at random moments of submitting, training and segmenting, and look what is left each time.

    PYTHONPATH=tests python -m support.kill_moments --moments 20

After each kill the server must start again, every label that was answered 200 must read back equal, and the active
version must segment. A label whose submission was under way at the kill may be the old one or the new one.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import requests

from support import app_server
from support.app_server import Server
from support.app_train import OPTIONS, download, mask, start, submit
from support.new_contrast import write_scans
from support.tiny_prepared import write_prepared

LONGEST_S = 20.0
"""How long a server lives at most before it is killed."""


@dataclass
class Submissions:
    """What annotators submitted.

    Attributes:
        answered: the label of each scan that was answered 200 last.
        under_way: one whose answer has not come, or never came.
    """

    answered: dict[str, np.ndarray] = field(default_factory=dict)
    under_way: dict[str, np.ndarray] = field(default_factory=dict)


def work(server: Server, truth: dict[str, np.ndarray], kept: Submissions, folder: Path, seed: int) -> None:
    """Submit, train and segment until the server is gone."""
    rng = np.random.default_rng(seed)
    try:
        while True:
            scan = str(rng.choice(list(truth)))
            label = truth[scan] ^ (rng.random(truth[scan].shape) < 0.001)
            kept.under_way[scan] = label
            submit(server, scan, label, folder)
            kept.answered[scan] = kept.under_way.pop(scan)
            server.post("/train/segment", json={**OPTIONS, "steps": 8})
            mask(server, scan)
    except requests.RequestException:
        return


def check(server: Server, kept: Submissions, scan: str) -> None:
    """Fail unless everything that was answered is there."""
    for name, label in kept.answered.items():
        possible = [label, *([kept.under_way[name]] if name in kept.under_way else [])]
        found = download(server, name)
        assert any(np.array_equal(found, other) for other in possible), f"{name}: another label came back"
        kept.answered[name] = found
    kept.under_way.clear()
    mask(server, scan)  # fails unless the active version segments


def main() -> None:
    """Kill and look, as often as was asked for."""
    parser = argparse.ArgumentParser(description="Kill a server at random moments.")
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        prepared = write_prepared(place / "prepared")
        truth = write_scans(place / "studies", prepared, 4)
        kept = Submissions()
        for moment in range(options.moments + 1):
            server = start(place / f"server-{moment}", place / "studies", prepared)
            check(server, kept, next(iter(truth)))
            active = server.get("/info/").json()["models"]["segment"]["model"]["version"]
            if moment == options.moments:
                app_server.stop(server)
                break
            seconds = rng.uniform(0, LONGEST_S)
            arguments = (server, truth, kept, place, options.seed + moment)
            annotator = threading.Thread(target=work, args=arguments)
            annotator.start()
            time.sleep(seconds)
            family = psutil.Process(server.process.pid).children(recursive=True)
            server.process.send_signal(signal.SIGKILL)
            server.process.wait()
            psutil.wait_procs(family, timeout=300)
            annotator.join()
            sys.stdout.write(f"{moment + 1}: killed after {seconds:.1f} s, version {active} was active\n")
            sys.stdout.flush()
        sys.stdout.write(f"{options.moments} kills, {len(kept.answered)} labels, nothing lost\n")


if __name__ == "__main__":
    main()
